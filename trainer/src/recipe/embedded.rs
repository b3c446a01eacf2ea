//! Recipes, presets and sizes that are part of the program, so that a fresh machine needs no file.

/// A name and its text.
type Embedded = (&'static str, &'static str);

macro_rules! embedded {
    ($folder:literal: $($name:literal),+) => {
        &[$(($name, include_str!(concat!("../../../recipes/", $folder, $name, ".toml")))),+]
    };
}

/// What `train NAME` accepts beside a file.
pub(super) const RECIPES: &[Embedded] =
    embedded!("": "default", "emoji", "photos", "towers/vision", "towers/text", "join", "lora");

/// What `preset = "NAME"` accepts.
pub(super) const PRESETS: &[Embedded] = embedded!("presets/": "tiny");

/// What `model.preset = "NAME"` accepts.
pub(super) const SIZES: &[Embedded] =
    embedded!("sizes/": "tiny", "vit-s-32", "vit-s-16", "vit-b-32", "vit-b-16");

/// The text of a name.
pub(super) fn find(all: &[Embedded], name: &str) -> Option<&'static str> {
    all.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// All names.
pub(super) fn names(all: &[Embedded]) -> Vec<&'static str> {
    all.iter().map(|(name, _)| *name).collect()
}
