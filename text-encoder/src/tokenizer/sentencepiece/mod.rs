//! SentencePiece models.
//!
//! `transformers` reads them in two ways. `SiglipTokenizer` hands captions to SentencePiece itself: [`Pieces`] does
//! what the two do together, and only the search for the best pieces is `tokenizers`'. `T5Tokenizer` puts the pieces
//! into `tokenizers`, with its normaliser and its splitter.

mod charsmap;
mod pieces;
mod proto;

use base64::Engine;
use serde_json::{Value, json};

pub(super) use pieces::Pieces;

use super::TokenizerError;
use proto::{Kind, Model};

/// How SentencePiece spells a space.
pub(super) const SPACE: char = '▁';

/// Key of `tokenizer.json` under which ours stands what that format has no place for; its readers skip it.
pub(super) const OWN_KEY: &str = "shoestring";

/// The `tokenizer.json` of a Unigram model with `</s>` after each caption.
pub(super) fn to_json(
    bytes: &[u8],
    file: &'static str,
    end: &str,
    style: Style,
) -> Result<Value, TokenizerError> {
    let key = |key: &str, found: &str, expected: &str| TokenizerError::Key {
        file,
        key: key.to_string(),
        found: found.to_string(),
        expected: expected.to_string(),
    };
    let model = &Model::read(bytes, file)?;
    if !model.is_unigram() {
        let expected = "1 (Unigram); for others, let transformers write a tokenizer.json";
        return Err(key("trainer_spec.model_type", "not Unigram", expected));
    }
    if model.whitespace_is_suffix() {
        return Err(key(
            "trainer_spec.treat_whitespace_as_suffix",
            "true",
            "false",
        ));
    }
    let [_, remove_extra_whitespaces, escape_whitespaces] = model.whitespace();
    if !escape_whitespaces {
        return Err(key("normalizer_spec.escape_whitespaces", "false", "true"));
    }
    let unknown = model
        .unknown()
        .ok_or_else(|| key("pieces", "without an unknown piece", "one"))?;
    let end_id = model.id_of(end).ok_or_else(|| {
        key(
            "pieces",
            &format!("without the end token {end:?}"),
            "`eos_token` of tokenizer_config.json",
        )
    })?;
    let mut normalizers = Vec::new();
    if !model.charsmap().is_empty() {
        let map = base64::prelude::BASE64_STANDARD.encode(model.charsmap());
        normalizers.push(json!({"type": "Precompiled", "precompiled_charsmap": map}));
    }
    if remove_extra_whitespaces {
        normalizers.push(json!({"type": "Strip", "strip_left": true, "strip_right": true}));
        normalizers.push(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}));
    }
    let mut file = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": {"type": "Sequence", "normalizers": normalizers},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": end, "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": end, "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}}, {"SpecialToken": {"id": end, "type_id": 0}}],
            "special_tokens": {end: {"id": end, "ids": [end_id], "tokens": [end]}}},
        "decoder": {"type": "Metaspace", "replacement": SPACE, "prepend_scheme": "always", "split": true},
        "model": {"type": "Unigram", "unk_id": unknown, "byte_fallback": model.byte_fallback(), "vocab": vocab(model)},
    });
    let metaspace = |scheme: &str, splits: bool| json!({"type": "Metaspace", "replacement": SPACE, "prepend_scheme": scheme, "split": splits});
    match style {
        Style::Siglip => {
            // For the library alone, and for exports; `Pieces` does without both.
            file["pre_tokenizer"] = metaspace("always", splits(model));
            let bytes = base64::prelude::BASE64_STANDARD.encode(bytes);
            file[OWN_KEY] = json!({ "sentencepiece": bytes });
        }
        Style::T5 => {
            // transformers finds these in captions; SiglipTokenizer only those that have a name.
            let added = model.pieces.iter().enumerate().filter_map(|(id, piece)| {
                let special = piece.kind() == Kind::Control;
                (special || piece.kind() == Kind::UserDefined).then(|| {
                    json!({"id": id, "content": piece.text(), "single_word": false, "lstrip": false,
                        "rstrip": false, "normalized": false, "special": special})
                })
            });
            file["added_tokens"] = added.collect();
            file["pre_tokenizer"] = json!({"type": "Sequence",
                "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace("always", true)]});
        }
    }
    Ok(file)
}

/// Whose conventions surround the pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `SiglipTokenizer`.
    Siglip,
    /// `T5Tokenizer`.
    T5,
}

/// Whether a text's pieces are those of its words: none crosses a space, and the space itself is one.
fn splits(model: &Model) -> bool {
    let crosses = |text: &str| text.chars().skip(1).any(|c| c == SPACE);
    model.id_of("▁").is_some() && !model.pieces.iter().any(|piece| crosses(piece.text()))
}

/// Pieces with their scores. A piece that is only a place gets a spelling that no text has; a user's piece the score
/// with which SentencePiece prefers it to all others.
fn vocab(model: &Model) -> Vec<(String, f64)> {
    let normal = model
        .pieces
        .iter()
        .filter(|piece| piece.kind() == Kind::Normal);
    let best = normal.map(proto::Piece::score).fold(f32::MIN, f32::max);
    let scored = model
        .pieces
        .iter()
        .enumerate()
        .map(|(id, piece)| match piece.kind() {
            Kind::Unused => (format!("\0unused {id}"), f64::from(piece.score())),
            Kind::UserDefined if best > f32::MIN => {
                let score = piece.text().len() as f32 * best - 0.1;
                (piece.text().to_string(), f64::from(score))
            }
            _ => (piece.text().to_string(), f64::from(piece.score())),
        });
    scored.collect()
}
