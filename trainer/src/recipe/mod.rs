//! The recipe: everything that decides a training run, as one TOML file.
//!
//! A recipe overlays a preset (`preset = "tiny"`), and the command line overlays the recipe (`--set train.lr=3e-4`).
//! Every field is declared once, in the struct of its table; a key that no struct has is an error that names the
//! nearest one. What was read is written into the run's folder with everything filled in, and reads back the same.

mod check;
mod data;
mod embedded;
mod error;
mod eval;
mod fault;
mod image;
mod layers;
mod model;
mod path;
mod read;
mod tagged;
#[cfg(test)]
mod tests;
mod tokens;
mod train;
mod tree;

use std::path::Path;

use serde::{Deserialize, Serialize};

pub use self::data::{Data, File, Shapes, ShapesSplit, Shards, Source};
pub use error::RecipeError;
pub use eval::{Eval, Run, SaveEvery, ZeroShot};
pub use image::{Augmentation, Image, Preprocessing, RandomResizedCrop};
pub use layers::Overrides;
pub use model::{Act, Family, Model, Start, Text, Tower, Vision};
pub use path::RecipePath;
pub use tokens::{Bpe, Tokens, Vocabulary};
pub use train::{Checkpointing, Cooldown, Schedule, Train};
pub use tree::Origin;

use tree::Node;

/// Everything that decides a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Names the run's folder.
    pub name: String,
    /// The embedded preset that this recipe overlays. It is filled in when the recipe is read.
    #[serde(default, skip_serializing)]
    pub preset: Option<String>,
    /// Everything random is drawn from it: weights, order, augmentation, dropout.
    #[serde(default)]
    pub seed: u64,
    /// Where pictures and captions come from.
    pub data: Data,
    /// From a decoded picture to the model's input.
    #[serde(default)]
    pub image: Image,
    /// From captions to token ids.
    #[serde(serialize_with = "tagged::serialize")]
    pub tokens: Tokens,
    /// What is trained.
    pub model: Model,
    /// The loop and the optimizer.
    pub train: Train,
    /// What is measured.
    #[serde(default)]
    pub eval: Eval,
    /// Where the run is kept.
    #[serde(default)]
    pub run: Run,
}

impl Recipe {
    /// Reads a recipe file, or the embedded recipe of that name (`default`, `emoji`, `photos`), under what the
    /// command line sets. A file of the name goes first.
    ///
    /// # Errors
    /// [`RecipeError`], which names the place, the key and the remedy.
    pub fn load(name_or_path: &Path, overrides: &Overrides) -> Result<Self, RecipeError> {
        let label = format!("recipe {}", name_or_path.display());
        match std::fs::read_to_string(name_or_path) {
            Ok(text) => {
                let folder = name_or_path.parent().map(absolute).unwrap_or_default();
                Self::parse(&text, &Origin::new(label, &folder), overrides)
            }
            Err(source) => {
                let name = name_or_path.to_string_lossy();
                let Some(text) = embedded::find(embedded::RECIPES, &name) else {
                    let known = embedded::names(embedded::RECIPES).join(", ");
                    return Err(RecipeError::Unreadable {
                        path: name_or_path.to_owned(),
                        known,
                        source,
                    });
                };
                Self::parse(
                    text,
                    &Origin::new(label, &absolute(Path::new(""))),
                    overrides,
                )
            }
        }
    }

    /// The recipe with everything filled in, for the run's folder: it reads back the same from anywhere.
    ///
    /// # Errors
    /// `Write` when a path is not UTF-8.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        Ok(toml::to_string(self)?)
    }

    /// Whose resizing and normalisation pictures get.
    pub fn preprocessing(&self) -> Preprocessing {
        self.image.preprocessing.unwrap_or(match self.model.family {
            Family::Clip => Preprocessing::Clip,
            Family::Siglip => Preprocessing::Siglip,
        })
    }

    /// Optimizer steps in all, for so many training samples. The samples that do not fill an epoch's last batch wait
    /// for another epoch.
    ///
    /// # Errors
    /// `Impossible` when there are fewer samples than a batch, or fewer steps than the schedule needs.
    pub fn total_steps(&self, samples: usize) -> Result<u64, RecipeError> {
        let place = || Origin::new(format!("recipe {}", self.name), Path::new(""));
        let batch = self.train.batch;
        let per_epoch = samples / batch.max(1);
        if per_epoch == 0 {
            return Err(RecipeError::Impossible {
                place: place(),
                key: "train.batch".to_owned(),
                problem: format!("is {batch}, more than the {samples} training samples"),
                remedy: format!("give {samples} or fewer, or more data"),
            });
        }
        let epochs = self.train.epochs.unwrap_or(0);
        let steps = self
            .train
            .steps
            .unwrap_or(epochs.saturating_mul(per_epoch as u64));
        let mut parts = vec![("train.warmup", self.train.warmup)];
        if let Schedule::ConstantCooldown(cooldown) = &self.train.schedule {
            parts.push(("train.schedule.steps", cooldown.steps));
        }
        for (key, part) in parts {
            check::fits(key, part, steps).map_err(|fault| impossible(fault, place()))?;
        }
        Ok(steps)
    }

    fn parse(text: &str, origin: &Origin, overrides: &Overrides) -> Result<Self, RecipeError> {
        let tree = layers::build(text, origin, overrides, &absolute(Path::new("")))?;
        let recipe: Self = read::read(&tree)?;
        check::check(&recipe).map_err(|fault| located(fault, &tree))?;
        Ok(recipe)
    }
}

fn located(fault: check::Fault, tree: &Node) -> RecipeError {
    let place = tree.deepest(&fault.key).origin.clone();
    impossible(fault, place)
}

fn impossible(fault: check::Fault, place: Origin) -> RecipeError {
    let check::Fault {
        key,
        problem,
        remedy,
    } = fault;
    RecipeError::Impossible {
        place,
        key,
        problem,
        remedy,
    }
}

/// The folder as seen from the root, so that a run does not depend on where it was started; as given where the
/// current folder is gone.
fn absolute(folder: &Path) -> std::path::PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    here.join(folder)
}
