//! The sizes of a two-tower model.

use anyhow::{Context, bail};
use fusion::{DualConfig, loss::ContrastiveLoss};
use text_encoder::TextConfig;
use transformer::{Activation, NormOrder};
use vision_encoder::{Pooling, VisionConfig};

use crate::recipe::{Family, Recipe, Text, Vision};

/// The loss a model of these sizes trains with.
pub(super) fn loss_of(config: &DualConfig) -> ContrastiveLoss {
    match config.logit_bias {
        None => ContrastiveLoss::Softmax,
        Some(_) => ContrastiveLoss::Sigmoid,
    }
}

/// The sizes of a recipe: its towers are those that were found in folders, or drawn for a vocabulary of so many tokens.
///
/// # Errors
///
/// Names the key of a size that cannot be.
pub(super) fn sized(
    recipe: &Recipe,
    vision: Option<&VisionConfig>,
    text: Option<&TextConfig>,
    vocab_size: usize,
) -> anyhow::Result<DualConfig> {
    let model = &recipe.model;
    let name = &recipe.name;
    let embed_dim = model
        .embed_dim
        .with_context(|| format!("recipe {name}: `model.embed_dim` is missing"))?;
    let family = model.family.unwrap_or(Family::Clip);
    let vision = match (vision, &model.vision) {
        (Some(found), _) => found.clone(),
        (None, Some(sizes)) => vision_of(family, sizes),
        (None, None) => bail!("recipe {name}: `model.vision` is missing"),
    };
    let text = match (text, &model.text) {
        (Some(found), _) => found.clone(),
        (None, Some(sizes)) => text_of(family, sizes, vocab_size),
        (None, None) => bail!("recipe {name}: `model.text` is missing"),
    };
    let (vision, text) = (vision.checked()?, text.checked()?);
    match family {
        Family::Clip => Ok(joined(vision, text, embed_dim)),
        Family::Siglip if embed_dim != vision.sizes.d_model => bail!(
            "recipe {name}: `model.embed_dim` is {embed_dim}; SigLIP's features are as wide as its vision tower: set it to \
             {}",
            vision.sizes.d_model
        ),
        Family::Siglip => {
            let text = TextConfig {
                output_bias: true,
                ..text
            };
            Ok(DualConfig::siglip(vision, text))
        }
    }
}

/// Towers that meet as CLIP's. Where one of them is no CLIP's, ViT and BERT end with their tanh layer, as in transformers'
/// model of two such towers.
fn joined(mut vision: VisionConfig, mut text: TextConfig, embed_dim: usize) -> DualConfig {
    let is_bert = text.norm_order == NormOrder::Post;
    let is_vit = is_vit(&vision);
    if is_bert || is_vit {
        text.pooler |= is_bert;
        vision.pooler |= is_vit;
    }
    DualConfig::clip(vision, text, embed_dim)
}

/// Whether a tower is a ViT as transformers has it, and not CLIP's.
pub(super) fn is_vit(config: &VisionConfig) -> bool {
    config.pooling == Pooling::Class && config.token_norm
}

fn vision_of(family: Family, sizes: &Vision) -> VisionConfig {
    let base: VisionSizes = match family {
        Family::Clip => VisionConfig::clip,
        Family::Siglip => VisionConfig::siglip,
    };
    let mut config = base(
        sizes.image_size,
        sizes.patch_size,
        sizes.d_model,
        sizes.n_layers,
    );
    sizes.apply(&mut config.sizes);
    config.sizes.activation = activation(family, sizes.act);
    config
}

fn text_of(family: Family, sizes: &Text, vocab_size: usize) -> TextConfig {
    let base: TextSizes = match family {
        Family::Clip => TextConfig::clip,
        Family::Siglip => TextConfig::siglip,
    };
    let mut config = base(vocab_size, sizes.context, sizes.d_model, sizes.n_layers);
    sizes.apply(&mut config.sizes);
    config.sizes.activation = activation(family, sizes.act);
    config
}

type VisionSizes = fn(usize, usize, usize, usize) -> VisionConfig;
type TextSizes = fn(usize, usize, usize, usize) -> TextConfig;

/// The sizes with what a recipe says of training alone.
pub(super) fn trained_as(mut config: DualConfig, recipe: &Recipe) -> DualConfig {
    let dropout = recipe.train.dropout;
    config.vision.sizes = config.vision.sizes.with_dropout(dropout);
    config.text.sizes = config.text.sizes.with_dropout(dropout);
    config.vision.patch_dropout = recipe.train.patch_dropout;
    config
}

/// Which loss a model meets in: what a recipe calls its family.
pub(super) fn family_of(config: &DualConfig) -> Family {
    match config.logit_bias {
        None => Family::Clip,
        Some(_) => Family::Siglip,
    }
}

/// SigLIP has no other gelu than the one by tanh.
fn activation(family: Family, act: Activation) -> Activation {
    match (family, act) {
        (Family::Siglip, Activation::Gelu) => Activation::GeluTanh,
        (_, act) => act,
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
