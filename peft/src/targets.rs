//! Which parts of a model are meant, as HF PEFT has it.

use std::collections::BTreeMap;

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use crate::PeftError;

/// All linear maps, in the place of names.
pub const ALL_LINEAR: &str = "all-linear";

/// Names of modules: a list of names or ends of names (`q_proj`, `layers.0.mlp.fc1`), or one regular expression that a whole
/// name matches, or `all-linear`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Names {
    /// A regular expression, or [`ALL_LINEAR`].
    Pattern(String),
    /// Names, or ends of names behind a dot.
    List(Vec<String>),
}

impl Default for Names {
    /// None.
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Names {
    /// Whether these are no names.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::List(names) if names.is_empty())
    }

    /// Reads the pattern.
    ///
    /// # Errors
    ///
    /// If it is no regular expression.
    pub(crate) fn compile(&self) -> Result<Matcher<'_>, PeftError> {
        Ok(match self {
            Self::Pattern(all) if all == ALL_LINEAR => Matcher::All,
            Self::Pattern(pattern) => Matcher::Pattern(whole(pattern)?),
            Self::List(names) => Matcher::Ends(names),
        })
    }
}

/// [`Names`] that are ready.
pub(crate) enum Matcher<'a> {
    All,
    Pattern(Regex),
    Ends(&'a [String]),
}

impl Matcher<'_> {
    /// Whether one of a module's names is meant.
    pub(crate) fn matches(&self, module: &[String]) -> bool {
        module.iter().any(|name| match self {
            Self::All => true,
            Self::Pattern(pattern) => pattern.is_match(name).unwrap_or(false),
            Self::Ends(ends) => ends.iter().any(|end| is_end(name, end)),
        })
    }

    /// The name in a list that means none of the modules.
    pub(crate) fn unused<'n>(&'n self, modules: &[&[String]]) -> Option<&'n str> {
        let Self::Ends(ends) = self else {
            return None;
        };
        let is_used = |end: &String| {
            let mut names = modules.iter().flat_map(|names| names.iter());
            names.any(|name| is_end(name, end))
        };
        let unused = ends.iter().find(|end| !is_used(end));
        unused.map(String::as_str)
    }
}

fn is_end(name: &str, end: &str) -> bool {
    name == end
        || name
            .strip_suffix(end)
            .is_some_and(|rest| rest.ends_with('.'))
}

/// A regular expression that a whole name matches.
fn whole(pattern: &str) -> Result<Regex, PeftError> {
    compiled(pattern, &format!("^(?:{pattern})$"))
}

fn compiled(pattern: &str, regex: &str) -> Result<Regex, PeftError> {
    Regex::new(regex).map_err(|error| PeftError::Pattern {
        pattern: pattern.into(),
        why: error.to_string(),
    })
}

/// Values for modules whose names end so: each key is a regular expression for the end of a name, behind a dot or whole. The
/// first that matches counts.
#[derive(Debug)]
pub(crate) struct ByPattern<T>(Vec<(Regex, T)>);

impl<T: Copy> ByPattern<T> {
    /// Reads the patterns.
    pub(crate) fn new(patterns: &BTreeMap<String, T>) -> Result<Self, PeftError> {
        let read = |(pattern, value): (&String, &T)| {
            let regex = compiled(pattern, &format!(r"^(?:.*\.)?(?:{pattern})$"))?;
            Ok((regex, *value))
        };
        Ok(Self(patterns.iter().map(read).collect::<Result<_, _>>()?))
    }

    /// The value for a module.
    pub(crate) fn get(&self, module: &[String]) -> Option<T> {
        let is_match = |regex: &Regex| {
            let mut names = module.iter();
            names.any(|name| regex.is_match(name).unwrap_or(false))
        };
        let found = self.0.iter().find(|(regex, _)| is_match(regex));
        found.map(|(_, value)| *value)
    }
}

/// Which modules are adapted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets {
    /// These.
    pub names: Names,
    /// But not these.
    pub exclude: Names,
    /// Only in these blocks, counted from 0; in all, if there are none.
    pub layers: Vec<usize>,
}

impl Targets {
    /// Whether a module stands in one of the blocks.
    pub(crate) fn in_layers(&self, path: &str) -> bool {
        if self.layers.is_empty() {
            return true;
        }
        let mut parts = path.split('.').skip_while(|part| *part != "blocks").skip(1);
        let layer = parts.next().and_then(|layer| layer.parse().ok());
        layer.is_some_and(|layer| self.layers.contains(&layer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_ends_behind_a_dot_and_patterns_are_whole() {
        let module = names(&[
            "text.blocks.1.attention.query",
            "text_model.layers.1.q_proj",
        ]);
        for (given, is_meant) in [
            (Names::List(names(&["q_proj"])), true),
            (Names::List(names(&["query"])), true),
            (Names::List(names(&["proj"])), false),
            (Names::List(names(&["layers.1.q_proj"])), true),
            (Names::List(names(&["text_model.layers.1.q_proj"])), true),
            (Names::Pattern("q_proj".into()), false),
            (Names::Pattern(r".*\.q_proj".into()), true),
            (Names::Pattern(r"^(?!.*vision).*q_proj$".into()), true),
            (
                Names::Pattern(r"^(?!.*text).*(q_proj|query)$".into()),
                false,
            ),
            (Names::Pattern(ALL_LINEAR.into()), true),
        ] {
            assert_eq!(
                given.compile().unwrap().matches(&module),
                is_meant,
                "{given:?}"
            );
        }
        let broken = Names::Pattern("(".into());
        assert!(matches!(broken.compile(), Err(PeftError::Pattern { .. })));
    }

    #[test]
    fn layers_are_counted_within_a_tower() {
        let targets = Targets {
            layers: vec![0, 2],
            ..Targets::default()
        };
        assert!(targets.in_layers("vision.blocks.2.mlp.fc1"));
        assert!(!targets.in_layers("vision.blocks.1.mlp.fc1"));
        assert!(!targets.in_layers("vision.head.projection"));
    }

    #[test]
    fn ranks_go_by_the_first_pattern_that_ends_a_name() {
        let patterns = BTreeMap::from([(r"text.*\.query".to_owned(), 2), ("query".to_owned(), 5)]);
        let ranks = ByPattern::new(&patterns).unwrap();
        assert_eq!(ranks.get(&names(&["vision.blocks.0.query"])), Some(5));
        assert_eq!(ranks.get(&names(&["vision.blocks.0.key"])), None);
        assert_eq!(ranks.get(&names(&["my_query"])), None);
    }
}
