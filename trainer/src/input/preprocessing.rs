//! How pictures become the model's input, and where each part of that comes from.

use std::path::Path;

use anyhow::{Context, ensure};
use vision_encoder::image::{PreprocessorConfig, ResizeMode, Size};

use crate::{
    files,
    recipe::{Preprocessing, Recipe},
};

/// The preprocessing of a record, as it was resolved.
pub const PREPROCESSING: &str = "preprocessing.json";

/// Where the preprocessing comes from, and what it is.
#[derive(Clone, Debug)]
pub(crate) struct Pictures {
    /// What is done.
    pub config: PreprocessorConfig,
    /// A line that says what comes from where.
    pub log_line: String,
}

impl Pictures {
    /// The preprocessing for a tower of `image_size`: the one that `brought` names, or else `usual`; each part that the
    /// recipe names goes before.
    ///
    /// # Errors
    ///
    /// If the parts do not fit each other, or the pictures do not have the tower's size in the end: names the key.
    pub(crate) fn resolve(
        recipe: &Recipe,
        brought: Option<(PreprocessorConfig, String)>,
        usual: Preprocessing,
        image_size: usize,
    ) -> anyhow::Result<Self> {
        let side = u32::try_from(image_size).context("`image_size` has no place in 32 bits")?;
        let image = &recipe.image;
        let (mut config, mut from) = match (image.preprocessing, brought) {
            (Some(named), _) => (
                preset(named, side),
                "image.preprocessing of the recipe".to_owned(),
            ),
            (None, Some((config, file))) => (config, file),
            (None, None) => {
                let whose = match usual {
                    Preprocessing::Clip => "CLIP's",
                    Preprocessing::Siglip => "SigLIP's",
                    Preprocessing::Vit => "ViT's",
                    Preprocessing::OpenClip => "open_clip's",
                };
                (
                    preset(usual, side),
                    format!("{whose}; no file says otherwise"),
                )
            }
        };
        let overruled = overrule(&mut config, recipe, side);
        if !overruled.is_empty() {
            from += &format!("; {} of the recipe", overruled.join(", "));
        }
        if let Some(size) = image.size {
            ensure!(
                size >= side,
                "`image.size` is {size}, and the vision tower takes {side} x {side} pixels; give {side} or more"
            );
        }
        let config = config.checked().context("the preprocessing of pictures")?;
        ensure!(
            config.output() == Some(Size::square(side)),
            "pictures come out of the preprocessing ({from}) with {}, and the vision tower takes {side} x {side} pixels; \
             set `image.size` to {side}, or to more where the middle is to be cut out",
            config.output().map_or("any shape".to_owned(), |size| {
                format!("{} x {} pixels", size.width, size.height)
            })
        );
        let log_line = format!("pictures: {config} ({from})");
        Ok(Self { config, log_line })
    }
}

/// The preprocessing that stands in a record, and its file; none in records of before this file, which say it in their
/// recipe.
///
/// # Errors
///
/// Names the file that is not as this program writes it.
pub(crate) fn recorded(record: &Path) -> anyhow::Result<Option<(PreprocessorConfig, String)>> {
    let path = record.join(PREPROCESSING);
    if !path.exists() {
        return Ok(None);
    }
    let json = files::read_file(&path, files::TEXT)?;
    let config = serde_json::from_slice(&json)
        .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
    Ok(Some((config, path.display().to_string())))
}

/// The published preprocessing of this name, for pictures of `side` pixels.
fn preset(named: Preprocessing, side: u32) -> PreprocessorConfig {
    match named {
        Preprocessing::Clip => PreprocessorConfig::clip(side),
        Preprocessing::Siglip => PreprocessorConfig::siglip(side),
        Preprocessing::Vit => PreprocessorConfig::vit(side),
        Preprocessing::OpenClip => PreprocessorConfig::open_clip(side),
    }
}

/// Lets the recipe's keys replace parts; gives their names back.
fn overrule(config: &mut PreprocessorConfig, recipe: &Recipe, side: u32) -> Vec<&'static str> {
    let image = &recipe.image;
    let mut keys = Vec::new();
    if image.resize.is_some() || image.size.is_some() {
        config.resize = image.resize.unwrap_or(config.resize);
        config.size = Size::square(image.size.unwrap_or(side));
        let is_whole = config.resize == ResizeMode::Squash && config.size == Size::square(side);
        config.crop = (!is_whole).then_some(Size::square(side));
        keys.extend(image.resize.map(|_| "image.resize"));
        keys.extend(image.size.map(|_| "image.size"));
    }
    if let Some(filter) = image.interpolation {
        config.interpolation = filter;
        keys.push("image.interpolation");
    }
    if let Some(mean) = image.mean {
        config.mean = mean;
        keys.push("image.mean");
    }
    if let Some(std) = image.std {
        config.std = std;
        keys.push("image.std");
    }
    keys
}
