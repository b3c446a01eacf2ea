//! `[tokens]`: from captions to token ids. How many a caption may have is the text tower's `model.text.context`.

use serde::{Deserialize, Serialize};

use super::path::RecipePath;

/// Whose vocabulary; `kind` says which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tokens {
    /// A byte-pair vocabulary trained from the training captions.
    Bpe(Bpe),
    /// CLIP's, from its `bpe_simple_vocab_16e6.txt.gz`.
    Clip(Vocabulary),
    /// Any `tokenizer.json`.
    File(Vocabulary),
}

/// A vocabulary trained from the training captions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bpe {
    /// The most tokens it may have, special ones included; few captions give fewer.
    pub vocab: usize,
}

/// A vocabulary read from a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vocabulary {
    /// The file.
    pub path: RecipePath,
}
