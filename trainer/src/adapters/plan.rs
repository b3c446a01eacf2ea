//! From `[peft]` to what the library attaches.

use anyhow::ensure;
use optimizer::GroupRule;
use peft::{BottleneckConfig, HfConfig, Kind, LoraConfig, Names, Plan, Targets};
use serde_json::Map;

use crate::recipe::{Peft, PeftKind};

/// The paths of LoRA's second matrices.
const LORA_B: &str = "*.adapters.*.b";

impl Peft {
    /// As HF PEFT has it; none where nothing is attached.
    pub(crate) fn config(&self) -> HfConfig {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let usual: Vec<String> = match self.kind {
            Some(PeftKind::Lora | PeftKind::Dora) => list(&["query", "value"]),
            Some(PeftKind::Ia3) => list(&["key", "value", "fc2"]),
            Some(PeftKind::Bottleneck) if self.parallel => list(&["mlp.parallel"]),
            Some(PeftKind::Bottleneck) => list(&["attention.output", "fc2"]),
            Some(PeftKind::None) | None => Vec::new(),
        };
        let names = match (&self.pattern, &self.targets[..]) {
            (Some(pattern), _) => Names::Pattern(pattern.clone()),
            (None, [all]) if all == peft::ALL_LINEAR => Names::Pattern(all.clone()),
            (None, []) => Names::List(usual),
            (None, names) => Names::List(names.to_vec()),
        };
        HfConfig {
            plan: Plan {
                kind: self.attached(),
                targets: Targets {
                    names,
                    exclude: Names::List(self.exclude.clone()),
                    layers: self.layers.clone(),
                },
            },
            bias: self.bias,
            modules_to_save: self.modules_to_save.clone(),
            base: None,
            unknown: Map::new(),
        }
    }

    fn attached(&self) -> Kind {
        match self.kind {
            Some(PeftKind::Ia3) => Kind::Ia3 {
                feedforward: Names::List(match &self.feedforward[..] {
                    [] => vec!["fc2".to_owned()],
                    names => names.to_vec(),
                }),
            },
            Some(PeftKind::Bottleneck) => Kind::Bottleneck {
                config: BottleneckConfig {
                    width: self.width,
                    scale: self.scale,
                    activation: self.act,
                    norm: self.norm.then_some(1e-5),
                },
                is_parallel: self.parallel,
            },
            kind => Kind::Lora {
                config: LoraConfig {
                    rank: self.rank,
                    alpha: self.alpha,
                    rank_stabilised: self.rank_stabilised,
                    dropout: self.dropout,
                    start: self.start,
                },
                is_dora: kind == Some(PeftKind::Dora),
                ranks: self.by_pattern(|rule| rule.rank),
                alphas: self.by_pattern(|rule| rule.alpha),
            },
        }
    }

    fn by_pattern<T>(
        &self,
        value: impl Fn(&crate::recipe::RankRule) -> Option<T>,
    ) -> std::collections::BTreeMap<String, T> {
        let rules = self.ranks.iter();
        rules
            .filter_map(|rule| Some((rule.pattern.clone(), value(rule)?)))
            .collect()
    }

    /// Whether anything is attached.
    pub(crate) fn attaches(&self) -> bool {
        self.adapter.is_some() || self.kind != Some(PeftKind::None)
    }

    /// The group of LoRA's second matrices, where they learn otherwise.
    pub(crate) fn group(&self) -> Option<GroupRule> {
        (self.b_rate != 1.0).then(|| GroupRule {
            pattern: LORA_B.to_owned(),
            rate: self.b_rate,
            weight_decay: None,
        })
    }
}

/// What is attached must be something.
pub(super) fn not_nothing(trained: usize) -> anyhow::Result<()> {
    ensure!(
        trained > 0,
        "`peft.kind` is none, and neither `peft.bias` nor `peft.norms` nor `peft.modules_to_save` names a parameter that \
         trains"
    );
    Ok(())
}
