//! What the shards of a set hold.

use std::path::Path;

use super::group::Location;
use crate::rows::Rows;
use crate::{Ledger, Place, Reason, SampleError};

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
    /// Notes a shard of which nothing can be used.
    pub(super) fn unusable(&mut self, path: &Path, message: String) {
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
