//! What can be wrong with a tokenizer's file or with a call.

/// Why a tokenizer could not be read, trained or applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// `tokenizer.json` is not JSON, or not a tokenizer.
    #[error(
        "not a tokenizer.json: {reason}; expected the file that `tokenizers` or `transformers` save"
    )]
    Json {
        /// What the parser says, with line and column where it knows them.
        reason: String,
    },
    /// A merge list does not unpack, or a line of it is not two symbols.
    #[error(
        "not a CLIP merge list: {reason}; expected bpe_simple_vocab_16e6.txt.gz (or its unpacked text)"
    )]
    Merges {
        /// What was found, with the line.
        reason: String,
    },
    /// A merge joins symbols that the vocabulary lacks.
    #[error(
        "merge {index} ({left:?} + {right:?}) of the tokenizer needs {missing:?}, which its vocabulary lacks"
    )]
    MergeOutOfVocabulary {
        /// Position in the list of merges, from 0.
        index: usize,
        /// First symbol.
        left: String,
        /// Second symbol.
        right: String,
        /// The symbol that is not in the vocabulary.
        missing: String,
    },
    /// A `vocab.txt` without the tokens that BERT needs, or with a token twice.
    #[error(
        "not a BERT vocab.txt: {reason}; expected one token a line, among them [UNK], [CLS] and [SEP]"
    )]
    Vocabulary {
        /// What was found.
        reason: String,
    },
    /// The vocabulary asked for cannot hold even the bytes and the special tokens.
    #[error(
        "a vocabulary of {found} is too small for byte-level BPE: expected at least {expected}"
    )]
    VocabularyTooSmall {
        /// Smallest size that works.
        expected: usize,
        /// Size asked for.
        found: usize,
    },
    /// There was no text to learn from.
    #[error("no words in the captions to train a tokenizer from: check the table's caption column")]
    NoCaptions,
    /// The context has no room for the special tokens.
    #[error(
        "a context of {found} tokens is too short: expected at least {expected}, for the special tokens"
    )]
    ContextTooShort {
        /// Number of special tokens.
        expected: usize,
        /// The context asked for, in tokens.
        found: usize,
    },
    /// The tokenizer cannot encode this caption (for example an unknown word and no unknown token).
    #[error("cannot encode the caption {caption:?}: {reason}")]
    Encode {
        /// The caption.
        caption: String,
        /// What the tokenizer says.
        reason: String,
    },
    /// Token ids without a spelling.
    #[error("cannot decode {ids:?}: {reason}")]
    Decode {
        /// The ids.
        ids: Vec<u32>,
        /// What the tokenizer says.
        reason: String,
    },
}
