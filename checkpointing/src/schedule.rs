//! Which segments keep their graph, and which are recomputed from a stored cut.

use std::ops::Range;

/// How to choose a [`Schedule`] for a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Every segment keeps its graph: fastest, most memory.
    #[default]
    StoreAll,
    /// Store each cut, recompute each segment: one extra forward, least memory without nesting.
    EveryCut,
    /// Store every n-th cut and recompute n segments at a time. `Every(1)` is `EveryCut`.
    Every(usize),
}

/// A run of segments that the pullback treats alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The segments of the stage, by their place in the chain.
    pub segments: Range<usize>,
    /// True: their graphs live from forward to pullback. False: only the cut before them does.
    pub keep: bool,
}

/// A partition of a chain into [`Stage`]s, in order and without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    stages: Vec<Stage>,
}

impl Policy {
    /// The schedule of this policy for a chain of `segments` segments.
    ///
    /// The last stage keeps its graph whatever the policy: the pullback needs it first, so that
    /// recomputing it would cost time and save nothing.
    pub fn schedule(self, segments: usize) -> Schedule {
        let (size, keep) = match self {
            Policy::StoreAll => (segments.max(1), true),
            Policy::EveryCut => (1, false),
            Policy::Every(n) => (n.max(1), false),
        };
        let mut stages: Vec<Stage> = (0..segments)
            .step_by(size)
            .map(|start| Stage {
                segments: start..(start + size).min(segments),
                keep,
            })
            .collect();
        if let Some(last) = stages.last_mut() {
            last.keep = true;
        }
        Schedule { stages }
    }
}

impl Schedule {
    /// The stages in order.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// How many segments the schedule covers.
    pub fn segments(&self) -> usize {
        self.stages.last().map_or(0, |stage| stage.segments.end)
    }
}

#[cfg(test)]
mod tests {
    use super::Policy;

    #[test]
    fn every_policy_covers_the_chain_without_gaps() {
        for segments in 0..9 {
            for policy in [
                Policy::StoreAll,
                Policy::EveryCut,
                Policy::Every(0),
                Policy::Every(3),
            ] {
                let schedule = policy.schedule(segments);
                let covered: Vec<usize> = schedule
                    .stages()
                    .iter()
                    .flat_map(|stage| stage.segments.clone())
                    .collect();
                assert_eq!(covered, (0..segments).collect::<Vec<_>>(), "{policy:?}");
                assert_eq!(schedule.segments(), segments);
                assert!(schedule.stages().last().is_none_or(|stage| stage.keep));
            }
        }
    }

    #[test]
    fn every_cut_keeps_only_the_last_graph() {
        let kept = Policy::EveryCut
            .schedule(12)
            .stages()
            .iter()
            .filter(|stage| stage.keep)
            .count();
        assert_eq!(kept, 1);
    }
}
