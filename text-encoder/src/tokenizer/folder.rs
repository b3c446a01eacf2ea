//! The files of a folder that a tokenizer is made of.

pub(super) const CONFIG: &str = "tokenizer_config.json";

/// The tokenizer files of a folder, as bytes. Those that are not there are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizerFiles {
    /// `tokenizer.json`.
    pub tokenizer_json: Option<Vec<u8>>,
    /// `vocab.json`, CLIP's and GPT-2's.
    pub vocab_json: Option<Vec<u8>>,
    /// `merges.txt`, beside `vocab.json`.
    pub merges_txt: Option<Vec<u8>>,
    /// `vocab.txt`, BERT's.
    pub vocab_txt: Option<Vec<u8>>,
    /// `spiece.model`, a SentencePiece model.
    pub spiece_model: Option<Vec<u8>>,
    /// `tokenizer.model`, another name of the same.
    pub tokenizer_model: Option<Vec<u8>>,
    /// `tokenizer_config.json`.
    pub tokenizer_config_json: Option<Vec<u8>>,
    /// `special_tokens_map.json`.
    pub special_tokens_map_json: Option<Vec<u8>>,
    /// `added_tokens.json`.
    pub added_tokens_json: Option<Vec<u8>>,
    /// `model_type` of the folder's `config.json`, which names the class of the tokenizer where
    /// `tokenizer_config.json` does not.
    pub model_type: Option<String>,
}

impl TokenizerFiles {
    /// The names under which the files are found in a folder.
    pub const NAMES: [&'static str; 9] = [
        "tokenizer.json",
        "vocab.json",
        "merges.txt",
        "vocab.txt",
        "spiece.model",
        "tokenizer.model",
        CONFIG,
        "special_tokens_map.json",
        "added_tokens.json",
    ];

    /// Takes the file of this name; false if it is none of [`TokenizerFiles::NAMES`].
    pub fn put(&mut self, name: &str, bytes: Vec<u8>) -> bool {
        let place = match name {
            "tokenizer.json" => &mut self.tokenizer_json,
            "vocab.json" => &mut self.vocab_json,
            "merges.txt" => &mut self.merges_txt,
            "vocab.txt" => &mut self.vocab_txt,
            "spiece.model" => &mut self.spiece_model,
            "tokenizer.model" => &mut self.tokenizer_model,
            CONFIG => &mut self.tokenizer_config_json,
            "special_tokens_map.json" => &mut self.special_tokens_map_json,
            "added_tokens.json" => &mut self.added_tokens_json,
            _ => return false,
        };
        *place = Some(bytes);
        true
    }

    /// Whether any of them holds a vocabulary.
    pub fn has_vocabulary(&self) -> bool {
        !self.vocabularies().is_empty()
    }

    /// The names of those that hold a vocabulary.
    pub(super) fn vocabularies(&self) -> Vec<&'static str> {
        let all = [
            ("tokenizer.json", &self.tokenizer_json),
            ("vocab.json", &self.vocab_json),
            ("vocab.txt", &self.vocab_txt),
            ("spiece.model", &self.spiece_model),
            ("tokenizer.model", &self.tokenizer_model),
        ];
        let there = all.into_iter().filter(|(_, file)| file.is_some());
        there.map(|(name, _)| name).collect()
    }

    /// The SentencePiece model and its name.
    pub(super) fn pieces(&self) -> Option<(&[u8], &'static str)> {
        let spiece = self
            .spiece_model
            .as_deref()
            .map(|bytes| (bytes, "spiece.model"));
        spiece.or_else(|| Some((self.tokenizer_model.as_deref()?, "tokenizer.model")))
    }
}
