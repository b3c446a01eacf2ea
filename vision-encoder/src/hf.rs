//! The config files of transformers.

use serde_json::{Map, Value, json};
use transformer::{Activation, ConfigError, Section, TowerSizes};

use crate::VisionConfig;

impl VisionConfig {
    /// The `vision_config` of a transformers CLIP and the model's `projection_dim`.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_hf_clip(json: &Section, projection_dim: usize) -> Result<Self, ConfigError> {
        let mut base = Self {
            d_output: Some(projection_dim),
            ..Self::clip(224, 32, 768, 12)
        };
        base.sizes.activation = Activation::QuickGelu;
        base.read_hf(json)
    }

    /// The `vision_config` of a transformers SigLIP.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_hf_siglip(json: &Section) -> Result<Self, ConfigError> {
        // Without it the features are all tokens.
        json.require("vision_use_head", true)?;
        Self::siglip(224, 16, 768, 12).read_hf(json)
    }

    /// A transformers ViT's `config.json`, read as that of a classifier.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_hf_vit(json: &Value) -> Result<Self, ConfigError> {
        let json = Section::root(json)?;
        // The number of classes is the size of the label table; without one transformers makes two.
        let labels = json.get("id2label").and_then(Value::as_object);
        let classes = json.optional_size("num_labels")?;
        let classes = classes.or_else(|| labels.map(Map::len)).unwrap_or(2);
        let base = Self {
            d_output: Some(classes),
            ..Self::vit(224, 16, 768, 12)
        };
        base.read_vit(&json)
    }

    /// The `vision_config` of transformers' two-tower model, a ViT, and the model's `projection_dim`.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_hf_vit_tower(json: &Section, projection_dim: usize) -> Result<Self, ConfigError> {
        json.require("pooler_act", "tanh")?;
        let base = Self {
            pooler: true,
            d_output: Some(projection_dim),
            output_bias: false,
            ..Self::vit(224, 16, 768, 12)
        };
        base.read_vit(json)
    }

    fn read_vit(self, json: &Section) -> Result<Self, ConfigError> {
        let base = Self {
            qkv_bias: json.flag("qkv_bias", true)?,
            sizes: self.sizes.read_hf_dropout(json, 0.0)?,
            ..self
        };
        base.read_hf(json)
    }

    /// transformers' `config.json` of a ViT classifier of these sizes, with the names of its classes; none if
    /// transformers' ViT has no such shape.
    pub fn to_hf_vit(&self, classes: &[String]) -> Option<Value> {
        let mut json = self.hf_vit_json();
        json["architectures"] = json!(["ViTForImageClassification"]);
        let labels = classes.iter().enumerate();
        let ids = labels
            .clone()
            .map(|(id, name)| (id.to_string(), json!(name)));
        json["id2label"] = Value::Object(ids.collect());
        let names = labels.map(|(id, name)| (name.clone(), json!(id)));
        json["label2id"] = Value::Object(names.collect());
        let again = Self::from_hf_vit(&json).ok()?;
        self.is_but_for_training(&again).then_some(json)
    }

    /// The `vision_config` of transformers' two-tower model of this tower, a ViT with a pooler; none if it is another.
    pub fn to_hf_vit_tower(&self) -> Option<Value> {
        let json = self.hf_vit_json();
        let section = Section::root(&json).ok()?;
        let again = Self::from_hf_vit_tower(&section, self.d_output?).ok()?;
        self.is_but_for_training(&again).then_some(json)
    }

    /// Whether both are the same, but for what no file says.
    fn is_but_for_training(&self, other: &Self) -> bool {
        let other = Self {
            patch_dropout: self.patch_dropout,
            ..other.clone()
        };
        *self == other
    }

    fn hf_vit_json(&self) -> Value {
        let mut json = self.sizes.hf_json_with_dropout();
        json["model_type"] = json!("vit");
        json["image_size"] = json!(self.image_size);
        json["patch_size"] = json!(self.patch_size);
        json["num_channels"] = json!(self.channels);
        json["qkv_bias"] = json!(self.qkv_bias);
        json
    }

    /// The keys that the transformers families share, over the defaults of a class; bookkeeping keys are passed over.
    fn read_hf(self, json: &Section) -> Result<Self, ConfigError> {
        json.require("qkv_bias", self.qkv_bias)?;
        let config = Self {
            image_size: json.size("image_size", self.image_size)?,
            patch_size: json.size("patch_size", self.patch_size)?,
            channels: json.size("num_channels", self.channels)?,
            sizes: self.sizes.read_hf(json)?,
            ..self
        };
        config.checked_as(&|field| json.path_of(hf_key(field)))
    }
}

/// transformers' name of a field.
fn hf_key(field: &str) -> &str {
    match field {
        "channels" => "num_channels",
        "d_output" => "num_labels",
        other => TowerSizes::hf_key(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_of_a_vit_reads_back_the_same() {
        let classes = ["a cat", "a dog", "a cow"].map(str::to_owned);
        let mut config = VisionConfig {
            d_output: Some(3),
            ..VisionConfig::vit(32, 8, 128, 2)
        };
        config.sizes.dropout = 0.1;
        let json = config.to_hf_vit(&classes).unwrap();
        assert_eq!(VisionConfig::from_hf_vit(&json).unwrap(), config);
        assert_eq!(json["id2label"]["1"], "a dog");
        assert_eq!(config.to_hf_vit_tower(), None);
        let tower = VisionConfig {
            pooler: true,
            output_bias: false,
            ..config.clone()
        };
        let json = tower.to_hf_vit_tower().unwrap();
        let section = Section::root(&json).unwrap();
        let again = VisionConfig::from_hf_vit_tower(&section, 3).unwrap();
        assert_eq!(again, tower);
        let clip = VisionConfig {
            d_output: Some(3),
            ..VisionConfig::clip(32, 8, 128, 2)
        };
        assert_eq!(clip.to_hf_vit(&classes), None);
    }
}
