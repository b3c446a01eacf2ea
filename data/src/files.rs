//! Reading pieces of files from several threads at once.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// How many files are kept open: well under what systems allow a process.
const MAX_OPEN: usize = 64;

/// Files, of which some are open.
#[derive(Debug)]
pub(crate) struct Files {
    /// The path and the number of bytes of each shard.
    shards: Vec<(PathBuf, u64)>,
    /// Shards and their numbers, the last used one at the back.
    open: Mutex<VecDeque<(u32, Arc<File>)>>,
}

impl Files {
    pub(crate) fn new(shards: Vec<(PathBuf, u64)>) -> Self {
        Self {
            shards,
            open: Mutex::default(),
        }
    }

    pub(crate) fn path(&self, shard: u32) -> &Path {
        &self.shards[shard as usize].0
    }

    /// Some bytes of a shard; `size` has been checked against the file.
    pub(crate) fn read(&self, shard: u32, offset: u64, size: u64) -> io::Result<Vec<u8>> {
        let file = self.file(shard)?;
        let mut bytes = vec![0; size as usize];
        read_exact_at(&file, self.path(shard), &mut bytes, offset)?;
        Ok(bytes)
    }

    fn file(&self, shard: u32) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = open.iter().position(|(number, _)| *number == shard) {
            let found = open.remove(place);
            open.extend(found);
        } else {
            let (path, bytes) = &self.shards[shard as usize];
            let file = File::open(path)?;
            if file.metadata()?.len() != *bytes {
                return Err(io::Error::other("the file has changed since the run began"));
            }
            if open.len() == MAX_OPEN {
                open.pop_front();
            }
            open.push_back((shard, Arc::new(file)));
        }
        let last = open.back().map(|(_, file)| file.clone());
        last.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Reads at a place of a file without moving a cursor that other threads use.
#[cfg(unix)]
fn read_exact_at(file: &File, _: &Path, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Reads at a place of a file by a cursor of its own.
#[cfg(not(unix))]
fn read_exact_at(_: &File, path: &Path, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};

    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}
