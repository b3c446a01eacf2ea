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
    /// A part of `tokenizer.json` on which the tokenizer's library stops.
    #[error("tokenizer.json: {part} cannot be read: {reason}")]
    Broken {
        /// The part, by its key.
        part: &'static str,
        /// What the library says.
        reason: String,
    },
    /// A key of a tokenizer's file has a value that is not understood, or that cannot be.
    #[error("{file}: `{key}` is {found}; expected {expected}")]
    Key {
        /// Name of the file.
        file: &'static str,
        /// The key, with the keys that lead to it.
        key: String,
        /// What was found.
        found: String,
        /// What would be understood.
        expected: String,
    },
    /// A tokenizer's file is not of its format.
    #[error("{file}: {reason}")]
    File {
        /// Name of the file.
        file: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// None of the files is a vocabulary that can be read.
    #[error("no vocabulary: {found}; expected {expected}, or set `tokens.kind` and `tokens.path`")]
    NoVocabulary {
        /// What the folder has and says.
        found: String,
        /// The files that would do.
        expected: String,
    },
    /// The model is of open_clip's own vocabulary, which its folders do not hold.
    #[error(
        "open_clip_config.json names no `hf_tokenizer_name`: its captions need CLIP's own vocabulary, which the folder \
         does not hold; set `tokens.kind` to \"clip\" and `tokens.path` to bpe_simple_vocab_16e6.txt.gz"
    )]
    NeedsClipVocabulary,
    /// The tokenizer pads on the left, which moves the caption of a row that is cut to the longest of its batch.
    #[error(
        "the tokenizer pads on the left, which works only where rows always have the length of the context; set \
         `padding_side` to \"right\" in tokenizer_config.json"
    )]
    PadsLeft,
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
    /// The vocabulary asked for cannot hold even the special tokens and the bytes or letters.
    #[error(
        "a vocabulary of {found} is too small: expected at least {expected}, for the special tokens and each letter"
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
