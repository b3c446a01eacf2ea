//! One pass over the headers of a shard: where each picture lies, and what each caption says.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow::{self, Break, Continue};
use std::path::{Path, PathBuf};

use tar::{Archive, Entry, EntryType};

use super::captions::Text;
use super::captions::{Captions, SECTION};
use super::group::{Group, Image, Location};
use super::index::Index;
use super::key::{Name, Part};
use super::metered::{Meter, Metered};
use crate::{Place, Reason, SampleError};

/// How many bytes the headers of one entry may take, with a long name: more than names of any file system.
const MAX_HEADERS: u64 = 1 << 20;

/// The unit of an archive, in bytes.
const BLOCK: u64 = 512;

/// What to make of entries.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) captions: Captions,
    pub(super) max_image_bytes: u64,
}

/// A shard while it is read.
pub(super) struct Scan<'a> {
    path: &'a Path,
    number: u32,
    bytes: u64,
    rules: &'a Rules,
    index: &'a mut Index,
    /// The sample that the last entries belong to.
    group: Option<Group>,
    /// The keys of the samples before it.
    keys: HashSet<String>,
}

impl<'a> Scan<'a> {
    /// Begins shard `number`, a file of so many bytes.
    pub(super) fn new(
        path: &'a Path,
        (number, bytes): (u32, u64),
        rules: &'a Rules,
        index: &'a mut Index,
    ) -> Self {
        Self {
            path,
            number,
            bytes,
            rules,
            index,
            group: None,
            keys: HashSet::new(),
        }
    }

    /// Puts the samples into the index, to the end of the shard or to the first damage.
    ///
    /// # Errors
    ///
    /// If the shard has no entries.
    pub(super) fn run(mut self, file: File) -> Result<(), String> {
        let meter = Meter::default();
        let mut archive = Archive::new(Metered::new(file, &meter));
        let mut entries = archive.entries_with_seek().map_err(|e| e.to_string())?;
        let mut next = 0;
        loop {
            meter.allow(MAX_HEADERS);
            match entries.next() {
                None => break,
                Some(Err(error)) if next == 0 => {
                    return Err(format!("it is no tar archive ({})", summary(&error)));
                }
                Some(Err(error)) => {
                    self.broken_header(next, summary(&error));
                    return Ok(());
                }
                Some(Ok(mut entry)) => {
                    if self.entry(&mut entry, &meter).is_break() {
                        return Ok(());
                    }
                    let end = entry.raw_file_position().saturating_add(entry.size());
                    next = end.div_ceil(BLOCK).saturating_mul(BLOCK);
                }
            }
        }
        self.leave();
        if next == 0 {
            return Err("it has no entries".into());
        }
        if meter.ended() {
            self.index.unended.add(self.path);
        }
        Ok(())
    }

    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, meter: &Meter) -> ControlFlow<()> {
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let name = Name::of(&path);
        let kind = Kind::of(entry);
        // A sparse file takes less than its size.
        let stored = match entry.header().entry_type() {
            EntryType::GNUSparse => entry.header().entry_size().unwrap_or(u64::MAX),
            _ => entry.size(),
        };
        let end = entry.raw_file_position().checked_add(stored);
        if end.is_none_or(|end| end > self.bytes) {
            self.cut_off(entry, &path, name);
            return Break(());
        }
        let Some(name) = name.filter(|_| kind != Kind::Aside) else {
            self.index.ignored += u64::from(kind != Kind::Aside);
            return Continue(());
        };
        let refused = kind.refusal().map(|found| Reason::NotAFile {
            path: self.shown(&path),
            found,
        });
        match name.part {
            Some(Part::Image(number)) => {
                let image = refused.map_or_else(|| self.image(entry, number, &path), Err);
                self.enter(name.key).add_image(number, image);
            }
            Some(Part::Caption(number)) => {
                let text = refused.map_or_else(|| self.text(entry, number, &path, meter), Err);
                self.enter(name.key).add_text(number, text);
            }
            None => _ = self.enter(name.key),
        }
        Continue(())
    }

    /// Where the picture of an entry is, if it can be used.
    fn image<R: Read>(&self, entry: &Entry<'_, R>, number: usize, path: &str) -> Image {
        let (size, limit) = (entry.size(), self.rules.max_image_bytes);
        let path = || self.shown(path);
        if size == 0 {
            return Err(Reason::EmptyFile { path: path() });
        }
        if size > limit {
            return Err(Reason::LargeFile {
                section: SECTION,
                path: path(),
                limit,
            });
        }
        Ok(Location {
            shard: self.number,
            extension: number as u32,
            offset: entry.raw_file_position(),
            size,
        })
    }

    /// What the entry of a caption holds.
    fn text<R: Read>(
        &self,
        entry: &mut Entry<'_, R>,
        number: usize,
        path: &str,
        meter: &Meter,
    ) -> Text {
        self.rules.captions.check_size(number, entry.size())?;
        meter.allow(entry.size());
        let mut text = Vec::with_capacity(entry.size() as usize);
        match entry.read_to_end(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(Reason::Unreadable {
                path: self.shown(path),
                message: error.to_string(),
            }),
        }
    }

    /// The group of a key: the one at hand, or a new one after it.
    fn enter(&mut self, key: &str) -> &mut Group {
        if self.group.as_ref().is_some_and(|group| group.key() != key) {
            self.leave();
        }
        self.group.get_or_insert_with(|| Group::new(key))
    }

    /// Puts the group at hand into the index.
    fn leave(&mut self) {
        let Some(group) = self.group.take() else {
            return;
        };
        if !group.has_image() && !group.has_text() {
            self.index.ignored += 1;
            return;
        }
        let key = group.key().to_owned();
        if self.keys.contains(&key) {
            return self.skip(Place::Key(key), Reason::SplitSample);
        }
        match group.finish(&self.rules.captions, self.index.rows.len()) {
            Ok((location, captions)) => {
                for caption in &captions {
                    self.index.rows.push(location, &key, caption);
                }
            }
            Err(reason) => self.skip(Place::Key(key.clone()), reason),
        }
        self.keys.insert(key);
    }

    /// Ends the shard at an entry that is longer than the file.
    fn cut_off<R: Read>(&mut self, entry: &Entry<'_, R>, path: &str, name: Option<Name>) {
        let place = match name.filter(|name| name.part.is_some()) {
            Some(name) => {
                self.group.take_if(|group| group.key() == name.key);
                Place::Key(name.key.to_owned())
            }
            None => Place::Byte(entry.raw_header_position()),
        };
        let found = self.bytes.saturating_sub(entry.raw_file_position());
        let message = format!(
            "`{path}` should have {} bytes, and the file ends after {found} of them",
            entry.size()
        );
        self.damaged(place, message);
    }

    /// Ends the shard at a header that makes no sense, or that cannot be read.
    fn broken_header(&mut self, next: u64, message: String) {
        let half = |group: &mut Group| group.has_image() != group.has_text();
        let place = match self.group.take_if(half) {
            Some(group) => Place::Key(group.key().to_owned()),
            None => Place::Byte(next),
        };
        self.damaged(place, message);
    }

    fn damaged(&mut self, place: Place, message: String) {
        self.leave();
        self.index.damaged.add(self.path);
        self.skip(place, Reason::DamagedShard { message });
    }

    fn skip(&mut self, place: Place, reason: Reason) {
        self.index.skipped.record(SampleError {
            origin: self.path.display().to_string(),
            place,
            reason,
        });
    }

    fn shown(&self, path: &str) -> PathBuf {
        shown(self.path, path)
    }
}

/// An entry of a shard in messages. It is never opened, and may be called `/etc/passwd`: so nothing is joined.
pub(super) fn shown(shard: &Path, entry: &str) -> PathBuf {
    let mut path = shard.as_os_str().to_owned();
    path.push("/");
    path.push(entry);
    path.into()
}

/// What the archive says of a header, without the bytes of the header that it may quote.
fn summary(error: &io::Error) -> String {
    let error = error.to_string();
    let message = error.split(" when getting ").next().unwrap_or_default();
    message
        .chars()
        .filter(|c| !c.is_control())
        .take(80)
        .collect()
}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Sparse,
    Odd(&'static str),
    /// A folder, or a header for the whole archive.
    Aside,
}

impl Kind {
    fn of<R: Read>(entry: &mut Entry<'_, R>) -> Self {
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous if !has_gaps(entry) => Self::File,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Self::Sparse,
            EntryType::Symlink => Self::Odd("a symbolic link"),
            EntryType::Link => Self::Odd("a hard link"),
            EntryType::Char | EntryType::Block | EntryType::Fifo => Self::Odd("a device or a pipe"),
            _ => Self::Aside,
        }
    }

    fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Sparse => Some("a sparse file"),
            Self::Odd(found) => Some(found),
            Self::File | Self::Aside => None,
        }
    }
}

/// Whether a pax header says that the bytes in the archive are not those of the file.
fn has_gaps<R: Read>(entry: &mut Entry<'_, R>) -> bool {
    let Ok(Some(extensions)) = entry.pax_extensions() else {
        return false;
    };
    let mut keys = extensions.filter_map(Result::ok).map(|e| e.key_bytes());
    keys.any(|key| key.starts_with(b"GNU.sparse."))
}
