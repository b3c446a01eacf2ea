//! The parts of `sentencepiece_model.proto` that say how text becomes pieces.

use prost::Message;

use super::super::{TokenizerError, check};

/// A `spiece.model` or `tokenizer.model`.
#[derive(Clone, PartialEq, Message)]
pub(in crate::tokenizer) struct Model {
    #[prost(message, repeated, tag = "1")]
    pub(in crate::tokenizer) pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    pub(in crate::tokenizer) trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    pub(in crate::tokenizer) normalizer: Option<Normalizer>,
}

/// A token; its id is its place.
#[derive(Clone, PartialEq, Message)]
pub(in crate::tokenizer) struct Piece {
    #[prost(string, optional, tag = "1")]
    pub(in crate::tokenizer) text: Option<String>,
    #[prost(float, optional, tag = "2")]
    pub(in crate::tokenizer) score: Option<f32>,
    #[prost(enumeration = "Kind", optional, tag = "3")]
    pub(in crate::tokenizer) kind: Option<i32>,
}

/// What a piece is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub(in crate::tokenizer) enum Kind {
    /// Text.
    Normal = 1,
    /// What stands for text without a piece.
    Unknown = 2,
    /// A token that text cannot spell.
    Control = 3,
    /// Text that is never split.
    UserDefined = 4,
    /// A place that is kept.
    Unused = 5,
    /// A byte of text without a piece.
    Byte = 6,
}

/// How the pieces were learnt, and which of them are special.
#[derive(Clone, PartialEq, Message)]
pub(in crate::tokenizer) struct Trainer {
    /// 1 is Unigram, 2 is byte-pair encoding.
    #[prost(int32, optional, tag = "3")]
    pub(in crate::tokenizer) model_type: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    pub(in crate::tokenizer) whitespace_is_suffix: Option<bool>,
    #[prost(bool, optional, tag = "35")]
    pub(in crate::tokenizer) byte_fallback: Option<bool>,
}

/// What happens to text before it is split.
#[derive(Clone, PartialEq, Message)]
pub(in crate::tokenizer) struct Normalizer {
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(in crate::tokenizer) charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    pub(in crate::tokenizer) add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    pub(in crate::tokenizer) remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    pub(in crate::tokenizer) escape_whitespaces: Option<bool>,
}

impl Model {
    /// Reads and checks the model in `file`.
    pub(in crate::tokenizer) fn read(
        bytes: &[u8],
        file: &'static str,
    ) -> Result<Self, TokenizerError> {
        let bad = |reason: String| TokenizerError::File { file, reason };
        let model = Self::decode(bytes)
            .map_err(|error| bad(format!("not a SentencePiece model: {error}")))?;
        if model.pieces.is_empty() {
            return Err(bad(
                "not a SentencePiece model: it has no pieces".to_string()
            ));
        }
        let key = |key: &str, found: String, expected: &str| TokenizerError::Key {
            file,
            key: key.to_string(),
            found,
            expected: expected.to_string(),
        };
        for (id, piece) in model.pieces.iter().enumerate() {
            if piece.text().is_empty() || piece.text().len() > check::LONGEST_TOKEN {
                let found = format!("{} bytes long", piece.text().len());
                let expected = format!("1 to {} bytes", check::LONGEST_TOKEN);
                return Err(key(&format!("pieces[{id}].piece"), found, &expected));
            }
            if !piece.score().is_finite() {
                let at = format!("pieces[{id}].score");
                return Err(key(&at, piece.score().to_string(), "a finite number"));
            }
            if piece.kind.is_some_and(|kind| Kind::try_from(kind).is_err()) {
                let found = piece.kind.unwrap_or_default().to_string();
                return Err(key(&format!("pieces[{id}].type"), found, "1 to 6"));
            }
        }
        let map = model.charsmap();
        if !map.is_empty() {
            let expected = "the map that SentencePiece writes";
            check::check_charsmap(map)
                .map_err(|found| key("normalizer_spec.precompiled_charsmap", found, expected))?;
        }
        Ok(model)
    }

    pub(in crate::tokenizer) fn is_unigram(&self) -> bool {
        self.trainer
            .as_ref()
            .and_then(|trainer| trainer.model_type)
            .unwrap_or(1)
            == 1
    }

    pub(in crate::tokenizer) fn byte_fallback(&self) -> bool {
        self.trainer
            .as_ref()
            .and_then(|trainer| trainer.byte_fallback)
            .unwrap_or(false)
    }

    pub(in crate::tokenizer) fn whitespace_is_suffix(&self) -> bool {
        self.trainer
            .as_ref()
            .and_then(|trainer| trainer.whitespace_is_suffix)
            .unwrap_or(false)
    }

    /// The precompiled rules of the normaliser; empty where there are none.
    pub(in crate::tokenizer) fn charsmap(&self) -> &[u8] {
        self.normalizer
            .as_ref()
            .and_then(|spec| spec.charsmap.as_deref())
            .unwrap_or_default()
    }

    /// `add_dummy_prefix`, `remove_extra_whitespaces` and `escape_whitespaces`, true where they are not said.
    pub(in crate::tokenizer) fn whitespace(&self) -> [bool; 3] {
        let spec = self.normalizer.clone().unwrap_or_default();
        [
            spec.add_dummy_prefix,
            spec.remove_extra_whitespaces,
            spec.escape_whitespaces,
        ]
        .map(|said| said.unwrap_or(true))
    }

    /// The id of the first piece that is spelled so.
    pub(in crate::tokenizer) fn id_of(&self, text: &str) -> Option<usize> {
        self.pieces.iter().position(|piece| piece.text() == text)
    }

    /// The id of the unknown piece.
    pub(in crate::tokenizer) fn unknown(&self) -> Option<usize> {
        self.pieces
            .iter()
            .position(|piece| piece.kind() == Kind::Unknown)
    }
}
