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
mod fit;
mod image;
mod keys;
mod layers;
mod model;
mod origin;
mod path;
mod peft;
mod read;
mod said;
mod tagged;
mod task;
#[cfg(test)]
mod tests;
mod tokens;
mod train;
mod tree;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::data::{Data, File, JsonFile, Shapes, ShapesSplit, Shards, Source};
pub use error::RecipeError;
pub use eval::{Eval, Run, SaveEvery, ZeroShot};
pub use image::{Augmentation, Image, Preprocessing, RandomResizedCrop};
pub use keys::{Key, keys};
pub use layers::Overrides;
pub use model::{Family, Lock, Model, Start, Text, Tower, Vision};
pub use origin::Origin;
pub use path::RecipePath;
pub use peft::{Peft, PeftKind, RankRule};
pub use said::Said;
pub use task::{Classify, Mlm, Task};
pub use tokens::{Learnt, OfWeights, Reading, Tokens, Vocabulary};
pub use train::{Cooldown, Schedule, Train};

use crate::files;

/// Everything that decides a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// What is learnt.
    #[serde(default, serialize_with = "tagged::serialize")]
    pub task: Task,
    /// Where pictures and captions come from.
    pub data: Data,
    /// From a decoded picture to the model's input.
    #[serde(default)]
    pub image: Image,
    /// From captions to token ids.
    #[serde(default, serialize_with = "tagged::serialize")]
    pub tokens: Tokens,
    /// What is trained.
    pub model: Model,
    /// Adapters on a model whose own weights stand still.
    #[serde(default)]
    pub peft: Option<Peft>,
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
    /// [`RecipeError`], which names the place, the key and the remedy; all faults that can be found at once.
    pub fn load(name_or_path: &Path, overrides: &Overrides) -> Result<Self, RecipeError> {
        Self::load_said(name_or_path, overrides).map(|(recipe, _)| recipe)
    }

    /// As [`load`](Self::load), with the keys that the user set.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_said(
        name_or_path: &Path,
        overrides: &Overrides,
    ) -> Result<(Self, Said), RecipeError> {
        let label = format!("recipe {}", name_or_path.display());
        let error = match files::read_text(name_or_path, files::TEXT) {
            Ok(text) => {
                let folder = name_or_path.parent().map(absolute).unwrap_or_default();
                return Self::parse(&text, &Origin::new(label, &folder), overrides);
            }
            Err(error) => error,
        };
        let name = name_or_path.to_string_lossy();
        let embedded = embedded::find(embedded::RECIPES, &name).filter(|_| error.is_missing());
        let Some(text) = embedded else {
            return Err(RecipeError::Unreadable {
                known: embedded::names(embedded::RECIPES).join(", "),
                error,
            });
        };
        let origin = Origin::embedded(label, &absolute(Path::new("")));
        Self::parse(text, &origin, overrides)
    }

    /// The recipe by which a folder of weights of a task's kind is used without training: everything that the folder says of itself, and
    /// what `overrides` say.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn of_weights(
        folder: &Path,
        task: &Task,
        overrides: &Overrides,
    ) -> Result<Self, RecipeError> {
        let mut overrides = overrides.clone();
        let text = format!(
            "name = \"weights\"\n[task]\nkind = \"{}\"\n[model]\npretrained = {}\n[train]\nsteps = 1\n",
            task.name(),
            toml::Value::String(absolute(folder).to_string_lossy().into_owned())
        );
        if overrides.train.is_empty() {
            // Nothing is trained; what is evaluated stands for it.
            overrides.train.clone_from(&overrides.val);
        }
        let origin = Origin::new(folder.display().to_string(), &absolute(Path::new("")));
        Ok(Self::parse(&text, &origin, &overrides)?.0)
    }

    /// The recipe with everything filled in, for the run's folder: it reads back the same from anywhere.
    ///
    /// # Errors
    /// `Write` when a path is not UTF-8.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string(self).map_err(|error| RecipeError::Write {
            message: error.to_string(),
        })
    }

    /// Optimizer steps in all, for so many training samples. The samples that do not fill an epoch's last batch wait
    /// for another epoch.
    ///
    /// # Errors
    /// `Impossible` when there are fewer samples than a batch, or fewer steps than the schedule needs.
    pub fn total_steps(&self, samples: usize) -> Result<u64, RecipeError> {
        let place = || Origin::new(format!("recipe {}", self.name), Path::new(""));
        let Some(steps) = self.length(samples) else {
            let batch = self.train.batch;
            let remedy = if samples < 2 {
                "bring more data: a lone pair has nothing to be told from".to_owned()
            } else {
                format!("give {samples} or fewer, or more data")
            };
            return Err(RecipeError::Impossible {
                place: place(),
                key: "train.batch".to_owned(),
                problem: format!("is {batch}, more than the {samples} training samples"),
                remedy,
            });
        };
        let errors: Vec<_> = check::schedule(&self.train, steps)
            .into_iter()
            .map(|fault| fault.at(place()))
            .collect();
        if errors.is_empty() {
            Ok(steps)
        } else {
            Err(RecipeError::all(errors))
        }
    }

    fn parse(
        text: &str,
        origin: &Origin,
        overrides: &Overrides,
    ) -> Result<(Self, Said), RecipeError> {
        let tree = layers::build(text, origin, overrides, &absolute(Path::new("")))?;
        let (recipe, mut errors) = read::read_all::<Self>(&tree);
        let said = Said::of(&tree);
        if let Some(recipe) = &recipe {
            let reported: Vec<String> = errors.iter().filter_map(RecipeError::table).collect();
            let faults = check::check(recipe, &said).into_iter();
            // A value that could not be read was left out: what is amiss beside it may follow from that.
            let faults = faults.filter(|fault| !reported.iter().any(|table| fault.is_in(table)));
            errors.extend(faults.map(|fault| {
                let place = tree.deepest(&fault.key).origin.clone();
                fault.at(place)
            }));
        }
        match recipe {
            Some(recipe) if errors.is_empty() => Ok((recipe, said)),
            _ => Err(RecipeError::all(errors)),
        }
    }
}

/// The folder as seen from the root, so that a run does not depend on where it was started; as given where the
/// current folder is gone.
fn absolute(folder: &Path) -> std::path::PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    here.join(folder)
}
