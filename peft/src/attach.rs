//! From a plan to a model with adapters.

use std::collections::BTreeMap;

use burn::tensor::Device;

use crate::{
    Adaptable, BottleneckConfig, Dora, EmbeddingLora, Ia3, Linear, LoraConfig, Method, Names,
    PeftError, Place, Targets, for_places,
    targets::{ByPattern, Matcher},
};

/// What is attached.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// LoRA, or DoRA.
    Lora {
        /// The sizes.
        config: LoraConfig,
        /// Whether the lengths of columns are learnt apart.
        is_dora: bool,
        /// Other ranks, by a pattern for the end of a name.
        ranks: BTreeMap<String, usize>,
        /// Other alphas, likewise.
        alphas: BTreeMap<String, f64>,
    },
    /// (IA)3.
    Ia3 {
        /// The modules whose input is multiplied, and not their output.
        feedforward: Names,
    },
    /// A bottleneck.
    Bottleneck {
        /// The sizes.
        config: BottleneckConfig,
        /// Whether it stands beside whole MLPs, and not behind maps.
        is_parallel: bool,
    },
}

/// What is attached, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What.
    pub kind: Kind,
    /// Where.
    pub targets: Targets,
}

/// All names of a model's modules, by their path: the path itself, and what the modules are called elsewhere.
#[derive(Clone, Debug, Default)]
pub struct ModuleNames(BTreeMap<String, Vec<String>>);

impl ModuleNames {
    /// The module at `path` is called `name` elsewhere, too.
    pub fn add(&mut self, path: impl Into<String>, name: impl Into<String>) {
        let (path, name) = (path.into(), name.into());
        let names = self.0.entry(path.clone()).or_insert_with(|| vec![path]);
        if !names.contains(&name) {
            names.push(name);
        }
    }

    /// All names of a module, its path first.
    pub fn of(&self, path: &str) -> Vec<String> {
        let known = self.0.get(path).cloned();
        known.unwrap_or_else(|| vec![path.to_owned()])
    }

    /// The path of a module by any of its names.
    pub fn path(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|(_, names)| names.iter().any(|other| other == name));
        found.map(|(path, _)| path.as_str())
    }
}

/// Attaches adapters by the name `name` to every module that the plan means; gives back their paths.
///
/// # Errors
///
/// If a name or pattern means no module, or an adapter cannot stand there.
pub fn attach(
    model: &mut impl Adaptable,
    name: &str,
    plan: &Plan,
    names: &ModuleNames,
    device: &Device,
) -> Result<Vec<String>, PeftError> {
    let places = Places::of(model, plan, names);
    let meant = plan.targets.names.compile()?;
    let excluded = plan.targets.exclude.compile()?;
    let all: Vec<&[String]> = places.0.values().map(Vec::as_slice).collect();
    for matcher in [&meant, &excluded] {
        if let Some(unused) = matcher.unused(&all) {
            return Err(places.nothing(unused));
        }
    }
    let is_meant = |path: &str, names: &[String]| {
        // As in HF PEFT, convolutions and tables are no linear maps.
        let is_embed = path.ends_with("embed.patches") || path.ends_with("embed.tokens");
        let is_linear = !(matches!(meant, Matcher::All) && is_embed);
        is_linear
            && meant.matches(names)
            && !excluded.matches(names)
            && plan.targets.in_layers(path)
    };
    let chosen: BTreeMap<&String, &Vec<String>> = places
        .0
        .iter()
        .filter(|(path, names)| is_meant(path, names))
        .collect();
    if chosen.is_empty() {
        return Err(places.nothing(&shown(&plan.targets)));
    }
    let maker = Maker::new(&plan.kind)?;
    let mut error = None;
    for_places(model, |path, place| {
        if let Some((_, names)) = chosen.get_key_value(&path.to_owned())
            && error.is_none()
        {
            error = maker.put(place, name, names, device).err();
        }
    });
    match error {
        Some(error) => Err(error),
        None => Ok(chosen.into_keys().cloned().collect()),
    }
}

/// What a plan means, for an error.
fn shown(targets: &Targets) -> String {
    match &targets.names {
        Names::Pattern(pattern) => pattern.clone(),
        Names::List(names) => names.join(", "),
    }
}

/// The places of a model that a kind of adapter can take, with their names.
struct Places(BTreeMap<String, Vec<String>>);

impl Places {
    fn of(model: &mut impl Adaptable, plan: &Plan, names: &ModuleNames) -> Self {
        let is_parallel = matches!(
            plan.kind,
            Kind::Bottleneck {
                is_parallel: true,
                ..
            }
        );
        let is_lora = matches!(plan.kind, Kind::Lora { is_dora: false, .. });
        let mut found = BTreeMap::new();
        for_places(model, |path, place| {
            let takes = match place {
                Place::Linear(_) => !is_parallel,
                Place::Embedding { .. } => is_lora,
                Place::Beside { .. } => is_parallel,
            };
            if takes {
                found.insert(path.to_owned(), names.of(path));
            }
        });
        Self(found)
    }

    /// Nothing has this name; says what is there.
    fn nothing(&self, wanted: &str) -> PeftError {
        let ends = self.0.values().flatten().map(|name| {
            let parts: Vec<&str> = name.rsplit('.').take(2).collect();
            let is_number = parts.iter().any(|part| part.parse::<usize>().is_ok());
            let parts: Vec<&str> = parts.into_iter().rev().collect();
            if is_number {
                parts[parts.len() - 1].to_owned()
            } else {
                parts.join(".")
            }
        });
        let mut near: Vec<String> = ends.collect();
        near.sort();
        near.dedup();
        let likeness = |end: &String| {
            let last = end.rsplit('.').next().unwrap_or(end);
            strsim::jaro_winkler(wanted, end).max(strsim::jaro_winkler(wanted, last))
        };
        near.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
        near.truncate(6);
        PeftError::NoTarget {
            wanted: wanted.to_owned(),
            near: near.join(", "),
        }
    }
}

/// Makes adapters of one kind.
struct Maker<'a> {
    kind: &'a Kind,
    ranks: ByPattern<usize>,
    alphas: ByPattern<f64>,
    feedforward: Matcher<'a>,
}

impl<'a> Maker<'a> {
    fn new(kind: &'a Kind) -> Result<Self, PeftError> {
        let nothing = (BTreeMap::new(), BTreeMap::new());
        let (ranks, alphas) = match kind {
            Kind::Lora { ranks, alphas, .. } => (ranks, alphas),
            _ => (&nothing.0, &nothing.1),
        };
        Ok(Self {
            kind,
            ranks: ByPattern::new(ranks)?,
            alphas: ByPattern::new(alphas)?,
            feedforward: match kind {
                Kind::Ia3 { feedforward } => feedforward.compile()?,
                _ => Matcher::Ends(&[]),
            },
        })
    }

    fn put(
        &self,
        place: Place<'_>,
        name: &str,
        names: &[String],
        device: &Device,
    ) -> Result<(), PeftError> {
        match (place, self.kind) {
            (Place::Beside { place, d_model }, Kind::Bottleneck { config, .. }) => {
                *place = Some(config.init(d_model, device));
                Ok(())
            }
            (Place::Linear(map), _) => {
                let method = self.method(map, names, device);
                map.attach(name, method)
            }
            (Place::Embedding { place, table }, Kind::Lora { config, .. }) => {
                let sizes = table.lazy_shape().dims();
                *place = Some(EmbeddingLora::new(
                    &self.sizes(config, names),
                    sizes,
                    device,
                ));
                Ok(())
            }
            (Place::Beside { .. } | Place::Embedding { .. }, _) => Ok(()),
        }
    }

    /// The sizes of a module's LoRA.
    fn sizes(&self, config: &LoraConfig, names: &[String]) -> LoraConfig {
        LoraConfig {
            rank: self.ranks.get(names).unwrap_or(config.rank),
            alpha: self.alphas.get(names).unwrap_or(config.alpha),
            ..*config
        }
    }

    fn method(&self, map: &Linear, names: &[String], device: &Device) -> Method {
        let base = map.base();
        match self.kind {
            Kind::Lora {
                config, is_dora, ..
            } => {
                let config = self.sizes(config, names);
                if *is_dora {
                    Method::Dora(Dora::new(&config, &base, device))
                } else {
                    Method::Lora(config.init(base.sizes(), device))
                }
            }
            Kind::Ia3 { .. } => {
                let on_input = self.feedforward.matches(names);
                Method::Ia3(Ia3::new(base.sizes(), on_input, device))
            }
            Kind::Bottleneck { config, .. } => {
                let [_, d_output] = base.sizes();
                Method::Bottleneck(config.init(d_output, device))
            }
        }
    }
}
