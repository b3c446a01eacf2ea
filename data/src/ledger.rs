//! The account of samples that could not be used.

use std::collections::BTreeMap;
use std::fmt;

use crate::SampleError;

/// Counts the skipped samples by kind of fault and keeps every error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    counts: BTreeMap<&'static str, u64>,
    errors: Vec<SampleError>,
}

impl Ledger {
    /// An empty ledger.
    pub const fn new() -> Self {
        Self {
            counts: BTreeMap::new(),
            errors: Vec::new(),
        }
    }

    /// Counts one skipped sample.
    pub fn record(&mut self, error: SampleError) {
        *self.counts.entry(error.reason.kind()).or_default() += 1;
        self.errors.push(error);
    }

    /// Adds what another ledger counted.
    pub fn merge(&mut self, other: &Self) {
        for (kind, count) in &other.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        self.errors.extend(other.errors.iter().cloned());
    }

    /// The number of skipped samples.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Whether nothing was skipped.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The number of skipped samples by kind of fault, in alphabetical order.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.counts.iter().map(|(kind, count)| (*kind, *count))
    }

    /// The errors, in order.
    pub fn errors(&self) -> &[SampleError] {
        &self.errors
    }
}

/// `3 samples skipped: 2 empty caption, 1 missing file; the first: …`
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.total();
        write!(
            f,
            "{total} sample{} skipped",
            if total == 1 { "" } else { "s" }
        )?;
        for (i, (kind, count)) in self.counts().enumerate() {
            write!(f, "{} {count} {kind}", if i == 0 { ":" } else { "," })?;
        }
        match self.errors.first() {
            Some(error) => write!(f, "; the first: {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Place, Reason};

    fn error(line: u64, reason: Reason) -> SampleError {
        SampleError {
            origin: "t.tsv".into(),
            place: Place::Line(line),
            reason,
        }
    }

    #[test]
    fn all_faults_are_counted_and_kept() {
        let mut ledger = Ledger::new();
        for line in 0..50 {
            ledger.record(error(line, Reason::EmptyCaption));
        }
        let mut other = Ledger::new();
        other.record(error(51, Reason::EmptyPath));
        ledger.merge(&other);
        assert_eq!(ledger.total(), 51);
        assert_eq!(
            ledger.counts().collect::<Vec<_>>(),
            [("empty caption", 50), ("empty path", 1)]
        );
        assert_eq!(ledger.errors().len(), 51);
    }

    #[test]
    fn a_ledger_reads_as_a_sentence() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.to_string(), "0 samples skipped");
        ledger.record(error(3, Reason::EmptyCaption));
        assert_eq!(
            ledger.to_string(),
            "1 sample skipped: 1 empty caption; the first: t.tsv, line 3: the caption is empty"
        );
    }
}
