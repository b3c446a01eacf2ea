//! `[model]`: its towers, from sizes or from pretrained weights.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use transformer::{Activation, Locked, TowerSizes};

use super::path::RecipePath;

/// What is trained: a family, its sizes or its weights, and which tower stands still.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// How the towers are built and which loss they meet in; that of the weights when absent.
    pub family: Option<Family>,
    /// Named sizes that `embed_dim`, `vision` and `text` overlay. They are filled in when the recipe is read.
    #[serde(default, skip_serializing)]
    pub preset: Option<String>,
    /// A folder of weights, in place of sizes: a run, an export, or files in the names of transformers, open_clip or timm.
    /// It brings its sizes, its preprocessing and its tokenizer.
    pub pretrained: Option<RecipePath>,
    /// A folder of which the vision tower alone is taken, in place of `vision`: its sizes, its weights and its
    /// preprocessing. The projection on it is new.
    pub pretrained_vision: Option<RecipePath>,
    /// A folder of which the text tower alone is taken, in place of `text`: its sizes, its weights and its tokenizer. The
    /// projection on it is new.
    pub pretrained_text: Option<RecipePath>,
    /// The dimension the towers' outputs meet in.
    pub embed_dim: Option<usize>,
    /// What is not trained: `image` or `text` for a whole tower, `image-body` for all of it but its projection or
    /// classifier, `image-blocks(n)` for its embedding and its first blocks.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub lock: Vec<Lock>,
    /// The sizes of the vision tower.
    pub vision: Option<Vision>,
    /// The sizes of the text tower.
    pub text: Option<Text>,
}

/// Where a tower comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start<'a, Sizes> {
    /// From a folder of weights, sizes included.
    Pretrained(&'a RecipePath),
    /// Drawn at random, in these sizes.
    Sizes(&'a Sizes),
}

impl Model {
    /// Where the vision tower comes from.
    pub fn vision_start(&self) -> Option<Start<'_, Vision>> {
        let folder = self.pretrained.as_ref().or(self.pretrained_vision.as_ref());
        let sizes = || self.vision.as_ref().map(Start::Sizes);
        folder.map(Start::Pretrained).or_else(sizes)
    }

    /// Where the text tower comes from.
    pub fn text_start(&self) -> Option<Start<'_, Text>> {
        let folder = self.pretrained.as_ref().or(self.pretrained_text.as_ref());
        let sizes = || self.text.as_ref().map(Start::Sizes);
        folder.map(Start::Pretrained).or_else(sizes)
    }

    /// Checks that a tower has as many blocks as are locked.
    ///
    /// # Errors
    ///
    /// Names the key, and how many blocks there are.
    pub(crate) fn check_locks(&self, tower: Tower, n_layers: usize) -> anyhow::Result<()> {
        for part in self.locked(tower) {
            if let Locked::Blocks(count) = part {
                anyhow::ensure!(
                    count <= n_layers,
                    "`model.lock` has {}-blocks({count}), and the tower has {n_layers} blocks; give {n_layers} or fewer",
                    tower.name()
                );
            }
        }
        Ok(())
    }

    /// What of a tower is not trained.
    pub fn locked(&self, tower: Tower) -> impl Iterator<Item = Locked> {
        let of_it = self.lock.iter().filter(move |lock| lock.tower == tower);
        of_it.map(|lock| lock.part)
    }
}

/// A part of a tower that is not trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lock {
    /// Whose part.
    pub tower: Tower,
    /// Which part.
    pub part: Locked,
}

impl TryFrom<String> for Lock {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let towers = [Tower::Image, Tower::Text].into_iter();
        let mut locks = towers.filter_map(|tower| {
            let rest = text.strip_prefix(tower.name())?;
            let part = match rest.strip_prefix('-') {
                None => rest.is_empty().then_some(Locked::Whole)?,
                Some("body") => Locked::Body,
                Some(blocks) => {
                    let count = blocks.strip_prefix("blocks(")?.strip_suffix(')')?;
                    Locked::Blocks(count.trim().parse().ok()?)
                }
            };
            Some(Self { tower, part })
        });
        locks
            .next()
            .ok_or("\"image\", \"image-body\", \"image-blocks(n)\", or the same of \"text\"")
    }
}

impl From<Lock> for String {
    fn from(lock: Lock) -> Self {
        let tower = lock.tower.name();
        match lock.part {
            Locked::Whole => tower.to_owned(),
            Locked::Body => format!("{tower}-body"),
            Locked::Blocks(count) => format!("{tower}-blocks({count})"),
        }
    }
}

/// How the towers are built and which loss they meet in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Class token, causal text pooled at end-of-text, softmax loss.
    Clip,
    /// Attention pooling, text without a mask, sigmoid loss.
    Siglip,
}

impl Family {
    /// As a recipe has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Siglip => "siglip",
        }
    }
}

/// One of the two towers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tower {
    /// The vision tower.
    Image,
    /// The text tower.
    Text,
}

impl Tower {
    /// As a recipe has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Text => "text",
        }
    }
}

/// The sizes of a vision transformer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vision {
    /// The side of the square input, in pixels.
    pub image_size: usize,
    /// The side of a square patch, in pixels.
    pub patch_size: usize,
    /// The width of the hidden states.
    pub d_model: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Attention heads of a block.
    pub n_heads: usize,
    /// The width of the MLP, as a multiple of `d_model`.
    #[serde(default = "mlp_ratio")]
    pub mlp_ratio: f64,
    /// The MLP's activation. `gelu` of a SigLIP is its tanh approximation.
    #[serde(default)]
    pub act: Activation,
}

/// The sizes of a text transformer. Its vocabulary is the tokenizer's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// The most tokens a caption may have, start and end included.
    pub context: usize,
    /// The width of the hidden states.
    pub d_model: usize,
    /// Blocks.
    pub n_layers: usize,
    /// Attention heads of a block.
    pub n_heads: usize,
    /// The width of the MLP, as a multiple of `d_model`.
    #[serde(default = "mlp_ratio")]
    pub mlp_ratio: f64,
    /// The MLP's activation. `gelu` of a SigLIP is its tanh approximation.
    #[serde(default)]
    pub act: Activation,
}

impl Vision {
    /// Takes over what this says of the blocks.
    pub fn apply(&self, sizes: &mut TowerSizes) {
        sizes.n_heads = self.n_heads;
        sizes.d_hidden = d_hidden(self.d_model, self.mlp_ratio);
        sizes.activation = self.act;
    }
}

impl Text {
    /// Takes over what this says of the blocks.
    pub fn apply(&self, sizes: &mut TowerSizes) {
        sizes.n_heads = self.n_heads;
        sizes.d_hidden = d_hidden(self.d_model, self.mlp_ratio);
        sizes.activation = self.act;
    }
}

fn d_hidden(d_model: usize, mlp_ratio: f64) -> usize {
    (d_model as f64 * mlp_ratio) as usize
}

/// What ViT and CLIP have.
fn mlp_ratio() -> f64 {
    4.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_reads_as_it_is_written() {
        for text in ["image", "text", "image-body", "text-blocks(3)"] {
            let lock = Lock::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(lock), text);
        }
        for text in [
            "",
            "images",
            "image-",
            "image-blocks",
            "image-blocks(-1)",
            "body",
        ] {
            assert!(Lock::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
