//! `recipe`: a recipe as it is read, or every key that a recipe may have.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{
    recipe::{Overrides, Recipe, keys},
    say::say,
};

/// Options of `recipe`.
#[derive(Args, Clone, Debug)]
pub(crate) struct RecipeArgs {
    /// A recipe file, or the name of an embedded one: default, emoji, photos.
    recipe: Option<PathBuf>,
    /// Lists every key with its type, its default and its meaning instead.
    #[arg(long, conflicts_with_all = ["recipe", "set"])]
    keys: bool,
    /// Sets a key of the recipe, as in train.lr=3e-4; may be repeated.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Prints a recipe with everything filled in, or all keys.
///
/// # Errors
///
/// What is wrong with the recipe.
pub(crate) fn run(args: &RecipeArgs) -> anyhow::Result<()> {
    if args.keys {
        say(listing().trim_end());
        return Ok(());
    }
    let overrides = Overrides {
        set: args.set.clone(),
        ..Overrides::default()
    };
    let name = args.recipe.as_deref().unwrap_or(Path::new("default"));
    say(Recipe::load(name, &overrides)?.to_toml()?.trim_end());
    Ok(())
}

fn listing() -> String {
    let mut out = String::new();
    for key in keys() {
        let default = key
            .default
            .map_or(String::new(), |value| format!(" = {value}"));
        let of = key.of.map_or(String::new(), |of| format!("; with {of}"));
        out += &format!(
            "{}{default}  ({}{of})\n    {}\n",
            key.key, key.holds, key.meaning
        );
    }
    out
}
