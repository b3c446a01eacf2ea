//! The tokenizer classes of `transformers` whose conventions are known.

/// A class, by what it does with a vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// `CLIPTokenizer`.
    Clip,
    /// `SiglipTokenizer`: SentencePiece, with captions canonicalised.
    Siglip,
    /// `Siglip2Tokenizer`: Gemma's pieces in lower case.
    Siglip2,
    /// `GemmaTokenizer`.
    Gemma,
    /// `BertTokenizer`.
    Bert,
    /// `T5Tokenizer`.
    T5,
    /// `GPT2Tokenizer`.
    Gpt2,
    /// `PreTrainedTokenizerFast`, `TokenizersBackend`, another class or none: `tokenizer.json` says everything.
    Other,
}

impl Class {
    /// The class of this name, with or without `Fast`.
    pub(super) fn of(name: &str) -> Self {
        match name.strip_suffix("Fast").unwrap_or(name) {
            "CLIPTokenizer" => Self::Clip,
            "SiglipTokenizer" => Self::Siglip,
            "Siglip2Tokenizer" => Self::Siglip2,
            "GemmaTokenizer" => Self::Gemma,
            "BertTokenizer" => Self::Bert,
            "T5Tokenizer" => Self::T5,
            "GPT2Tokenizer" => Self::Gpt2,
            _ => Self::Other,
        }
    }

    /// The class, and its name, of a `model_type` of `config.json`.
    pub(super) fn of_model(model_type: &str) -> Option<(Self, &'static str)> {
        Some(match model_type {
            "clip" | "clip_text_model" => (Self::Clip, "CLIPTokenizer"),
            "siglip" | "siglip_text_model" => (Self::Siglip, "SiglipTokenizer"),
            "siglip2" | "siglip2_text_model" => (Self::Siglip2, "Siglip2Tokenizer"),
            "bert" => (Self::Bert, "BertTokenizer"),
            _ => return None,
        })
    }

    /// The special tokens that the class has where no file names them.
    pub(super) fn tokens(self) -> &'static [(&'static str, &'static str)] {
        const END: &str = "<|endoftext|>";
        match self {
            Self::Clip => &[
                ("bos_token", "<|startoftext|>"),
                ("eos_token", END),
                ("unk_token", END),
                ("pad_token", END),
            ],
            Self::Siglip => &[
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
                ("pad_token", "</s>"),
            ],
            Self::Siglip2 | Self::Gemma => &[
                ("bos_token", "<bos>"),
                ("eos_token", "<eos>"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
                ("mask_token", "<mask>"),
            ],
            Self::Bert => &[
                ("unk_token", "[UNK]"),
                ("sep_token", "[SEP]"),
                ("pad_token", "[PAD]"),
                ("cls_token", "[CLS]"),
                ("mask_token", "[MASK]"),
            ],
            Self::T5 => &[
                ("eos_token", "</s>"),
                ("unk_token", "<unk>"),
                ("pad_token", "<pad>"),
            ],
            Self::Gpt2 => &[("bos_token", END), ("eos_token", END), ("unk_token", END)],
            Self::Other => &[],
        }
    }

    /// Whether rows are padded at their beginning where no file says it.
    pub(super) fn pads_left(self) -> bool {
        matches!(self, Self::Siglip2 | Self::Gemma)
    }

    /// The longest row where no file says it.
    pub(super) fn max_length(self) -> Option<usize> {
        (self == Self::Siglip).then_some(64)
    }

    /// The files that hold its vocabulary where there is no `tokenizer.json`.
    pub(super) fn vocabulary(self) -> Option<&'static str> {
        match self {
            Self::Clip | Self::Gpt2 => Some("vocab.json and merges.txt"),
            Self::Siglip | Self::T5 => Some("spiece.model"),
            Self::Bert => Some("vocab.txt"),
            Self::Siglip2 | Self::Gemma | Self::Other => None,
        }
    }
}
