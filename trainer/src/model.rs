//! The model of a recipe: from sizes, or from a folder of weights.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Tensor},
};
use fusion::{DualConfig, DualEncoder, DualKeys, loss::ContrastiveLoss};
use serde_json::Value;
use text_encoder::{TextConfig, TextTransformer};
use transformer::{Activation, load};
use vision_encoder::{VisionConfig, VisionTransformer};

use crate::{
    recipe::{Act, Family, Recipe, Start, Tower},
    record, weight_file,
};

/// The model this program trains.
pub type Model = DualEncoder<VisionTransformer, TextTransformer>;

/// The loss a model of these sizes trains with.
pub fn loss_of(config: &DualConfig) -> ContrastiveLoss {
    match config.logit_bias {
        None => ContrastiveLoss::Softmax,
        Some(_) => ContrastiveLoss::Sigmoid,
    }
}

/// A model drawn from `seed`.
pub fn initialised(config: &DualConfig, seed: u64, device: &Device) -> Model {
    device.seed(seed);
    let model = config.init(device);
    // Parameters are drawn when first read: read them all, in order, so that the seed decides.
    parameter_values(&model);
    model
}

fn parameter_values(model: &Model) {
    struct Touch;
    impl ModuleVisitor for Touch {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            drop(param.val());
        }
    }
    model.visit(&mut Touch);
}

/// Elements of all parameters of a module.
pub fn parameter_count<M: Module>(model: &M) -> usize {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 += param.lazy_shape().num_elements();
        }
    }
    let mut count = Count(0);
    model.visit(&mut count);
    count.0
}

/// The sizes a recipe asks for, with the tokenizer's vocabulary and the training-only settings.
///
/// # Errors
///
/// Names the folder and what is wrong with its config.
pub fn config_of(recipe: &Recipe, vocab_size: usize) -> anyhow::Result<DualConfig> {
    let mut config = match recipe.model.start() {
        Some(Start::Pretrained(folder)) => read_config(&weights_folder(folder.as_path())?)?.0,
        Some(Start::Sizes {
            embed_dim,
            vision,
            text,
        }) => {
            let family = recipe.model.family;
            let vision_config = match family {
                Family::Clip => VisionConfig::clip,
                Family::Siglip => VisionConfig::siglip,
            };
            let text_config = match family {
                Family::Clip => TextConfig::clip,
                Family::Siglip => TextConfig::siglip,
            };
            let v = vision_config(
                vision.image_size,
                vision.patch_size,
                vision.d_model,
                vision.n_layers,
            );
            let v = VisionConfig {
                n_heads: vision.n_heads,
                d_hidden: hidden(vision.d_model, vision.mlp_ratio),
                activation: activation(family, vision.act),
                ..v
            };
            let t = text_config(vocab_size, text.context, text.d_model, text.n_layers);
            let t = TextConfig {
                n_heads: text.n_heads,
                d_hidden: hidden(text.d_model, text.mlp_ratio),
                activation: activation(family, text.act),
                ..t
            };
            match family {
                Family::Clip => DualConfig::clip(v.checked()?, t.checked()?, embed_dim),
                Family::Siglip if embed_dim != vision.d_model => bail!(
                    "recipe {}: `model.embed_dim` is {embed_dim}; SigLIP's features are as wide as \
                     its vision tower: set it to {}",
                    recipe.name,
                    vision.d_model
                ),
                Family::Siglip => DualConfig::siglip(v.checked()?, t.checked()?),
            }
        }
        None => bail!(
            "recipe {}: `model` needs sizes or `pretrained`",
            recipe.name
        ),
    };
    let family = match config.logit_bias {
        None => Family::Clip,
        Some(_) => Family::Siglip,
    };
    ensure!(
        family == recipe.model.family,
        "recipe {}: `model.family` is not that of the weights; leave one of them",
        recipe.name
    );
    config.vision.dropout = recipe.train.dropout;
    config.text.dropout = recipe.train.dropout;
    config.vision.patch_dropout = recipe.train.patch_dropout;
    Ok(config)
}

fn hidden(d_model: usize, ratio: f64) -> usize {
    (d_model as f64 * ratio) as usize
}

fn activation(family: Family, act: Act) -> Activation {
    match (family, act) {
        (_, Act::QuickGelu) => Activation::QuickGelu,
        (Family::Clip, Act::Gelu) => Activation::Gelu,
        (Family::Siglip, Act::Gelu) => Activation::GeluTanh,
    }
}

/// The model of a recipe, its locked towers frozen, with the weights of `record` where a run goes on.
///
/// # Errors
///
/// Names the weight file and the key that does not fit.
pub fn build(
    recipe: &Recipe,
    config: &DualConfig,
    record: Option<&Path>,
    device: &Device,
) -> anyhow::Result<Model> {
    let folder = match (record, recipe.model.start()) {
        (Some(record), _) => Some(record.to_path_buf()),
        (None, Some(Start::Pretrained(folder))) => Some(weights_folder(folder.as_path())?),
        (None, _) => None,
    };
    let mut model = match folder {
        Some(folder) => {
            let (_, keys) = read_config(&folder)?;
            load_weights(&folder, config, keys, device)?
        }
        None => initialised(config, recipe.seed, device),
    };
    for tower in &recipe.model.lock {
        match tower {
            Tower::Image => model.vision = model.vision.no_grad(),
            Tower::Text => model.text = model.text.no_grad(),
        }
    }
    Ok(model)
}

/// The names of the files of a folder of weights.
#[derive(Clone, Copy, Debug)]
pub struct WeightFiles {
    /// Sizes.
    pub config: &'static str,
    /// Tensors.
    pub weights: &'static str,
}

impl WeightFiles {
    /// The names that go with a naming of the tensors.
    pub fn of(keys: DualKeys) -> Self {
        match keys {
            DualKeys::OpenClip | DualKeys::OpenClipCustom => Self {
                config: "open_clip_config.json",
                weights: "open_clip_model.safetensors",
            },
            DualKeys::HfClip | DualKeys::HfSiglip => Self {
                config: "config.json",
                weights: "model.safetensors",
            },
        }
    }
}

/// The folder that holds config and weights: `folder` itself, or the newest whole record where it is a run's.
///
/// # Errors
///
/// If it is a run's and has no whole record.
pub fn weights_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    if !record::folder(folder).is_dir() {
        return Ok(folder.to_path_buf());
    }
    let found = record::newest(folder)?
        .with_context(|| format!("{}: there is no record yet", folder.display()))?;
    Ok(found.path)
}

/// Reads `config.json` or `open_clip_config.json` of a folder.
pub fn read_config(folder: &Path) -> anyhow::Result<(DualConfig, DualKeys)> {
    let open_clip = folder.join("open_clip_config.json");
    let (path, is_open_clip) = match open_clip.exists() {
        true => (open_clip, true),
        false => (folder.join("config.json"), false),
    };
    let text = std::fs::read(&path).with_context(|| {
        format!(
            "{}: cannot be read; a folder of weights holds config.json (or open_clip_config.json) \
             and the safetensors file beside it",
            path.display()
        )
    })?;
    let json: Value = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    let parsed = match is_open_clip {
        true => DualConfig::from_open_clip(&json),
        false => DualConfig::from_hf(&json),
    };
    parsed.with_context(|| path.display().to_string())
}

/// Loads the weights beside a config, every key accounted for.
pub fn load_weights(
    folder: &Path,
    config: &DualConfig,
    keys: DualKeys,
    device: &Device,
) -> anyhow::Result<Model> {
    let (path, weights) = weight_file::read(folder, WeightFiles::of(keys).weights)?;
    load(config.init(device), &config.bindings(keys), &weights)
        .with_context(|| path.display().to_string())
}
