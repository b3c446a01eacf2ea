//! The optimizer's part of `[train]`.

use optimizer::GroupRule;

use super::Faults;
use crate::recipe::train::{Schedule, Train};

impl Faults {
    pub(super) fn optimizer(&mut self, train: &Train) {
        self.positive("train.lr", train.lr);
        self.share("train.betas.0", train.betas[0]);
        self.share("train.betas.1", train.betas[1]);
        self.positive("train.eps", train.eps);
        self.not_negative("train.weight_decay", train.weight_decay);
        self.not_negative("train.clip_norm", train.clip_norm);
        self.groups(&train.groups);
        if let Some(decay) = train.layer_decay {
            self.require(
                decay > 0.0 && decay <= 1.0,
                "train.layer_decay",
                format_args!("is {decay}"),
                "give a number above 0, and up to 1",
            );
        }
        self.require(
            train.max_scale >= 1.0,
            "train.max_scale",
            format_args!("is {}", train.max_scale),
            "give 1 or more",
        );
        self.share("train.dropout", train.dropout);
        self.share("train.patch_dropout", train.patch_dropout);
        self.at_least("train.log_every", train.log_every, 1);
        if let Schedule::ConstantCooldown(cooldown) = &train.schedule {
            self.not_negative("train.schedule.power", cooldown.power);
            self.not_negative("train.schedule.end_lr", cooldown.end_lr);
        }
    }

    fn groups(&mut self, groups: &[GroupRule]) {
        for (i, group) in groups.iter().enumerate() {
            if let Err(error) = group.check() {
                self.require(
                    false,
                    &format!("train.groups.{i}.pattern"),
                    format_args!("is \"{}\": {error}", group.pattern),
                    "give a path of parameters, in which * stands for any text",
                );
            }
            self.not_negative(&format!("train.groups.{i}.rate"), group.rate);
            if let Some(decay) = group.weight_decay {
                self.not_negative(&format!("train.groups.{i}.weight_decay"), decay);
            }
        }
    }
}
