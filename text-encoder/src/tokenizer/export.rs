//! A tokenizer as the files that `transformers` and open_clip read.

use serde_json::{Map, Value, json};
use tokenizers::ModelWrapper;

use super::{Cleaning, Tokenizer, TokenizerError, cache::Pipeline};

/// Told where a cleaning cannot be written into a file.
const FTFY: &str = "transformers leaves out ftfy's part of the cleaning: captions with HTML references or typographic \
    quotation marks get other tokens there";

/// The files of a tokenizer, and what stands elsewhere in an export.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Exported {
    /// Names and contents: `tokenizer.json` and `tokenizer_config.json`.
    pub files: Vec<(&'static str, Vec<u8>)>,
    /// `tokenizer_kwargs` of open_clip's `text_cfg`, beside an `hf_tokenizer_name`.
    pub open_clip_kwargs: Value,
    /// What the files cannot say: captions for which the originals get other tokens.
    pub notes: Vec<String>,
}

impl Tokenizer {
    /// The tokenizer for `PreTrainedTokenizerFast`, with rows of at most `context` tokens. The cleaning becomes a part
    /// of the normaliser, as far as a normaliser can clean. A `spiece.model` of `SiglipTokenizer` stays what it was.
    ///
    /// `pads_matter` is whether the tower's result depends on the padding, as SigLIP's does. Where it does not, and the
    /// padding token is no special one, rows are padded with the end token: `transformers` finds a padding token inside captions too, and CLIP's of id 0 is an
    /// exclamation mark.
    ///
    /// # Errors
    /// If the tokenizer cannot be written as JSON.
    pub fn export_files(
        &self,
        context: usize,
        pads_matter: bool,
    ) -> Result<Exported, TokenizerError> {
        if let Some(pieces) = &self.pieces
            && self.cleaning.spares_special_tokens()
        {
            return self.export_pieces(pieces.model(), context);
        }
        let mut file = self.to_value()?;
        let mut notes = Vec::new();
        if let Some(own) = file.as_object_mut() {
            own.remove(super::sentencepiece::OWN_KEY);
        }
        file["normalizer"] = self.exported_normalizer(&file["normalizer"]);
        if matches!(
            self.cleaning,
            Cleaning::Lower
                | Cleaning::Whitespace
                | Cleaning::Canonicalize
                | Cleaning::SiglipRepaired
        ) {
            notes.push(FTFY.to_string());
        }
        if self.pieces.is_some() {
            notes.push(
                "tokenizer.json has SentencePiece's rules as `tokenizers` applies them: captions with letters spelled \
                 as several characters may get other tokens there"
                    .to_string(),
            );
        }
        let spell = |id: Option<u32>| id.and_then(|id| self.token(id));
        let end = spell(self.end_id());
        let pad = spell(Some(self.pad_id()));
        let pad = if pads_matter || self.is_special(self.pad_id()) {
            pad
        } else {
            end.clone().or(pad)
        };
        if pads_matter && !self.is_special(self.pad_id()) {
            notes.push(format!(
                "the padding token {:?} is an ordinary token, which transformers takes for padding in captions too",
                pad.as_deref().unwrap_or_default()
            ));
        }
        let config = json!({
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": context,
            "bos_token": spell(self.start_id()),
            "eos_token": end,
            "unk_token": spell(self.unknown_id()),
            "pad_token": pad,
            "mask_token": spell(self.mask_id()),
            "padding_side": if self.pads_left { "left" } else { "right" },
            "clean_up_tokenization_spaces": false,
        });
        // transformers hands the file's own padding to each call; the configuration says the same without that.
        file["padding"] = Value::Null;
        Ok(Exported {
            files: vec![
                ("tokenizer.json", file.to_string().into_bytes()),
                ("tokenizer_config.json", pretty(&config)?),
            ],
            open_clip_kwargs: json!({ "clean": self.cleaning.open_clip() }),
            notes,
        })
    }

    /// The files of `SiglipTokenizer`.
    fn export_pieces(&self, model: &[u8], context: usize) -> Result<Exported, TokenizerError> {
        let spell = |id: Option<u32>| id.and_then(|id| self.token(id));
        let added = self.inner.get_added_tokens_decoder();
        let added = added.into_iter().map(|(id, token)| {
            let token = json!({"content": token.content, "lstrip": token.lstrip, "rstrip": token.rstrip,
                "normalized": token.normalized, "single_word": token.single_word, "special": token.special});
            (id.to_string(), token)
        });
        let added = added.collect::<Map<_, _>>();
        let mut notes = Vec::new();
        if self.cleaning == Cleaning::SiglipRepaired {
            notes.push(FTFY.to_string());
        }
        let config = json!({
            "tokenizer_class": "SiglipTokenizer",
            "model_max_length": context,
            "do_lower_case": self.cleaning != Cleaning::SiglipCased,
            "eos_token": spell(self.end_id()),
            "unk_token": spell(self.unknown_id()),
            "pad_token": spell(Some(self.pad_id())),
            "padding_side": if self.pads_left { "left" } else { "right" },
            "added_tokens_decoder": added,
        });
        Ok(Exported {
            files: vec![
                ("spiece.model", model.to_vec()),
                ("tokenizer_config.json", pretty(&config)?),
            ],
            open_clip_kwargs: json!({ "clean": self.cleaning.open_clip() }),
            notes,
        })
    }

    /// What stands for a word without tokens, where the model has such a thing.
    fn unknown_id(&self) -> Option<u32> {
        match self.inner.get_model() {
            ModelWrapper::BPE(model) => self.id_of(model.unk_token.as_deref()?),
            ModelWrapper::WordPiece(model) => self.id_of(&model.unk_token),
            ModelWrapper::WordLevel(model) => self.id_of(&model.unk_token),
            // It does not show its own.
            ModelWrapper::Unigram(model) => {
                let model = serde_json::to_value(model).ok()?;
                model["unk_id"]
                    .as_u64()
                    .and_then(|id| u32::try_from(id).ok())
            }
        }
    }

    /// Whether a token is a special one, and no part of a caption.
    pub fn is_special(&self, id: u32) -> bool {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        added.get(&id).is_some_and(|token| token.special)
    }

    /// The normaliser with the cleaning in front of it.
    fn exported_normalizer(&self, own: &Value) -> Value {
        let mut all = steps(self.cleaning);
        if self.cleaning == Cleaning::Lower && self.pipeline == Pipeline::Clip {
            all.clear();
        }
        if let Some(pieces) = &self.pieces {
            all.insert(0, replace_text("▁", " "));
            if pieces.composes() {
                all.push(json!({"type": "NFC"}));
            }
        }
        if all.is_empty() {
            return own.clone();
        }
        match own["normalizers"].as_array() {
            // It was exported with this cleaning before.
            Some(parts) if parts.starts_with(&all) => return own.clone(),
            Some(parts) => all.extend(parts.iter().cloned()),
            None if own.is_null() => {}
            None => all.push(own.clone()),
        }
        json!({"type": "Sequence", "normalizers": all})
    }
}

fn pretty(value: &Value) -> Result<Vec<u8>, TokenizerError> {
    serde_json::to_vec_pretty(value).map_err(|error| TokenizerError::Json {
        reason: error.to_string(),
    })
}

fn replace(pattern: &str, content: &str) -> Value {
    json!({"type": "Replace", "pattern": {"Regex": pattern}, "content": content})
}

fn replace_text(pattern: &str, content: &str) -> Value {
    json!({"type": "Replace", "pattern": {"String": pattern}, "content": content})
}

/// A cleaning as normalisers.
fn steps(cleaning: Cleaning) -> Vec<Value> {
    const PUNCTUATION: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"##;
    // Python's lower case of the last sigma of a word is another than of the others.
    let lower = || {
        vec![
            replace(r"(?<=\p{L})Σ(?!\p{L})", "ς"),
            json!({"type": "Lowercase"}),
        ]
    };
    let collapse = || {
        vec![
            replace(r"[\s\x1c-\x1f]+", " "),
            json!({"type": "Strip", "strip_left": true, "strip_right": true}),
        ]
    };
    match cleaning {
        Cleaning::AsIs => Vec::new(),
        Cleaning::Whitespace => collapse(),
        Cleaning::Lower => [lower(), collapse()].concat(),
        Cleaning::Canonicalize => {
            let open = vec![replace_text("_", " "), replace(PUNCTUATION, "")];
            [open, lower(), collapse()].concat()
        }
        Cleaning::Siglip | Cleaning::SiglipRepaired => {
            [lower(), vec![replace(PUNCTUATION, "")], collapse()].concat()
        }
        Cleaning::SiglipCased => [vec![replace(PUNCTUATION, "")], collapse()].concat(),
    }
}
