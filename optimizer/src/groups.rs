//! Which parameter belongs to which group.

use std::collections::HashMap;

use burn::module::{Module, ParamId};
use checkpointing::{Parameter, parameters};
use glob::Pattern;
use precision::Format;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Group, OptimizerError, Slot, layer_decay::Towers};

/// A group of parameters that learn otherwise than the rest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupRule {
    /// A pattern over the paths of parameters, such as `text.*.bias`: `*` is any text with dots and all, `?` one
    /// character. A path belongs to the first group that matches it.
    pub pattern: String,
    /// A factor on the learning rate.
    #[serde(default = "whole")]
    pub rate: f64,
    /// The weight decay of all parameters of the group, those of one axis too; when absent, that of the others.
    pub weight_decay: Option<f64>,
}

fn whole() -> f64 {
    1.0
}

/// How the parameters of a module are grouped.
#[derive(Clone, Debug, PartialEq)]
pub struct Groups {
    /// The weight decay of parameters of two or more axes. Biases, norms and scales, all of one axis, do not decay.
    pub weight_decay: f64,
    /// Exceptions, the first that matches a path counting.
    pub rules: Vec<GroupRule>,
    /// By what the rate falls from one layer to the one below, from the head down to the embedding.
    pub layer_decay: Option<f64>,
    /// The format of the state.
    pub format: Format,
}

impl Default for Groups {
    /// open_clip's, for vision transformers.
    fn default() -> Self {
        Self {
            weight_decay: 0.2,
            rules: Vec::new(),
            layer_decay: None,
            format: Format::F32,
        }
    }
}

impl Groups {
    /// The slots of the parameters of `module` that train, in an order that is the same in every process.
    ///
    /// # Errors
    ///
    /// If a pattern cannot be read, or if its group would be empty.
    pub fn slots<M: Module>(&self, module: &M) -> Result<Vec<Slot>, OptimizerError> {
        let found = parameters(module);
        let towers = Towers::of(&found);
        let rules = self.patterns()?;
        let mut used = vec![false; rules.len()];
        // By rule, the one before it that took the first parameter.
        let mut shadowed_by: Vec<Option<usize>> = vec![None; rules.len()];
        let mut slots = Vec::new();
        for (order, parameter, places) in trained(&found) {
            let path = &parameter.path;
            let matches: Vec<usize> = (0..rules.len())
                .filter(|rule| rules[*rule].matches(path))
                .collect();
            if let Some((first, rest)) = matches.split_first() {
                used[*first] = true;
                for rule in rest {
                    shadowed_by[*rule].get_or_insert(*first);
                }
            }
            let mut group = self.group(parameter, matches.first().map(|rule| &self.rules[*rule]));
            if let Some(decay) = self.layer_decay {
                group.rate *= towers.factor(order, path, decay);
            }
            slots.push(Slot {
                path: path.clone(),
                id: parameter.id,
                shape: parameter.shape.clone(),
                places,
                group,
                owner: 0,
                format: self.format,
            });
        }
        let Some(empty) = used.iter().position(|used| !used) else {
            return Ok(slots);
        };
        let pattern = |rule: usize| self.rules[rule].pattern.clone();
        Err(match shadowed_by[empty] {
            Some(by) => OptimizerError::ShadowedGroup {
                pattern: pattern(empty),
                by: pattern(by),
            },
            None => OptimizerError::EmptyGroup {
                pattern: pattern(empty),
                known: beginnings(&slots),
            },
        })
    }

    fn patterns(&self) -> Result<Vec<Pattern>, OptimizerError> {
        let read = |rule: &GroupRule| rule.read();
        self.rules.iter().map(read).collect()
    }

    fn group(&self, parameter: &Parameter, rule: Option<&GroupRule>) -> Group {
        let has_one_axis = parameter.shape.len() < 2;
        let weight_decay = if has_one_axis { 0.0 } else { self.weight_decay };
        Group {
            rate: rule.map_or(1.0, |rule| rule.rate),
            weight_decay: rule
                .and_then(|rule| rule.weight_decay)
                .unwrap_or(weight_decay),
        }
    }
}

impl GroupRule {
    /// Checks that the pattern can be read.
    ///
    /// # Errors
    ///
    /// If it cannot.
    pub fn check(&self) -> Result<(), OptimizerError> {
        self.read().map(drop)
    }

    fn read(&self) -> Result<Pattern, OptimizerError> {
        Pattern::new(&self.pattern).map_err(|error| OptimizerError::Pattern {
            pattern: self.pattern.clone(),
            message: error.to_string(),
        })
    }
}

/// The first two names of all paths, each once.
fn beginnings(slots: &[Slot]) -> String {
    let mut all: Vec<String> = Vec::new();
    for slot in slots {
        let names: Vec<&str> = slot.path.split('.').take(2).collect();
        let name = format!("`{}`", names.join("."));
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all.join(", ")
}

/// The first place of each parameter that trains at one of its places, with its number among all places and how many it
/// has.
fn trained(found: &[Parameter]) -> Vec<(usize, &Parameter, usize)> {
    let mut places: HashMap<ParamId, (usize, bool)> = HashMap::new();
    for parameter in found {
        let (count, trains) = places.entry(parameter.id).or_default();
        *count += 1;
        *trains |= parameter.trains;
    }
    let mut trained = Vec::new();
    for (order, parameter) in found.iter().enumerate() {
        // Taken out, so that the places after the first are passed over.
        if let Some((count, true)) = places.remove(&parameter.id) {
            trained.push((order, parameter, count));
        }
    }
    trained
}

#[cfg(test)]
mod tests {
    use burn::{
        nn::{Linear, LinearConfig},
        tensor::Device,
    };

    use super::*;

    fn linear() -> Linear {
        LinearConfig::new(2, 3).init(&Device::default())
    }

    fn rule(pattern: &str, rate: f64, weight_decay: Option<f64>) -> GroupRule {
        GroupRule {
            pattern: pattern.to_owned(),
            rate,
            weight_decay,
        }
    }

    #[test]
    fn parameters_of_one_axis_do_not_decay() {
        let slots = Groups::default().slots(&linear()).unwrap();
        let decays: Vec<_> = slots
            .iter()
            .map(|slot| (slot.path.as_str(), slot.group))
            .collect();
        let group = |weight_decay| Group {
            rate: 1.0,
            weight_decay,
        };
        assert_eq!(decays, [("weight", group(0.2)), ("bias", group(0.0))]);
        assert_eq!((slots[0].elements(), slots[0].owner), (6, 0));
    }

    #[test]
    fn the_first_rule_that_matches_counts_and_a_stated_decay_is_that_of_all() {
        let groups = Groups {
            rules: vec![
                rule("0.*", 0.5, None),
                rule("*.bias", 2.0, Some(0.1)),
                rule("*", 3.0, None),
            ],
            ..Groups::default()
        };
        let slots = groups.slots(&vec![linear(), linear()]).unwrap();
        let found: Vec<_> = slots
            .iter()
            .map(|slot| (slot.group.rate, slot.group.weight_decay))
            .collect();
        assert_eq!(found, [(0.5, 0.2), (0.5, 0.0), (3.0, 0.2), (2.0, 0.1)]);
    }

    #[test]
    fn what_is_frozen_has_no_slot() {
        let slots = Groups::default()
            .slots(&vec![linear(), linear().no_grad()])
            .unwrap();
        let paths: Vec<_> = slots.iter().map(|slot| slot.path.as_str()).collect();
        assert_eq!(paths, ["0.weight", "0.bias"]);
    }

    #[test]
    fn a_tied_weight_has_one_slot_at_its_first_place() {
        let tied = linear();
        let groups = Groups {
            rules: vec![rule("1.weight", 2.0, None)],
            ..Groups::default()
        };
        let slots = groups
            .slots(&vec![linear(), tied.clone(), tied, linear()])
            .unwrap();
        let found: Vec<_> = slots
            .iter()
            .map(|slot| (slot.path.as_str(), slot.places, slot.group.rate))
            .collect();
        let want = [
            ("0.weight", 1, 1.0),
            ("0.bias", 1, 1.0),
            ("1.weight", 2, 2.0),
            ("1.bias", 2, 1.0),
            ("3.weight", 1, 1.0),
            ("3.bias", 1, 1.0),
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn a_group_whose_parameters_others_have_is_told() {
        let groups = Groups {
            rules: vec![rule("*", 1.0, None), rule("*.bias", 2.0, None)],
            ..Groups::default()
        };
        assert_eq!(
            groups.slots(&vec![linear()]).unwrap_err().to_string(),
            "all that the pattern `*.bias` matches is in the group of `*` before it; put it first"
        );
    }

    #[test]
    fn a_pattern_that_matches_nothing_or_cannot_be_read_is_told() {
        let slots = |pattern: &str| {
            let rules = vec![rule(pattern, 1.0, None)];
            let groups = Groups {
                rules,
                ..Groups::default()
            };
            groups.slots(&linear()).unwrap_err().to_string()
        };
        assert_eq!(
            slots("wieght"),
            "the pattern `wieght` matches the path of no parameter that trains; their paths begin with `weight`, `bias`"
        );
        assert!(slots("[a").starts_with("the pattern `[a` cannot be read: "));
    }
}
