//! How large the tiles are.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The largest tile of logits that exists at a time, and how many products stay between the passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tiling {
    /// Images in a tile, at least 1.
    pub rows: usize,
    /// Texts in a tile, at least 1.
    pub columns: usize,
    /// Products that the softmax loss's first pass leaves for the second, in bytes; what does not
    /// fit is computed twice. 0: nothing stays.
    pub kept_bytes: usize,
}

impl Default for Tiling {
    /// Few and large tiles, each 16 MiB in float32: the gradients are read and written once per tile.
    fn default() -> Self {
        Self {
            rows: 2048,
            columns: 2048,
            kept_bytes: 32 << 20,
        }
    }
}

impl Tiling {
    /// Square tiles, of which only one exists at a time unless a single one is the whole.
    pub fn square(side: usize) -> Self {
        Self {
            rows: side,
            columns: side,
            kept_bytes: 0,
        }
    }
}

/// Splits `0..length` into the fewest ranges of at most `largest`, of nearly equal lengths.
pub(super) fn blocks(length: usize, largest: usize) -> Vec<Range<usize>> {
    let count = length.div_ceil(largest.max(1)).max(1);
    (0..count)
        .map(|i| length * i / count..length * (i + 1) / count)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_the_range_once_and_stay_within_the_largest() {
        for length in 1..40 {
            for largest in 1..50 {
                let blocks = blocks(length, largest);
                assert_eq!(blocks.len(), length.div_ceil(largest));
                assert!(blocks.iter().all(|b| !b.is_empty() && b.len() <= largest));
                assert!(blocks.iter().cloned().flatten().eq(0..length));
            }
        }
    }
}
