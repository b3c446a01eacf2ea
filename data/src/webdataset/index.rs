//! What the shards of a set hold, found out once.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::group::Location;
use super::pattern::Shards;
use super::scan::{Rules, Scan};
use crate::kind::{self, ENOUGH, TAR};
use crate::rows::Rows;
use crate::{Error, Ledger, Place, Reason, SampleError};

/// The samples of a set in order, and what is wrong with the others.
pub(super) struct Index {
    pub(super) rows: Rows<Location>,
    /// The number of samples in each shard.
    pub(super) lengths: Vec<usize>,
    /// The number of bytes of each shard.
    pub(super) bytes: Vec<u64>,
    pub(super) skipped: Ledger,
    /// Shards without an end marker.
    pub(super) unended: Tally,
    /// Shards that are cut off or overwritten.
    pub(super) damaged: Tally,
    /// Shards of which nothing can be used, and patterns of none.
    pub(super) unusable: Tally,
    /// Entries that belong to no sample.
    pub(super) ignored: u64,
}

impl Index {
    /// Goes through the shards.
    ///
    /// # Errors
    ///
    /// If no sample can be used.
    pub(super) fn build(shards: &Shards, rules: &Rules) -> Result<Self, Error> {
        let mut index = Self {
            rows: Rows::new(),
            lengths: Vec::new(),
            bytes: Vec::new(),
            skipped: Ledger::new(),
            unended: Tally::default(),
            damaged: Tally::default(),
            unusable: Tally::default(),
            ignored: 0,
        };
        for pattern in &shards.unmatched {
            index.unusable(Path::new(pattern), "no file has such a name".into());
        }
        for path in &shards.paths {
            let before = index.rows.len();
            let bytes = index.add(path, rules);
            index.bytes.push(bytes);
            index.lengths.push(index.rows.len() - before);
        }
        if index.rows.len() == 0 {
            return Err(Error::NoSamples {
                pattern: shards.name.clone(),
                shards: shards.paths.len(),
                skipped: Box::new(index.skipped),
            });
        }
        Ok(index)
    }

    /// Goes through one shard, and gives its size in bytes.
    fn add(&mut self, path: &Path, rules: &Rules) -> u64 {
        let number = self.lengths.len() as u32;
        let read = open(path).and_then(|(file, bytes)| {
            Scan::new(path, (number, bytes), rules, self).run(file)?;
            Ok(bytes)
        });
        read.unwrap_or_else(|message| {
            self.unusable(path, other_kind(path).unwrap_or(message));
            0
        })
    }

    fn unusable(&mut self, path: &Path, message: String) {
        self.unusable.add(path);
        self.skipped.record(SampleError {
            origin: path.display().to_string(),
            place: Place::Whole,
            reason: Reason::UnusableShard { message },
        });
    }

    /// What a user may want to know.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes: Vec<_> = [
            self.unusable.note("nothing of it can be used"),
            self.damaged
                .note("only what lies before its damage is used"),
            self.unended
                .note("its end marker is missing; all entries are whole"),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.ignored > 0 {
            let ignored = self.ignored;
            notes.push(format!(
                "entries passed over that belong to no sample: {ignored}"
            ));
        }
        notes
    }
}

/// A number of shards, of which the first is named.
#[derive(Debug, Default)]
pub(super) struct Tally {
    first: Option<String>,
    others: usize,
}

impl Tally {
    pub(super) fn add(&mut self, path: &Path) {
        match self.first {
            None => self.first = Some(path.display().to_string()),
            Some(_) => self.others += 1,
        }
    }

    fn note(&self, what: &str) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(match self.others {
            0 => format!("{first}: {what}"),
            others => format!("{first}: {what} (as with {others} more)"),
        })
    }
}

/// Opens a shard, and gives its size in bytes.
fn open(path: &Path) -> Result<(File, u64), String> {
    // Look before opening: to open a pipe would wait for ever.
    let found = fs::metadata(path).map_err(|error| error.to_string())?;
    if found.is_dir() {
        return Err("it is a folder; name the shards in it, such as `*.tar`".into());
    }
    if !found.is_file() {
        return Err("it is a device or a pipe, not a file".into());
    }
    if found.len() == 0 {
        return Err("it is empty (0 bytes)".into());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    Ok((file, found.len()))
}

/// What a file is in place of an archive, by its first bytes.
fn other_kind(path: &Path) -> Option<String> {
    let (file, _) = open(path).ok()?;
    let mut start = Vec::new();
    file.take(ENOUGH as u64).read_to_end(&mut start).ok()?;
    let found = kind::of(&start).filter(|found| *found != TAR && found.words != "binary data")?;
    Some(format!(
        "it is {}, not a tar archive; {}",
        found.words, found.remedy
    ))
}
