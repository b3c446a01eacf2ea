//! The config files of transformers.

use serde_json::{Value, json};
use transformer::{Activation, ConfigError, Section, TowerSizes};

use crate::{TextConfig, TextPooling};

/// The end token that files written for OpenAI's weights name, and mean the highest id by.
const OPENAI_END: i64 = 2;

impl TextConfig {
    /// The `text_config` of a transformers CLIP and the model's `projection_dim`.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_hf_clip(json: &Section, projection_dim: usize) -> Result<Self, ConfigError> {
        let end = match json.get("eos_token_id") {
            None => 49407,
            Some(id) => id.as_i64().ok_or_else(|| {
                json.unsupported("eos_token_id", "one token of the vocabulary, or 2")
            })?,
        };
        let mut base = Self {
            pooling: match end {
                OPENAI_END => TextPooling::HighestId,
                end => TextPooling::FirstOf(end),
            },
            d_output: Some(projection_dim),
            ..Self::clip(49408, 77, 512, 12)
        };
        base.sizes.activation = Activation::QuickGelu;
        base.read_hf(json)
    }

    /// The `text_config` of a transformers SigLIP.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_hf_siglip(json: &Section) -> Result<Self, ConfigError> {
        let width = json.size("hidden_size", 768)?;
        let base = Self {
            d_output: json.optional_size("projection_size")?.or(Some(width)),
            ..Self::siglip(32000, 64, 768, 12)
        };
        base.read_hf(json)
    }

    /// A transformers BERT's `config.json`.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_hf_bert(json: &Value) -> Result<Self, ConfigError> {
        Self::bert(30522, 512, 768, 12).read_bert(&Section::root(json)?)
    }

    /// The `text_config` of transformers' two-tower model, a BERT, and the model's `projection_dim`.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_hf_bert_tower(json: &Section, projection_dim: usize) -> Result<Self, ConfigError> {
        let base = Self {
            d_output: Some(projection_dim),
            ..Self::bert(30522, 512, 768, 12)
        };
        base.read_bert(json)
    }

    fn read_bert(self, json: &Section) -> Result<Self, ConfigError> {
        json.require("is_decoder", false)?;
        let padding_id = match json.get("pad_token_id") {
            None => Some(0),
            Some(_) => json.optional_size("pad_token_id")?,
        };
        let base = Self {
            segment_types: json.size("type_vocab_size", 2)?,
            padding_id,
            sizes: self.sizes.read_hf_dropout(json, 0.1)?,
            ..self
        };
        base.read_hf(json)
    }

    /// transformers' `config.json` of a BERT of these sizes that says masked words; none if transformers' BERT has no such
    /// shape.
    pub fn to_hf_bert(&self) -> Option<Value> {
        let mut json = self.hf_bert_json();
        json["architectures"] = json!(["BertForMaskedLM"]);
        let again = Self::from_hf_bert(&json).ok()?;
        // Its pooler takes no part there.
        let again = Self {
            pooler: self.pooler,
            ..again
        };
        (again == *self).then_some(json)
    }

    /// The `text_config` of transformers' two-tower model of this tower, a BERT with a pooler; none if it is another.
    pub fn to_hf_bert_tower(&self) -> Option<Value> {
        let json = self.hf_bert_json();
        let section = Section::root(&json).ok()?;
        let again = Self::from_hf_bert_tower(&section, self.d_output?).ok()?;
        (again == *self).then_some(json)
    }

    fn hf_bert_json(&self) -> Value {
        let mut json = self.sizes.hf_json_with_dropout();
        json["model_type"] = json!("bert");
        json["vocab_size"] = json!(self.vocab_size);
        json["max_position_embeddings"] = json!(self.context);
        json["type_vocab_size"] = json!(self.segment_types);
        json["pad_token_id"] = json!(self.padding_id);
        json
    }

    /// The keys that the transformers families share, over the defaults of a class; bookkeeping keys are passed over.
    fn read_hf(self, json: &Section) -> Result<Self, ConfigError> {
        let config = Self {
            vocab_size: json.size("vocab_size", self.vocab_size)?,
            context: json.size("max_position_embeddings", self.context)?,
            sizes: self.sizes.read_hf(json)?,
            ..self
        };
        config.checked_as(&|field| json.path_of(hf_key(field)))
    }
}

/// transformers' name of a field.
fn hf_key(field: &str) -> &str {
    match field {
        "context" => "max_position_embeddings",
        "segment_types" => "type_vocab_size",
        "pooling" => "eos_token_id",
        "padding_id" => "pad_token_id",
        "d_output" => "projection_size",
        other => TowerSizes::hf_key(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_bert_reads_back_the_same() {
        let mut config = TextConfig::bert(600, 32, 128, 2);
        config.padding_id = Some(3);
        config.sizes.attention_dropout = 0.1;
        let json = config.to_hf_bert().unwrap();
        assert_eq!(TextConfig::from_hf_bert(&json).unwrap(), config);
        let tower = TextConfig {
            d_output: Some(48),
            ..config
        };
        let json = tower.to_hf_bert_tower().unwrap();
        let section = Section::root(&json).unwrap();
        assert_eq!(TextConfig::from_hf_bert_tower(&section, 48).unwrap(), tower);
        assert_eq!(TextConfig::clip(600, 32, 128, 2).to_hf_bert(), None);
    }
}
