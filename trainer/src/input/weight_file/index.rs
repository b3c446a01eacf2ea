//! The index of weights that lie in several files: which tensor is in which.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::Read,
    path::Path,
};

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

/// The longest index that is read, in bytes: some hundred thousand tensors.
const LONGEST: u64 = 64 << 20;

/// An index file: `model.safetensors.index.json`, `pytorch_model.bin.index.json`.
#[derive(Debug, Deserialize)]
pub(super) struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Whether a file is an index by its name.
pub(super) fn is_index(name: &str) -> bool {
    name.ends_with(".index.json")
}

impl Index {
    /// Reads an index. The caller adds the file's name to an error.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let mut text = Vec::new();
        File::open(path)?.take(LONGEST + 1).read_to_end(&mut text)?;
        ensure!(
            text.len() as u64 <= LONGEST,
            "is longer than {LONGEST} bytes; this is no index of weights"
        );
        let index: Self = serde_json::from_slice(&text).context(
            "not an index of weights, which names the file of each tensor in `weight_map`",
        )?;
        for shard in index.weight_map.values() {
            if !is_plain(shard) {
                bail!(
                    "`weight_map` names the file {shard:?}; expected the name of a file beside the index"
                );
            }
        }
        ensure!(
            !index.weight_map.is_empty(),
            "`weight_map` is empty; it names the file of each tensor"
        );
        Ok(index)
    }

    /// The names of the files.
    pub(super) fn shards(&self) -> BTreeSet<String> {
        self.weight_map.values().cloned().collect()
    }

    /// The keys and their files.
    pub(super) fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        self.weight_map
            .iter()
            .map(|(key, shard)| (key.as_str(), shard.as_str()))
    }

    /// The file of a tensor.
    pub(super) fn shard_of(&self, key: &str) -> Option<&str> {
        self.weight_map.get(key).map(String::as_str)
    }
}

/// Whether a name stays in the folder: no path, no index of an index.
fn is_plain(name: &str) -> bool {
    let is_part = !name.is_empty() && name != "." && name != "..";
    is_part && !name.contains(['/', '\\', ':', '\0']) && !is_index(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_a_file_beside_its_index() {
        assert!(is_plain("model-00001-of-00002.safetensors"));
        for name in [
            "",
            "..",
            "/etc/passwd",
            "../x.bin",
            "a\\b",
            "c:x",
            "x.index.json",
        ] {
            assert!(!is_plain(name), "{name}");
        }
    }
}
