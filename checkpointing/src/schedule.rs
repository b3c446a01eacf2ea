//! Which segments keep what their pullback needs, and which are recomputed from a stored cut.

use std::{ops::Range, str::FromStr};

use precision::Format;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How to choose a [`Schedule`] for a chain: as text `store-all`, `every-cut`, `every(n)` or `nested(n,m)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub enum Policy {
    /// Every segment keeps what its pullback needs: fastest, most memory.
    #[default]
    StoreAll,
    /// Store each cut, recompute each segment: one extra forward.
    EveryCut,
    /// Store every n-th cut and recompute n segments at a time. `Every(1)` is `EveryCut`.
    Every(usize),
    /// Store every n-th cut; recompute from there, storing every m-th cut, and from there segment by segment. Two extra
    /// forwards, and the least memory of these: about `segments / n + n / m + m` cuts.
    Nested(usize, usize),
}

/// A run of segments that the pullback treats alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The segments of the stage, by their place in the chain.
    pub segments: Range<usize>,
    /// What lives of them between forward and pullback.
    pub how: How,
}

/// What lives of a stage between forward and pullback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// What their pullbacks need, in this number format. Anything but float32 is an approximation of the gradients.
    Keep(Format),
    /// Only the cut before them.
    Recompute {
        /// The number format of the cut's streams. Anything but float32 is an approximation: what is computed again starts
        /// from rounded values, and so do the gradients.
        cut: Format,
        /// How they are computed again.
        by: Schedule,
    },
}

/// A partition of a run of segments into [`Stage`]s, in order and without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    stages: Vec<Stage>,
}

impl Policy {
    /// The schedule of this policy for a chain of `segments` segments.
    ///
    /// The last stage keeps what it needs whatever the policy: the pullback needs it first, so that recomputing it would
    /// cost time and save nothing.
    pub fn schedule(self, segments: usize) -> Schedule {
        match self {
            Policy::StoreAll => Schedule::keep(0..segments),
            Policy::EveryCut => Schedule::recompute(0..segments, &[1]),
            Policy::Every(n) => Schedule::recompute(0..segments, &[n]),
            Policy::Nested(n, m) => Schedule::recompute(0..segments, &[n, m]),
        }
    }
}

impl FromStr for Policy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let sizes = |name: &str| -> Option<Vec<usize>> {
            let inner = text
                .strip_prefix(name)?
                .strip_prefix('(')?
                .strip_suffix(')')?;
            let sizes = inner.split(',').map(|size| size.trim().parse().ok());
            sizes.map(|size| size.filter(|size| *size > 0)).collect()
        };
        match (text, sizes("every").as_deref(), sizes("nested").as_deref()) {
            ("store-all", ..) => Ok(Self::StoreAll),
            ("every-cut", ..) => Ok(Self::EveryCut),
            (_, Some([n]), _) => Ok(Self::Every(*n)),
            (_, _, Some([n, m])) => Ok(Self::Nested(*n, *m)),
            _ => Err(
                "\"store-all\", \"every-cut\", \"every(n)\" or \"nested(n,m)\" with n and m of 1 or more",
            ),
        }
    }
}

impl TryFrom<String> for Policy {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Policy> for String {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::StoreAll => "store-all".to_owned(),
            Policy::EveryCut => "every-cut".to_owned(),
            Policy::Every(n) => format!("every({n})"),
            Policy::Nested(n, m) => format!("nested({n},{m})"),
        }
    }
}

impl Schedule {
    /// Keeps everything.
    pub fn keep(segments: Range<usize>) -> Self {
        let stage = Stage {
            segments: segments.clone(),
            how: How::Keep(Format::F32),
        };
        let is_empty = segments.is_empty();
        Self {
            stages: if is_empty { Vec::new() } else { vec![stage] },
        }
    }

    /// Stages of `sizes[0]` segments, each but the last recomputed by stages of `sizes[1]` segments, and so on; what is
    /// recomputed by the last of `sizes` is kept.
    pub fn recompute(segments: Range<usize>, sizes: &[usize]) -> Self {
        let Some((size, rest)) = sizes.split_first() else {
            return Self::keep(segments);
        };
        let size = (*size).max(1);
        let starts = segments.clone().step_by(size);
        let stages = starts.map(|start| {
            let run = start..(start + size).min(segments.end);
            let inner = Self::recompute(run.clone(), rest);
            let how = if run.end == segments.end {
                // Its own last stage is kept, and what is before it is recomputed as elsewhere.
                return inner.stages;
            } else {
                How::Recompute {
                    cut: Format::F32,
                    by: inner,
                }
            };
            vec![Stage { segments: run, how }]
        });
        Self {
            stages: stages.flatten().collect(),
        }
    }

    /// A schedule of these stages.
    ///
    /// # Panics
    ///
    /// Panics if they leave gaps, or if a stage is recomputed by a schedule of other segments.
    pub fn new(stages: Vec<Stage>) -> Self {
        for pair in stages.windows(2) {
            assert_eq!(
                pair[0].segments.end, pair[1].segments.start,
                "stages follow each other without gaps"
            );
        }
        for stage in &stages {
            if let How::Recompute { by, .. } = &stage.how {
                assert_eq!(
                    by.range(),
                    stage.segments,
                    "a stage is recomputed by a schedule of its own segments"
                );
            }
        }
        Self { stages }
    }

    /// The same with every cut, those of nested schedules too, stored in `format`.
    pub fn with_cuts_in(mut self, format: Format) -> Self {
        for stage in &mut self.stages {
            if let How::Recompute { cut, by } = &mut stage.how {
                *cut = format;
                *by = std::mem::replace(by, Self { stages: Vec::new() }).with_cuts_in(format);
            }
        }
        self
    }

    /// The same with what is kept, in nested schedules too, kept in `format`.
    pub fn with_kept_in(mut self, format: Format) -> Self {
        for stage in &mut self.stages {
            match &mut stage.how {
                How::Keep(kept) => *kept = format,
                How::Recompute { by, .. } => {
                    *by = std::mem::replace(by, Self { stages: Vec::new() }).with_kept_in(format);
                }
            }
        }
        self
    }

    /// The stages in order.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The segments that the schedule covers.
    pub fn range(&self) -> Range<usize> {
        let start = self.stages.first().map_or(0, |stage| stage.segments.start);
        start..self.stages.last().map_or(0, |stage| stage.segments.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(schedule: &Schedule) -> Vec<usize> {
        let stages = schedule.stages().iter();
        stages.flat_map(|stage| stage.segments.clone()).collect()
    }

    fn check(schedule: &Schedule) {
        assert_eq!(covers(schedule), schedule.range().collect::<Vec<_>>());
        let last = schedule.stages().last();
        assert!(last.is_none_or(|stage| stage.how == How::Keep(Format::F32)));
        for stage in schedule.stages() {
            if let How::Recompute { by, .. } = &stage.how {
                assert_eq!(by.range(), stage.segments);
                check(by);
            }
        }
    }

    #[test]
    fn a_policy_reads_as_it_is_written() {
        for policy in [
            Policy::StoreAll,
            Policy::EveryCut,
            Policy::Every(3),
            Policy::Nested(4, 2),
        ] {
            assert_eq!(String::from(policy).parse(), Ok(policy));
        }
        for text in [
            "every(0)",
            "every",
            "every(-1)",
            "every(1,2)",
            "nested(3)",
            "nested(2,0)",
            "Store-All",
            "",
        ] {
            assert!(text.parse::<Policy>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_policy_covers_the_chain_without_gaps_and_keeps_its_end() {
        for segments in 0..9 {
            for policy in [
                Policy::StoreAll,
                Policy::EveryCut,
                Policy::Every(0),
                Policy::Every(3),
                Policy::Nested(4, 2),
                Policy::Nested(3, 1),
            ] {
                let schedule = policy.schedule(segments);
                assert_eq!(schedule.range(), 0..segments, "{policy:?}");
                check(&schedule);
            }
        }
    }

    #[test]
    fn every_cut_keeps_only_the_last_segment() {
        let schedule = Policy::EveryCut.schedule(12);
        let kept = schedule.stages().iter();
        assert_eq!(
            kept.filter(|stage| stage.how == How::Keep(Format::F32))
                .count(),
            1
        );
    }
}
