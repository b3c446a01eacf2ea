//! Which key of a file is which of a model, where wrappers have put something in front.

use std::collections::{BTreeMap, BTreeSet};

use super::{Bindings, TensorSource, WeightsError};

/// What torch's compiler and its sharding put between two names, wherever they wrap a part. No model has such names.
const INSIDE: [&str; 4] = [
    "_orig_mod",
    "_checkpoint_wrapped_module",
    "_forward_module",
    "_fsdp_wrapped_module",
];

/// What wrappers of a whole model put in front: data parallel ones, Lightning's, a training's checkpoint.
const IN_FRONT: [&str; 4] = ["module", "model", "net", "state_dict"];

/// A model's keys found in a file.
#[derive(Debug)]
pub(super) struct Naming<'a> {
    /// The key in the file by the model's key.
    keys: BTreeMap<&'a str, &'a str>,
    /// What stands in front of the model's keys.
    pub(super) prefix: String,
}

impl<'a> Naming<'a> {
    /// Finds every key of `bindings`, with what wrappers have put in front taken off where the keys fit without it and
    /// not with it.
    pub(super) fn find(
        bindings: &'a Bindings,
        source: &'a dyn TensorSource,
    ) -> Result<Self, WeightsError> {
        let wanted: BTreeSet<&str> = bindings
            .iter()
            .map(|binding| binding.key.as_str())
            .collect();
        let plain: BTreeMap<String, &str> = source
            .keys()
            .into_iter()
            .map(|key| (modern(key), key))
            .collect();
        let needed = |key: &&&str| !bindings.is_zero_if_missing(key);
        let needed: Vec<&str> = wanted.iter().filter(needed).copied().collect();
        let found = |names: &BTreeMap<String, &str>, prefix: &str| {
            let is_there = |key: &&&str| names.contains_key(&format!("{prefix}{key}"));
            needed.iter().filter(is_there).count()
        };
        let mut best = (found(&plain, ""), String::new());
        let mut names = plain;
        if best.0 < needed.len() {
            let inside = without_inside(&names);
            for prefix in prefixes(&inside, &needed) {
                let count = found(&inside, &prefix);
                let is_wrapper = prefix
                    .split('.')
                    .all(|name| IN_FRONT.contains(&name) || name.is_empty());
                if count > best.0 && (is_wrapper || count == needed.len()) {
                    best = (count, prefix);
                }
            }
            if found(&inside, &best.1) >= best.0 {
                names = inside;
            }
        }
        let (_, prefix) = best;
        let mut naming = Self {
            keys: BTreeMap::new(),
            prefix,
        };
        let mut unexpected = Vec::new();
        for (name, key) in names {
            let own = name.strip_prefix(&naming.prefix);
            match own.and_then(|own| wanted.get(own)) {
                Some(own) => {
                    naming.keys.insert(own, key);
                }
                None if bindings.is_ignored(&name) => {}
                None => unexpected.push(key.to_string()),
            }
        }
        let missing: Vec<String> = needed
            .iter()
            .filter(|key| !naming.keys.contains_key(**key))
            .map(|key| format!("{}{key}", naming.prefix))
            .collect();
        if !missing.is_empty() {
            return Err(WeightsError::Missing { keys: missing });
        }
        if !unexpected.is_empty() {
            return Err(WeightsError::Unexpected { keys: unexpected });
        }
        Ok(naming)
    }

    /// The key in the file.
    pub(super) fn on_disk(&self, key: &str) -> Option<&'a str> {
        self.keys.get(key).copied()
    }
}

/// A key as it is spelt today: BERT's first releases have `gamma` and `beta`, and two-tower models of transformers 4 name
/// CLIP's towers twice.
fn modern(key: &str) -> String {
    for tower in ["vision_model.", "text_model."] {
        if let Some(rest) = key.strip_prefix(tower)
            && rest.starts_with(tower)
        {
            return rest.to_string();
        }
    }
    for (old, new) in [("gamma", "weight"), ("beta", "bias")] {
        if let Some(norm) = key.strip_suffix(old)
            && norm.ends_with("LayerNorm.")
        {
            return format!("{norm}{new}");
        }
    }
    key.to_string()
}

/// The keys without what wrappers put inside them. Where two would become one, only one of them does.
fn without_inside<'a>(names: &BTreeMap<String, &'a str>) -> BTreeMap<String, &'a str> {
    let mut inside = BTreeMap::new();
    for (name, key) in names {
        let kept: Vec<&str> = name
            .split('.')
            .filter(|part| !INSIDE.contains(part))
            .collect();
        let kept = kept.join(".");
        if kept != *name && (inside.contains_key(&kept) || names.contains_key(&kept)) {
            inside.insert(name.clone(), *key);
        } else {
            inside.insert(kept, *key);
        }
    }
    inside
}

/// What may stand in front of a model's keys: nothing, and what stands before one of the first that are wanted.
fn prefixes(names: &BTreeMap<String, &str>, wanted: &[&str]) -> BTreeSet<String> {
    let mut prefixes = BTreeSet::from([String::new()]);
    for anchor in wanted.iter().take(ANCHORS) {
        for name in names.keys() {
            let prefix = name
                .strip_suffix(anchor)
                .filter(|prefix| prefix.ends_with('.'));
            prefixes.extend(prefix.map(str::to_string));
            if prefixes.len() == MOST_PREFIXES {
                return prefixes;
            }
        }
    }
    prefixes
}

/// How many of the wanted keys are looked for: one of them may be what is missing.
const ANCHORS: usize = 3;

/// How many prefixes are tried. A file with more of them is no model's.
const MOST_PREFIXES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_spellings_are_todays_names() {
        for (key, want) in [
            (
                "bert.embeddings.LayerNorm.gamma",
                "bert.embeddings.LayerNorm.weight",
            ),
            ("LayerNorm.beta", "LayerNorm.bias"),
            (
                "vision_model.vision_model.a.weight",
                "vision_model.a.weight",
            ),
            ("text_model.text_model.a.bias", "text_model.a.bias"),
            ("layer_scale.gamma", "layer_scale.gamma"),
            ("vision_model.a.weight", "vision_model.a.weight"),
        ] {
            assert_eq!(modern(key), want);
        }
    }
}
