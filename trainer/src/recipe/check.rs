//! Values of the right type that cannot work, found before anything is loaded.

mod model;
mod optimizer;
mod peft;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::path::{Component, Path};

use super::data::{ShapesSplit, Source};
use super::eval::Eval;
use super::image::{Augmentation, Image};
use super::task::Task;
use super::train::{Schedule, Train};
use super::{Data, Origin, Recipe, RecipeError, Said};

/// A value that cannot work: its key, what is wrong with it, and the remedy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Impossible {
    pub(super) key: String,
    pub(super) problem: String,
    pub(super) remedy: String,
}

impl Impossible {
    /// Whether its key stands in a table.
    pub(super) fn is_in(&self, table: &str) -> bool {
        self.key
            .strip_prefix(table)
            .is_some_and(|rest| rest.starts_with('.'))
    }

    /// The error that says so, for a value that was written at `place`.
    pub(super) fn at(self, place: Origin) -> RecipeError {
        let Self {
            key,
            problem,
            remedy,
        } = self;
        RecipeError::Impossible {
            place,
            key,
            problem,
            remedy,
        }
    }
}

/// Every value of the recipe that cannot work.
pub(super) fn check(recipe: &Recipe, said: &Said) -> Vec<Impossible> {
    let mut faults = Faults::default();
    let mut parts = Path::new(&recipe.name).components();
    let is_plain = matches!(
        (parts.next(), parts.next()),
        (Some(Component::Normal(_)), None)
    );
    faults.require(
        is_plain && recipe.name.len() <= 200,
        "name",
        format_args!("is \"{}\"", recipe.name),
        "a run's folder is named by it: give a short name without slashes",
    );
    faults.data(&recipe.data);
    faults.image(&recipe.image);
    faults.task(&recipe.task);
    faults.tokens(recipe);
    faults.model(&recipe.model, &recipe.task);
    faults.peft(recipe);
    faults.batches(&recipe.train, &recipe.task);
    faults.length(&recipe.train, said);
    faults.optimizer(&recipe.train);
    faults.within("run.keep_last", recipe.run.keep_last, 1..=1_000_000);
    faults.eval(&recipe.eval);
    faults.0
}

/// The parts of the schedule that do not fit into a run of so many steps.
pub(super) fn schedule(train: &Train, steps: u64) -> Vec<Impossible> {
    let mut faults = Faults::default();
    faults.fits("train.warmup", train.warmup, steps);
    if let Schedule::ConstantCooldown(cooldown) = &train.schedule {
        faults.fits("train.schedule.steps", cooldown.steps, steps);
    }
    faults.0
}

#[derive(Default)]
struct Faults(Vec<Impossible>);

/// The kinds of check.
impl Faults {
    /// Notes the fault unless the condition holds, and says whether it does.
    fn require(
        &mut self,
        holds: bool,
        key: &str,
        problem: impl Display,
        remedy: impl Display,
    ) -> bool {
        if !holds {
            self.0.push(Impossible {
                key: key.to_owned(),
                problem: problem.to_string(),
                remedy: remedy.to_string(),
            });
        }
        holds
    }

    /// A number from a range, whose upper end is far above what anybody uses, and below what would exhaust the memory.
    fn within(
        &mut self,
        key: &str,
        found: impl TryInto<u64> + Display + Copy,
        range: std::ops::RangeInclusive<u64>,
    ) -> bool {
        let number = found.try_into().unwrap_or(u64::MAX);
        if number < *range.start() {
            let remedy = format!("give {} or more", range.start());
            return self.require(false, key, format_args!("is {found}"), remedy);
        }
        let remedy = format!("give {} or less", range.end());
        self.require(
            number <= *range.end(),
            key,
            format_args!("is {found}"),
            remedy,
        )
    }

    fn at_least(&mut self, key: &str, found: u64, least: u64) -> bool {
        self.within(key, found, least..=u64::MAX)
    }

    /// A share of something that may be 0 but not all.
    fn share(&mut self, key: &str, found: f64) {
        self.require(
            (0.0..1.0).contains(&found),
            key,
            format_args!("is {found}"),
            "give 0 or more, and less than 1",
        );
    }

    fn positive(&mut self, key: &str, found: f64) -> bool {
        let holds = found.is_finite() && found > 0.0;
        self.require(
            holds,
            key,
            format_args!("is {found}"),
            "give a number above 0",
        )
    }

    fn not_negative(&mut self, key: &str, found: f64) {
        let holds = found.is_finite() && found >= 0.0;
        self.require(holds, key, format_args!("is {found}"), "give 0 or more");
    }

    /// A part of the schedule has to fit into the whole.
    fn fits(&mut self, key: &str, part: u64, steps: u64) {
        self.require(
            part <= steps,
            key,
            format_args!("is {part} steps, more than the {steps} of the whole run"),
            format_args!("give {steps} or fewer, or train for longer"),
        );
    }
}

/// Most pictures of the generated set: the order of an epoch takes eight bytes for each.
const MOST_SHAPES: u64 = 100_000_000;

/// The tables of a recipe.
impl Faults {
    fn data(&mut self, data: &Data) {
        self.require(
            !data.train.is_empty(),
            "data.train",
            "is empty",
            "name a table with --train TABLE, or add [[data.train]] to the recipe",
        );
        self.share("data.max_bad", data.max_bad);
        self.within("data.prefetch", data.prefetch, 0..=1024);
        self.within("data.workers", data.workers, 0..=1024);
        for (i, source) in data.train.iter().enumerate() {
            let weight = source.weight();
            let key = format!("data.train.{i}.weight");
            if self.positive(&key, weight) {
                self.require(
                    weight <= 1000.0,
                    &key,
                    format_args!("is {weight}"),
                    "give 1000 or less",
                );
            }
        }
        let mut seen = BTreeSet::new();
        for source in data.train.iter().chain(&data.val) {
            if let Source::Shapes(shapes) = source {
                let (key, pictures) = match shapes.split {
                    ShapesSplit::Train => ("data.shapes.train", data.shapes.train),
                    ShapesSplit::Val => ("data.shapes.val", data.shapes.val),
                    ShapesSplit::HeldOut => ("data.shapes.held_out", data.shapes.held_out),
                };
                if seen.insert(key) {
                    self.within(key, pictures, 1..=MOST_SHAPES);
                }
            }
        }
    }

    fn image(&mut self, image: &Image) {
        for (key, values) in [("image.mean", image.mean), ("image.std", image.std)] {
            let Some(values) = values else { continue };
            let is_std = key == "image.std";
            self.require(
                values
                    .iter()
                    .all(|v| v.is_finite() && !(is_std && *v == 0.0)),
                key,
                format_args!("is {values:?}"),
                if is_std {
                    "give three numbers that are not 0"
                } else {
                    "give three numbers"
                },
            );
        }
        if let Some(size) = image.size {
            self.within("image.size", size, 1..=16_384);
        }
        self.within("image.max_pixels", image.max_pixels, 1..=1 << 32);
        self.within("image.max_bytes", image.max_bytes, 1..=1 << 40);
        self.augmentation(&image.augmentation);
    }

    fn augmentation(&mut self, augmentation: &Augmentation) {
        let Augmentation::RandomResizedCrop(crop) = augmentation else {
            return;
        };
        let [low, high] = crop.scale;
        self.require(
            0.0 < low && low <= high && high <= 1.0,
            "image.augmentation.scale",
            format_args!("is [{low}, {high}]"),
            "give the least and the greatest share of the area, above 0 and up to 1",
        );
        let [low, high] = crop.ratio;
        self.require(
            0.0 < low && low <= high && high.is_finite(),
            "image.augmentation.ratio",
            format_args!("is [{low}, {high}]"),
            "give the least and the greatest width over height, above 0",
        );
    }

    fn batches(&mut self, train: &Train, task: &Task) {
        let batch = train.batch;
        // A lone pair has no negatives: its contrastive loss is 0 whatever the model does.
        let least = if *task == Task::Contrastive { 2 } else { 1 };
        let whole = self.within("train.batch", batch, least..=1 << 24);
        let Some(micro) = train.micro_batch else {
            return;
        };
        if self.at_least("train.micro_batch", micro as u64, 1) && whole {
            self.require(
                batch.is_multiple_of(micro),
                "train.micro_batch",
                format_args!("is {micro}, which does not divide `train.batch` {batch}"),
                format_args!("give a divisor of {batch}, or leave it out"),
            );
        }
    }

    fn length(&mut self, train: &Train, said: &Said) {
        match (train.epochs, train.steps) {
            (Some(epochs), None) => self.at_least("train.epochs", epochs, 1),
            (None, Some(steps)) => {
                // What nobody asked for is fitted to the data later.
                if said.says("train.warmup") {
                    self.fits("train.warmup", train.warmup, steps);
                }
                self.at_least("train.steps", steps, 1)
            }
            (None, None) => {
                self.require(false, "train", "has no length", "give `epochs` or `steps`")
            }
            (Some(_), Some(_)) => self.require(
                false,
                "train",
                "has both `epochs` and `steps`",
                "leave one of them out",
            ),
        };
    }

    fn eval(&mut self, eval: &Eval) {
        self.require(
            !eval.recall.is_empty(),
            "eval.recall",
            "is empty",
            "give the k of recall, such as [1, 5, 10]",
        );
        for (i, k) in eval.recall.iter().enumerate() {
            self.at_least(&format!("eval.recall.{i}"), *k as u64, 1);
        }
        let Some(zero_shot) = &eval.zero_shot else {
            return;
        };
        self.require(
            zero_shot.classes.len() >= 2,
            "eval.zero_shot.classes",
            format_args!("has {}", zero_shot.classes.len()),
            "give the two or more classes to tell apart",
        );
        let mut known = BTreeSet::new();
        for (i, class) in zero_shot.classes.iter().enumerate() {
            self.require(
                known.insert(class),
                &format!("eval.zero_shot.classes.{i}"),
                format_args!("is \"{class}\" again"),
                "name each class once",
            );
        }
        let templates = &zero_shot.templates;
        self.require(
            !templates.is_empty(),
            "eval.zero_shot.templates",
            "is empty",
            "give prompts, such as \"a photo of a {}\"",
        );
        for (i, template) in templates.iter().enumerate() {
            self.require(
                template.matches("{}").count() == 1,
                &format!("eval.zero_shot.templates.{i}"),
                format_args!("is \"{template}\", without one place for the class"),
                "put {} once, where the class belongs",
            );
        }
    }
}
