//! transformers' `config.json`: reading it as transformers does, and writing it.

use serde_json::{Value, json};
use text_encoder::{TextConfig, TextPooling};
use transformer::{
    ConfigError, Section,
    config::{limits, within},
};
use vision_encoder::VisionConfig;

use crate::{DualConfig, DualKeys, FusionError};

/// Where the towers' numbers of blocks stand.
const LAYERS: [&str; 2] = [
    "vision_config.num_hidden_layers",
    "text_config.num_hidden_layers",
];

impl DualConfig {
    /// A transformers `config.json` of a CLIP or SigLIP.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault, by its full path.
    pub fn from_hf(json: &Value) -> Result<(Self, DualKeys), FusionError> {
        let root = Section::root(json).map_err(FusionError::Model)?;
        let kind = kind(&root).map_err(FusionError::Model)?;
        let (config, keys) = match kind {
            Kind::Clip => (Self::read_clip(&root)?, DualKeys::HfClip),
            Kind::Siglip => (Self::read_siglip(&root)?, DualKeys::HfSiglip),
            Kind::VisionText => (Self::read_vision_text(&root)?, DualKeys::HfVisionText),
        };
        Ok((config.checked_as(LAYERS)?, keys))
    }

    fn read_clip(root: &Section) -> Result<Self, FusionError> {
        let d_joint = root
            .size("projection_dim", 512)
            .map_err(FusionError::Model)?;
        within(|| "projection_dim".into(), d_joint, &limits::WIDTH).map_err(FusionError::Model)?;
        let vision = clip_section(root, "vision_config").map_err(FusionError::Vision)?;
        let text = clip_section(root, "text_config").map_err(FusionError::Text)?;
        let scale = root.number("logit_scale_init_value", 2.6592);
        Ok(Self {
            vision: VisionConfig::from_hf_clip(&vision, d_joint).map_err(FusionError::Vision)?,
            text: TextConfig::from_hf_clip(&text, d_joint).map_err(FusionError::Text)?,
            logit_scale: scale.map_err(FusionError::Model)?,
            logit_bias: None,
        })
    }

    fn read_siglip(root: &Section) -> Result<Self, FusionError> {
        let part = |key, kinds| {
            let section = root.section(key)?;
            of_kind(&section, kinds).map(|()| section)
        };
        // Both generations' text towers are the same.
        let text_kinds: &[&str] = &["siglip_text_model", "siglip2_text_model"];
        let vision =
            part("vision_config", &["siglip_vision_model"]).map_err(FusionError::Vision)?;
        let text = part("text_config", text_kinds).map_err(FusionError::Text)?;
        let config = Self {
            vision: VisionConfig::from_hf_siglip(&vision).map_err(FusionError::Vision)?,
            text: TextConfig::from_hf_siglip(&text).map_err(FusionError::Text)?,
            logit_scale: 10f64.ln(),
            logit_bias: Some(-10.0),
        };
        let width = config.vision.sizes.d_model;
        if config.text.d_output != Some(width) {
            let supported = format!("{width}, the `hidden_size` of the vision tower");
            let found = config.text.d_output.unwrap_or_default();
            let key = text.path_of("projection_size");
            let error = ConfigError::out_of_bounds(key, found, supported);
            return Err(FusionError::Text(error));
        }
        Ok(config)
    }

    /// Towers that were trained apart: a ViT or CLIP's, and a BERT or CLIP's.
    fn read_vision_text(root: &Section) -> Result<Self, FusionError> {
        let d_joint = root
            .size("projection_dim", 512)
            .map_err(FusionError::Model)?;
        within(|| "projection_dim".into(), d_joint, &limits::WIDTH).map_err(FusionError::Model)?;
        let part = |key| {
            let section = root.section(key)?;
            if section.is_there() {
                return Ok(section);
            }
            Err(root.missing(key, "the config of a tower"))
        };
        let vision = part("vision_config").and_then(|json| match json.text("model_type")? {
            Some("vit") => VisionConfig::from_hf_vit_tower(&json, d_joint),
            Some("clip_vision_model") => VisionConfig::from_hf_clip(&json, d_joint),
            Some("clip") => VisionConfig::from_hf_clip(&json.section("vision_config")?, d_joint),
            _ => Err(json.unsupported("model_type", "vit, clip_vision_model")),
        });
        let text = part("text_config").and_then(|json| match json.text("model_type")? {
            Some("bert") => TextConfig::from_hf_bert_tower(&json, d_joint),
            Some("clip_text_model") => TextConfig::from_hf_clip(&json, d_joint),
            Some("clip") => TextConfig::from_hf_clip(&json.section("text_config")?, d_joint),
            _ => Err(json.unsupported("model_type", "bert, clip_text_model")),
        });
        let scale = root.number("logit_scale_init_value", 2.6592);
        Ok(Self {
            vision: vision.map_err(FusionError::Vision)?,
            text: text.map_err(FusionError::Text)?,
            logit_scale: scale.map_err(FusionError::Model)?,
            logit_bias: None,
        })
    }

    /// transformers' `config.json` of a model of these sizes, and the naming of its weights: of a CLIP, a SigLIP, or two
    /// towers that were trained apart. None if transformers has no class of this shape (open_clip's mixtures).
    pub fn to_hf(&self) -> Option<(Value, DualKeys)> {
        if self.text.pooler || self.vision.pooler {
            return Some((self.hf_vision_text()?, DualKeys::HfVisionText));
        }
        let (kind, keys) = match self.logit_bias {
            None => ("clip", DualKeys::HfClip),
            Some(_) => ("siglip", DualKeys::HfSiglip),
        };
        let json = self.hf_json(kind);
        // What cannot be said in this form does not survive being read back.
        self.is_read_back(&json).then_some((json, keys))
    }

    fn hf_vision_text(&self) -> Option<Value> {
        let mut clip = self.hf_json("clip");
        let vision = self.vision.to_hf_vit_tower();
        let text = self.text.to_hf_bert_tower();
        let json = json!({
            "architectures": ["VisionTextDualEncoderModel"],
            "model_type": "vision-text-dual-encoder",
            "projection_dim": self.text.d_output?,
            "logit_scale_init_value": self.logit_scale,
            "vision_config": vision.unwrap_or_else(|| clip["vision_config"].take()),
            "text_config": text.unwrap_or_else(|| clip["text_config"].take()),
        });
        self.is_read_back(&json).then_some(json)
    }

    /// Whether a file says all of this, but for what only training knows.
    fn is_read_back(&self, json: &Value) -> bool {
        let trained = |config: &Self| {
            let mut config = config.clone();
            config.vision.sizes.dropout = 0.0;
            config.text.sizes.dropout = 0.0;
            config.vision.patch_dropout = 0.0;
            (config.vision, config.text, config.logit_bias.is_some())
        };
        Self::from_hf(json).is_ok_and(|(again, _)| trained(&again) == trained(self))
    }

    fn hf_json(&self, kind: &str) -> Value {
        let (vision, text) = (&self.vision, &self.text);
        let eos = match text.pooling {
            TextPooling::HighestId => 2,
            TextPooling::FirstOf(id) => id,
            TextPooling::Last | TextPooling::First => text.vocab_size as i64 - 1,
        };
        let joint = text.d_output.unwrap_or(text.sizes.d_model);
        let mut vision_json = vision.sizes.hf_json();
        vision_json["model_type"] = json!(format!("{kind}_vision_model"));
        vision_json["image_size"] = json!(vision.image_size);
        vision_json["patch_size"] = json!(vision.patch_size);
        vision_json["num_channels"] = json!(vision.channels);
        let mut text_json = text.sizes.hf_json();
        text_json["model_type"] = json!(format!("{kind}_text_model"));
        text_json["vocab_size"] = json!(text.vocab_size);
        text_json["max_position_embeddings"] = json!(text.context);
        text_json["projection_size"] = json!(joint);
        text_json["bos_token_id"] = json!(text.vocab_size.saturating_sub(2));
        text_json["eos_token_id"] = json!(eos);
        text_json["pad_token_id"] = json!(0);
        let mut config = json!({
            "architectures": [if kind == "clip" { "CLIPModel" } else { "SiglipModel" }],
            "model_type": kind,
            "vision_config": vision_json,
            "text_config": text_json,
        });
        if kind == "clip" {
            // SigLIP has neither: its towers meet in the vision tower's width, and its scale starts where it starts.
            config["projection_dim"] = json!(joint);
            config["logit_scale_init_value"] = json!(self.logit_scale);
        }
        config
    }
}

enum Kind {
    Clip,
    Siglip,
    VisionText,
}

fn kind(root: &Section) -> Result<Kind, ConfigError> {
    if root.has("quantization_config") {
        let supported = "weights in float32, float16, bfloat16 or float64";
        return Err(root.unsupported("quantization_config", supported));
    }
    match root.text("model_type")? {
        Some("clip") => Ok(Kind::Clip),
        Some("siglip") => Ok(Kind::Siglip),
        Some("vision-text-dual-encoder") => Ok(Kind::VisionText),
        Some("siglip2") => {
            let supported = "clip, siglip, vision-text-dual-encoder; siglip2 is the family with pictures of any shape (NaFlex), SigLIP 2 of a \
                             fixed size says siglip";
            Err(root.unsupported("model_type", supported))
        }
        Some(_) => Err(root.unsupported("model_type", "clip, siglip, vision-text-dual-encoder")),
        None => Err(root.missing("model_type", "clip, siglip or vision-text-dual-encoder")),
    }
}

/// Refuses a tower of another class than the model's.
fn of_kind(section: &Section, kinds: &[&str]) -> Result<(), ConfigError> {
    match section.text("model_type")? {
        None | Some("") => Ok(()),
        Some(kind) if kinds.contains(&kind) => Ok(()),
        Some(_) => Err(section.unsupported("model_type", kinds[0])),
    }
}

/// A tower's part of a CLIP. Where the file has the part again under the name that old versions wrote, transformers
/// builds it from that, defaults included, and overrides the part under today's name.
fn clip_section<'a>(root: &Section<'a>, key: &str) -> Result<Section<'a>, ConfigError> {
    let old = format!("{key}_dict");
    let section = root.section(if root.has(&old) { &old } else { key })?;
    let kind = if key == "vision_config" {
        "clip_vision_model"
    } else {
        "clip_text_model"
    };
    of_kind(&section, &[kind, "clip"]).map(|()| section)
}

#[cfg(test)]
mod tests {
    use text_encoder::TextConfig;
    use vision_encoder::VisionConfig;

    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        let text = TextConfig::clip(600, 16, 128, 2);
        let clip = DualConfig::clip(VisionConfig::clip(32, 8, 64, 2), text.clone(), 48);
        let (json, keys) = clip.to_hf().unwrap();
        assert_eq!(keys, DualKeys::HfClip);
        assert_eq!(DualConfig::from_hf(&json).unwrap().0, clip);
        let siglip = DualConfig::siglip(
            VisionConfig::siglip(32, 8, 64, 2),
            TextConfig::siglip(600, 16, 128, 2),
        );
        let (json, _) = siglip.to_hf().unwrap();
        assert_eq!(DualConfig::from_hf(&json).unwrap().0.text, siglip.text);
        let mixed = DualConfig {
            logit_bias: Some(-10.0),
            ..clip
        };
        assert!(mixed.to_hf().is_none());
    }

    #[test]
    fn towers_that_were_trained_apart_read_back_the_same() {
        let text = TextConfig::bert(600, 16, 128, 2);
        let vit = VisionConfig {
            pooler: true,
            output_bias: false,
            ..VisionConfig::vit(32, 8, 64, 2)
        };
        let clip = VisionConfig::clip(32, 8, 64, 2);
        let clip_text = TextConfig::clip(600, 16, 128, 2);
        for (vision, text) in [(vit.clone(), text.clone()), (clip, text), (vit, clip_text)] {
            let joined = DualConfig::clip(vision, text, 48);
            let (json, keys) = joined.to_hf().unwrap();
            assert_eq!(keys, DualKeys::HfVisionText);
            assert_eq!(DualConfig::from_hf(&json).unwrap(), (joined.clone(), keys));
            let biased = DualConfig {
                logit_bias: Some(-10.0),
                ..joined
            };
            assert!(biased.to_hf().is_none());
        }
    }
}
