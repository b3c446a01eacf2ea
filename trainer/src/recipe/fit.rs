//! Few data: a batch and a warmup that nobody asked for give way.

use super::{Reading, Recipe, Said, Task};

impl Recipe {
    /// Fits the batch and the warmup to so many training samples, unless the user set them; says what was chosen, a line
    /// for each. A cooldown is always the user's: it has no default, and nothing that came with the program has one.
    pub fn fit(&mut self, said: &Said, samples: usize) -> Vec<String> {
        let mut log_lines = Vec::new();
        self.fit_batch(said, samples, &mut log_lines);
        let Some(steps) = self.length(samples) else {
            return log_lines;
        };
        let train = &mut self.train;
        if train.warmup > steps / 2 && !said.says("train.warmup") {
            let fitting = (steps / 10).max(1);
            if fitting < train.warmup {
                let because = format!("the run has {steps} steps");
                log_lines.push(line("train.warmup", fitting, train.warmup, &because));
                train.warmup = fitting;
            }
        }
        log_lines
    }

    /// Takes over from the recipe of a run what that run found out, where the user says nothing of it: what was fitted to
    /// the data, the classes, and how captions are read.
    pub fn settle(&mut self, said: &Said, run: &Self) {
        if !said.says("train.batch") {
            self.train.batch = run.train.batch;
        }
        if !said.says("train.micro_batch") {
            self.train.micro_batch = run.train.micro_batch;
        }
        if !said.says("train.warmup") {
            self.train.warmup = run.train.warmup;
        }
        self.model.family = self.model.family.or(run.model.family);
        if let (Task::Classify(new), Task::Classify(old)) = (&mut self.task, &run.task)
            && !said.says("task.classes")
        {
            new.classes.clone_from(&old.classes);
        }
        let (new, old) = (self.tokens.reading(), run.tokens.reading());
        self.tokens = self.tokens.clone().with_reading(Reading {
            cleaning: new.cleaning.or(old.cleaning),
            pad: new.pad.or(old.pad),
            context: new.context.or(old.context),
        });
    }

    fn fit_batch(&mut self, said: &Said, samples: usize, log_lines: &mut Vec<String>) {
        let train = &mut self.train;
        if train.batch <= samples || said.says("train.batch") {
            return;
        }
        let micro = train.micro_batch.unwrap_or(1).max(1);
        let batch = if said.says("train.micro_batch") {
            samples / micro * micro
        } else {
            samples
        };
        if batch < 2 {
            return;
        }
        let because = format!("there are {samples} training samples");
        log_lines.push(line("train.batch", batch, train.batch, &because));
        train.batch = batch;
        if !batch.is_multiple_of(micro) {
            train.micro_batch = None;
        }
    }

    /// Optimizer steps in all for so many samples; none if they do not fill a batch.
    pub(super) fn length(&self, samples: usize) -> Option<u64> {
        let per_epoch = samples / self.train.batch.max(1);
        let epochs = self.train.epochs.unwrap_or(0);
        (per_epoch > 0).then(|| {
            self.train
                .steps
                .unwrap_or(epochs.saturating_mul(per_epoch as u64))
        })
    }
}

fn line(
    key: &str,
    now: impl std::fmt::Display,
    before: impl std::fmt::Display,
    because: &str,
) -> String {
    format!("{key} = {now}, where the recipe proposes {before}: {because}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Overrides;
    use super::*;

    fn load(set: &[&str]) -> (Recipe, Said) {
        let overrides = Overrides {
            set: set.iter().map(|text| (*text).to_owned()).collect(),
            ..Overrides::default()
        };
        Recipe::load_said(Path::new("default"), &overrides).unwrap()
    }

    #[test]
    fn six_pairs_take_a_batch_of_six_and_a_warmup_that_ends() {
        let (mut recipe, said) = load(&[]);
        assert!(recipe.total_steps(6).is_err());
        assert_eq!(recipe.fit(&said, 6).len(), 2);
        assert_eq!((recipe.train.batch, recipe.train.warmup), (6, 1));
        assert_eq!(recipe.total_steps(6).unwrap(), 6);
        assert!(recipe.fit(&said, 6).is_empty());
    }

    #[test]
    fn what_the_user_said_stays() {
        let (mut recipe, said) = load(&["train.batch=64", "train.warmup=20"]);
        assert!(recipe.fit(&said, 6).is_empty());
        assert_eq!((recipe.train.batch, recipe.train.warmup), (64, 20));
        let (mut recipe, said) = load(&["train.micro_batch=4"]);
        recipe.fit(&said, 6);
        assert_eq!(recipe.train.batch, 4);
    }

    #[test]
    fn plenty_of_data_changes_nothing_and_one_pair_is_no_batch() {
        let (mut recipe, said) = load(&[]);
        let before = recipe.clone();
        assert!(recipe.fit(&said, 4096).is_empty());
        recipe.fit(&said, 1);
        assert_eq!(recipe.train.batch, before.train.batch);
    }
}
