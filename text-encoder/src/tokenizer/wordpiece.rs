//! BERT's tokenizer from a `vocab.txt`.

use serde_json::{Map, Value, json};

use super::{Tokenizer, TokenizerError};

/// What a `vocab.txt` does not say about its tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordPieceConfig {
    /// Lower case, and accents stripped: true for the "uncased" models.
    pub lowercase: bool,
    /// A word of more characters than this is unknown.
    pub max_word_chars: usize,
}

impl Default for WordPieceConfig {
    /// As `bert-base-uncased`: lower case, words of up to 100 characters.
    fn default() -> Self {
        Self {
            lowercase: true,
            max_word_chars: 100,
        }
    }
}

impl Tokenizer {
    /// BERT's tokenizer from a `vocab.txt`, one token a line: `[CLS] caption [SEP]`, padded with `[PAD]`.
    ///
    /// # Errors
    /// If `[UNK]`, `[CLS]` or `[SEP]` is missing, or a token stands there twice.
    pub fn wordpiece_vocab(text: &str, config: &WordPieceConfig) -> Result<Self, TokenizerError> {
        Self::from_value(file(text, config, |name| match name {
            "cls_token" => "[CLS]",
            "sep_token" => "[SEP]",
            _ => "[UNK]",
        })?)
    }
}

/// The `tokenizer.json` of a `vocab.txt`; `spelling` says how a special token is spelled.
pub(super) fn file<'s>(
    text: &str,
    config: &WordPieceConfig,
    spelling: impl Fn(&str) -> &'s str,
) -> Result<Value, TokenizerError> {
    let bad = |reason: String| TokenizerError::Vocabulary { reason };
    let mut vocab = Map::new();
    for (id, token) in text.lines().enumerate() {
        if vocab.insert(token.to_string(), json!(id)).is_some() {
            return Err(bad(format!("line {} repeats {token:?}", id + 1)));
        }
    }
    let id_of = |name: &str| {
        let token = spelling(name);
        let id = vocab.get(token).cloned();
        id.map(|id| (token, id))
            .ok_or_else(|| bad(format!("{token} is missing")))
    };
    let (unknown, cls, sep) = (
        id_of("unk_token")?,
        id_of("cls_token")?,
        id_of("sep_token")?,
    );
    let special = ["[PAD]", "[MASK]", unknown.0, cls.0, sep.0].into_iter().filter_map(|token| {
        let id = vocab.get(token)?;
        Some(json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true}))
    });
    Ok(json!({
        "version": "1.0",
        "added_tokens": special.collect::<Vec<_>>(),
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": config.lowercase},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "cls": cls, "sep": sep},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": unknown.0, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": config.max_word_chars, "vocab": vocab},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOCAB: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\ncat\n##s\nÜber\n";

    #[test]
    fn words_split_into_known_pieces() {
        let tokenizer =
            Tokenizer::wordpiece_vocab(VOCAB, &WordPieceConfig::default()).expect("reads");
        assert_eq!(tokenizer.encode("CATS Über").expect("encodes"), [4, 5, 1]);
        assert_eq!(
            tokenizer.encode_with_specials("cat").expect("encodes"),
            [2, 4, 3]
        );
        let cased = WordPieceConfig {
            lowercase: false,
            max_word_chars: 4,
        };
        let cased = Tokenizer::wordpiece_vocab(VOCAB, &cased).expect("reads");
        assert_eq!(
            cased.encode("Über cats catss Cats").expect("encodes"),
            [6, 4, 5, 1, 1]
        );
    }

    #[test]
    fn a_broken_vocabulary_is_an_error() {
        let cases = [
            ("", "[UNK] is missing"),
            ("[UNK]\n[CLS]\n", "[SEP] is missing"),
            ("a\nb\na\n", "line 3"),
        ];
        for (text, want) in cases {
            let error = Tokenizer::wordpiece_vocab(text, &WordPieceConfig::default())
                .expect_err("is broken");
            assert!(error.to_string().contains(want), "{error}");
        }
    }
}
