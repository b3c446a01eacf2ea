//! Whether the training data is what it was: a digest of paths and captions, and the size of each picture that was read.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use data::{ImageData, Sample, SampleError, Source};

use crate::input::sources::Joined;

/// The SHA-256 of the pictures' names and the captions of a source, in order, in hexadecimal.
pub fn digest(source: &dyn Source) -> String {
    let digest = source.digest();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A picture that is not what it was when the record was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}: had {before} bytes when the run read it before, and now {}; bring it back, or add `--allow-changes`",
    path.display(),
    now.map_or("cannot be read".to_owned(), |now| format!("has {now}"))
)]
pub struct Changed {
    /// The picture.
    pub path: PathBuf,
    /// Bytes when the run read it before.
    pub before: u32,
    /// Bytes now, if it can still be read.
    pub now: Option<u32>,
}

/// The training data, which notes the size of each picture as it is read, and compares it with an earlier one.
pub struct Watched<'a> {
    source: &'a Joined,
    before: Vec<u32>,
    sizes: Vec<AtomicU32>,
    changed: Mutex<Option<Changed>>,
}

impl<'a> Watched<'a> {
    /// Watches `source`; `before` holds the bytes of each row's picture as a record knows them, 0 where it was not
    /// read, or nothing at all.
    pub fn new(source: &'a Joined, before: Vec<u32>) -> Self {
        let known = |row| before.get(row).copied().unwrap_or(0);
        let sizes = (0..source.len()).map(|row| AtomicU32::new(known(row)));
        Self {
            source,
            sizes: sizes.collect(),
            before,
            changed: Mutex::new(None),
        }
    }

    /// The data itself.
    pub fn joined(&self) -> &'a Joined {
        self.source
    }

    /// The bytes of each row's picture; 0 where it was not read.
    pub fn sizes(&self) -> Vec<u32> {
        let sizes = self.sizes.iter();
        sizes.map(|size| size.load(Ordering::Relaxed)).collect()
    }

    /// A picture that was read and is not what it was.
    pub fn changed(&self) -> Option<Changed> {
        let changed = self.changed.lock();
        changed.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes the bytes of a row's picture, or that it cannot be read.
    fn note(&self, row: usize, path: &Path, now: Option<u32>) {
        let before = self.before.get(row).copied().unwrap_or(0);
        if before == 0 || now == Some(before) {
            self.sizes[row].store(now.unwrap_or(0), Ordering::Relaxed);
            return;
        }
        let mut changed = self.changed.lock().unwrap_or_else(PoisonError::into_inner);
        changed.get_or_insert_with(|| Changed {
            path: path.to_path_buf(),
            before,
            now,
        });
    }
}

impl Source for Watched<'_> {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn len(&self) -> usize {
        self.source.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, SampleError> {
        let sample = self.source.sample(index);
        match &sample {
            Ok(sample) => {
                if let ImageData::Encoded { bytes, path } = &sample.image {
                    let bytes = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    self.note(index, path, Some(bytes));
                }
            }
            Err(error) => {
                let key = self.source.image_key(index);
                self.note(index, error.reason.file().unwrap_or(Path::new(&*key)), None);
            }
        }
        sample
    }

    fn caption(&self, index: usize) -> Cow<'_, str> {
        self.source.caption(index)
    }

    fn image_key(&self, index: usize) -> Cow<'_, str> {
        self.source.image_key(index)
    }
}
