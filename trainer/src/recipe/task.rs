//! `[task]`: what is learnt.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is learnt; `kind` says which.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Pictures and captions that belong together find each other: CLIP, SigLIP, or two towers that were trained apart.
    #[default]
    Contrastive,
    /// A vision tower says the class of a picture.
    Classify(Classify),
    /// A BERT says the words of a caption that are hidden.
    Mlm(Mlm),
}

impl Task {
    /// As a recipe has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Contrastive => "contrastive",
            Self::Classify(_) => "classify",
            Self::Mlm(_) => "mlm",
        }
    }
}

/// Classes of pictures: of a column, or of a folder for each class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Classify {
    /// The column of a table, or the key of JSON or of shards, that holds the class of a picture. Folders need none.
    pub column: String,
    /// The classes, in the order of their numbers; those of the training pictures, sorted, when absent.
    pub classes: Vec<String>,
    /// The share of each label that is spread evenly over all classes (Szegedy et al. 2016).
    pub label_smoothing: f64,
}

impl Default for Classify {
    fn default() -> Self {
        Self {
            column: "label".to_owned(),
            classes: Vec::new(),
            label_smoothing: 0.0,
        }
    }
}

/// Masked words (Devlin et al. 2019).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mlm {
    /// The share of a caption's tokens that are to be said, one at least. Of ten of them eight are hidden, one is another
    /// word, and one stays.
    pub mask: f64,
}

impl Default for Mlm {
    fn default() -> Self {
        Self { mask: 0.15 }
    }
}
