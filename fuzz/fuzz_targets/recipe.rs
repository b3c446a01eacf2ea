//! Recipes, with `--set` from the lines that begin with `#set `.

#![no_main]

use std::sync::LazyLock;

use fuzz::Folder;
use libfuzzer_sys::fuzz_target;
use trainer::recipe::{Overrides, Recipe};

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::new);

fuzz_target!(|input: &str| {
    let path = FOLDER.put("recipe.toml", input.as_bytes());
    let set = input.lines().filter_map(|line| line.strip_prefix("#set "));
    let overrides = Overrides {
        set: set.map(str::to_owned).collect(),
        ..Overrides::default()
    };
    let recipe = match Recipe::load(&path, &overrides) {
        Ok(recipe) => recipe,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    for samples in [0, 1, 1000, usize::MAX] {
        match recipe.total_steps(samples) {
            Ok(steps) => assert!(
                steps > 0 && samples > 0,
                "{steps} steps of {samples} samples"
            ),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let written = recipe.to_toml().expect("what was read is written");
    let path = FOLDER.put("again/recipe.toml", written.as_bytes());
    match Recipe::load(&path, &Overrides::default()) {
        Ok(again) => assert_eq!(written, again.to_toml().expect("it was written before")),
        Err(error) => panic!("what was written is refused: {error}\n{written}"),
    }
});
