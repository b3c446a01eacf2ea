//! `[tokens]`: from captions to token ids.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use text_encoder::tokenizer::Cleaning;

use super::path::RecipePath;

/// Whose vocabulary; `kind` says which.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tokens {
    /// A byte-pair vocabulary trained from the training captions.
    Bpe(Learnt),
    /// Word pieces trained from the training captions, as BERT has them.
    Wordpiece(Learnt),
    /// CLIP's, from its `bpe_simple_vocab_16e6.txt.gz`.
    Clip(Vocabulary),
    /// A tokenizer's file, with what stands beside it: `tokenizer.json`, `vocab.txt`, `spiece.model`, ...
    File(Vocabulary),
    /// The tokenizer of the folder that `model.pretrained` or `model.pretrained_text` names.
    Pretrained(OfWeights),
}

impl Default for Tokens {
    fn default() -> Self {
        Self::Pretrained(OfWeights::default())
    }
}

/// A vocabulary trained from the training captions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Learnt {
    /// The most tokens it may have, special ones included; few captions give fewer.
    pub vocab: usize,
    /// How captions are cleaned before they are split.
    pub cleaning: Option<Cleaning>,
    /// The token that fills rows, as it is spelled.
    pub pad: Option<String>,
    /// The most tokens of a caption, start and end included; the text tower's context when absent.
    pub context: Option<usize>,
}

/// A vocabulary read from a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vocabulary {
    /// The file.
    pub path: RecipePath,
    /// How captions are cleaned before they are split; what the files say when absent.
    pub cleaning: Option<Cleaning>,
    /// The token that fills rows, as it is spelled; what the files say when absent.
    pub pad: Option<String>,
    /// The most tokens of a caption, start and end included; what the files say, or the text tower's context, when absent.
    pub context: Option<usize>,
}

/// The tokenizer that a folder of weights brings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OfWeights {
    /// How captions are cleaned before they are split; what the folder says when absent.
    pub cleaning: Option<Cleaning>,
    /// The token that fills rows, as it is spelled; what the folder says when absent.
    pub pad: Option<String>,
    /// The most tokens of a caption, start and end included; what the folder says when absent.
    pub context: Option<usize>,
}

/// What a recipe says of the reading of captions, whatever the vocabulary is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// How captions are cleaned.
    pub cleaning: Option<Cleaning>,
    /// The token that fills rows.
    pub pad: Option<String>,
    /// The most tokens of a caption.
    pub context: Option<usize>,
}

impl Tokens {
    /// How captions are read.
    pub fn reading(&self) -> Reading {
        let (cleaning, pad, context) = match self {
            Self::Bpe(of) | Self::Wordpiece(of) => (of.cleaning, &of.pad, of.context),
            Self::Clip(of) | Self::File(of) => (of.cleaning, &of.pad, of.context),
            Self::Pretrained(of) => (of.cleaning, &of.pad, of.context),
        };
        Reading {
            cleaning,
            pad: pad.clone(),
            context,
        }
    }

    /// The same vocabulary, with captions read so.
    pub fn with_reading(mut self, reading: Reading) -> Self {
        let (cleaning, pad, context) = match &mut self {
            Self::Bpe(of) | Self::Wordpiece(of) => (&mut of.cleaning, &mut of.pad, &mut of.context),
            Self::Clip(of) | Self::File(of) => (&mut of.cleaning, &mut of.pad, &mut of.context),
            Self::Pretrained(of) => (&mut of.cleaning, &mut of.pad, &mut of.context),
        };
        (*cleaning, *pad, *context) = (reading.cleaning, reading.pad, reading.context);
        self
    }
}
