//! The model of a recipe: its sizes, its parameters, and which of them are trained.

use anyhow::bail;
use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Tensor},
};
use fusion::{DualConfig, DualEncoder, loss::ContrastiveLoss};
use text_encoder::{TextConfig, TextTransformer};
use transformer::Activation;
use vision_encoder::{VisionConfig, VisionTransformer};

use crate::recipe::{Act, Family, Recipe, Start, Tower};

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

/// The sizes a recipe names, for a vocabulary of so many tokens.
///
/// # Errors
///
/// If the sizes do not fit each other.
pub fn sized(recipe: &Recipe, vocab_size: usize) -> anyhow::Result<DualConfig> {
    let (
        Some(family),
        Some(Start::Sizes {
            embed_dim,
            vision,
            text,
        }),
    ) = (recipe.model.family, recipe.model.start())
    else {
        bail!(
            "recipe {}: `model` needs `family` and sizes, or `pretrained`",
            recipe.name
        );
    };
    let (vision_config, text_config) = match family {
        Family::Clip => (
            VisionConfig::clip as VisionSizes,
            TextConfig::clip as TextSizes,
        ),
        Family::Siglip => (
            VisionConfig::siglip as VisionSizes,
            TextConfig::siglip as TextSizes,
        ),
    };
    let v = VisionConfig {
        n_heads: vision.n_heads,
        d_hidden: hidden(vision.d_model, vision.mlp_ratio),
        activation: activation(family, vision.act),
        ..vision_config(
            vision.image_size,
            vision.patch_size,
            vision.d_model,
            vision.n_layers,
        )
    };
    let t = TextConfig {
        n_heads: text.n_heads,
        d_hidden: hidden(text.d_model, text.mlp_ratio),
        activation: activation(family, text.act),
        ..text_config(vocab_size, text.context, text.d_model, text.n_layers)
    };
    Ok(match family {
        Family::Clip => DualConfig::clip(v.checked()?, t.checked()?, embed_dim),
        Family::Siglip if embed_dim != vision.d_model => bail!(
            "recipe {}: `model.embed_dim` is {embed_dim}; SigLIP's features are as wide as its vision tower: set it to \
             {}",
            recipe.name,
            vision.d_model
        ),
        Family::Siglip => DualConfig::siglip(v.checked()?, t.checked()?),
    })
}

type VisionSizes = fn(usize, usize, usize, usize) -> VisionConfig;
type TextSizes = fn(usize, usize, usize, usize) -> TextConfig;

/// The sizes with what a recipe says of training alone.
pub fn trained_as(mut config: DualConfig, recipe: &Recipe) -> DualConfig {
    config.vision.dropout = recipe.train.dropout;
    config.text.dropout = recipe.train.dropout;
    config.vision.patch_dropout = recipe.train.patch_dropout;
    config
}

/// Which loss a model meets in: what a recipe calls its family.
pub fn family_of(config: &DualConfig) -> Family {
    match config.logit_bias {
        None => Family::Clip,
        Some(_) => Family::Siglip,
    }
}

/// The model with some towers frozen.
pub fn locked(mut model: Model, towers: &[Tower]) -> Model {
    for tower in towers {
        match tower {
            Tower::Image => model.vision = model.vision.no_grad(),
            Tower::Text => model.text = model.text.no_grad(),
        }
    }
    model
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

#[cfg(test)]
mod tests {
    use optimizer::Groups;
    use vision_encoder::VisionConfig;

    use super::*;

    #[test]
    fn the_learning_rate_falls_by_layer_from_each_head_to_its_embedding() {
        let device = crate::device::open(None).unwrap();
        let vision = VisionConfig::clip(16, 8, 16, 2);
        let config = DualConfig::clip(vision, TextConfig::clip(600, 8, 16, 3), 8);
        let groups = Groups {
            layer_decay: Some(0.5),
            ..Groups::default()
        };
        let slots = groups.slots(&config.init(&device)).unwrap();
        for slot in &slots {
            let want = match slot.path.split('.').collect::<Vec<_>>()[..] {
                ["vision", "embed", ..] => 0.125,
                ["vision", "blocks", "0", ..] => 0.25,
                ["text", "embed", ..] => 0.0625,
                ["text", "blocks", "1", ..] => 0.25,
                ["vision", "blocks", "1", ..] | ["text", "blocks", "2", ..] => 0.5,
                ["text", "blocks", "0", ..] => 0.125,
                [_, "head", ..] | ["logit_scale"] => 1.0,
                _ => panic!("{} is in no layer", slot.path),
            };
            assert_eq!(slot.group.rate, want, "{}", slot.path);
        }
        assert!(slots.len() > 70, "{}", slots.len());
    }
}
