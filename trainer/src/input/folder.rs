//! What a folder is: a run, a record, a folder of weights, or none of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::run::record::{self, Found};

/// open_clip's config.
pub(crate) const OPEN_CLIP: &str = "open_clip_config.json";
/// The config of transformers and of timm.
pub(crate) const HF: &str = "config.json";
/// The configs that a folder of weights may have.
pub(super) const CONFIGS: [&str; 2] = [OPEN_CLIP, HF];

/// A folder that a model can be read from.
#[derive(Debug)]
pub enum Folder {
    /// A run, by its newest whole record; or a record itself.
    Run(Found),
    /// Weights that somebody trained, with their config.
    Weights(PathBuf),
}

impl Folder {
    /// Finds out what a folder is.
    ///
    /// # Errors
    ///
    /// If it is none of them: says what it lacks. If it is a run without a record, or with damaged ones only.
    pub fn find(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        ensure!(
            path.is_dir(),
            "{shown}: there is no such folder; give the folder of a run, as `runs/shapes-1`, or a folder of weights"
        );
        let has = |name: &str| path.join(name).is_file();
        if has("state.json") && has("SHA256SUMS") {
            return Ok(Self::Run(record::open(path)?));
        }
        let has_config = CONFIGS.iter().any(|name| has(name));
        if record::folder(path).is_dir() || (has("recipe.toml") && !has_config) {
            let found = record::newest(path)?
                .with_context(|| format!("{shown}: this run has no record yet; train it first"))?;
            return Ok(Self::Run(found));
        }
        if !has_config {
            bail!(
                "{shown}: is neither a run nor a folder of weights: it has no records/ and no recipe.toml, as a run \
                 has, and no {}, as a folder of weights has; give the folder of a run, as `runs/shapes-1`, or of \
                 weights",
                CONFIGS.join(" or ")
            );
        }
        Ok(Self::Weights(path.to_path_buf()))
    }

    /// The folder that holds config and weights.
    pub fn path(&self) -> &Path {
        match self {
            Self::Run(found) => &found.path,
            Self::Weights(path) => path,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_that_is_neither_says_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let said = |path: &Path| Folder::find(path).unwrap_err().to_string();
        let lacks = said(folder.path());
        assert!(
            lacks.contains("recipe.toml") && lacks.contains("config.json"),
            "{lacks}"
        );
        assert!(said(&folder.path().join("none")).contains("no such folder"));
        fs::write(folder.path().join("recipe.toml"), "").unwrap();
        assert!(said(folder.path()).contains("no record yet"));
        fs::write(folder.path().join("config.json"), "{}").unwrap();
        assert!(matches!(
            Folder::find(folder.path()),
            Ok(Folder::Weights(_))
        ));
    }
}
