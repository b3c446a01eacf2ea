//! `[peft]`.

use super::Faults;
use crate::recipe::{PeftKind, Recipe};

impl Faults {
    pub(super) fn peft(&mut self, recipe: &Recipe) {
        let Some(peft) = &recipe.peft else {
            return;
        };
        self.require(
            peft.kind.is_some() != peft.adapter.is_some(),
            "peft",
            "must have one of `kind` and `adapter`",
            "name what is attached with `kind`, or a folder with an adapter that goes on; the folder says its kind",
        );
        self.require(
            recipe.model.lock.is_empty(),
            "model.lock",
            "stands beside `[peft]`",
            "leave it out: with adapters all of the model stands still",
        );
        let model = &recipe.model;
        let starts = [
            &model.pretrained,
            &model.pretrained_vision,
            &model.pretrained_text,
        ];
        self.require(
            starts.iter().any(|start| start.is_some()),
            "peft",
            "stands beside a model that is drawn at random",
            "name the weights that are adapted with `model.pretrained`",
        );
        self.require(
            peft.pattern.is_none() || peft.targets.is_empty(),
            "peft.pattern",
            "stands beside `peft.targets`",
            "leave one of them out",
        );
        self.within("peft.rank", peft.rank, 1..=65_536);
        self.within("peft.width", peft.width, 1..=65_536);
        self.share("peft.dropout", peft.dropout);
        self.positive("peft.alpha", peft.alpha);
        self.positive("peft.scale", peft.scale);
        self.not_negative("peft.b_rate", peft.b_rate);
        for (i, rule) in peft.ranks.iter().enumerate() {
            if let Some(rank) = rule.rank {
                self.within(&format!("peft.ranks.{i}.rank"), rank, 1..=65_536);
            }
            if let Some(alpha) = rule.alpha {
                self.positive(&format!("peft.ranks.{i}.alpha"), alpha);
            }
        }
        self.require(
            !peft.parallel || peft.kind == Some(PeftKind::Bottleneck),
            "peft.parallel",
            "is of bottlenecks alone",
            "set peft.kind=bottleneck, or leave it out",
        );
    }
}
