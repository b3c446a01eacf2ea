//! Which keys of a recipe the user wrote.

use std::collections::BTreeSet;

use super::tree::{Node, Value};

/// The keys that the user's own recipe or the command line set. What a preset or a recipe that came with the program says
/// is a proposal, and may give way to the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said(BTreeSet<String>);

impl Said {
    pub(super) fn of(tree: &Node) -> Self {
        let mut keys = BTreeSet::new();
        collect(tree, "", &mut keys);
        Self(keys)
    }

    /// Whether the user set a key, such as `train.batch`.
    pub fn says(&self, key: &str) -> bool {
        self.0.contains(key)
    }
}

impl Node {
    /// Whether anything in it was written by the user.
    pub(super) fn says_anything(&self) -> bool {
        !Said::of(self).0.is_empty()
    }
}

fn collect(node: &Node, path: &str, keys: &mut BTreeSet<String>) {
    if let Value::Table(entries) = &node.value {
        for (key, node) in entries {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            collect(node, &path, keys);
        }
    } else if node.origin.is_users() {
        keys.insert(path.to_owned());
    }
}
