//! Writing a config as transformers reads it.

use serde_json::{Value, json};
use text_encoder::TextPooling;
use transformer::Activation;

use crate::{DualConfig, DualKeys};

impl DualConfig {
    /// transformers' `config.json` of a CLIP or SigLIP of these sizes, and the naming of its
    /// weights; none if transformers has no class of this shape (open_clip's mixtures).
    pub fn to_hf(&self) -> Option<(Value, DualKeys)> {
        let (kind, keys) = match self.logit_bias {
            None => ("clip", DualKeys::HfClip),
            Some(_) => ("siglip", DualKeys::HfSiglip),
        };
        let json = self.hf_json(kind)?;
        // What cannot be said in this form does not survive being read back.
        let (again, _) = Self::from_hf(&json).ok()?;
        let trained = |config: &Self| {
            let mut config = config.clone();
            config.vision.dropout = 0.0;
            config.text.dropout = 0.0;
            config.vision.patch_dropout = 0.0;
            (config.vision, config.text)
        };
        (trained(&again) == trained(self)).then_some((json, keys))
    }

    fn hf_json(&self, kind: &str) -> Option<Value> {
        let (vision, text) = (&self.vision, &self.text);
        let eos = match text.pooling {
            TextPooling::HighestId => 2,
            TextPooling::FirstOf(id) => id,
            TextPooling::Last | TextPooling::First => text.vocab_size as i64 - 1,
        };
        let joint = text.d_output.unwrap_or(text.d_model);
        Some(json!({
            "architectures": [if kind == "clip" { "CLIPModel" } else { "SiglipModel" }],
            "model_type": kind,
            "projection_dim": joint,
            "logit_scale_init_value": self.logit_scale,
            "vision_config": {
                "model_type": format!("{kind}_vision_model"),
                "image_size": vision.image_size,
                "patch_size": vision.patch_size,
                "num_channels": vision.channels,
                "hidden_size": vision.d_model,
                "num_hidden_layers": vision.n_layers,
                "num_attention_heads": vision.n_heads,
                "intermediate_size": vision.d_hidden,
                "hidden_act": hf_name(vision.activation),
                "layer_norm_eps": vision.norm_epsilon,
                "attention_dropout": vision.attention_dropout,
            },
            "text_config": {
                "model_type": format!("{kind}_text_model"),
                "vocab_size": text.vocab_size,
                "max_position_embeddings": text.context,
                "hidden_size": text.d_model,
                "num_hidden_layers": text.n_layers,
                "num_attention_heads": text.n_heads,
                "intermediate_size": text.d_hidden,
                "hidden_act": hf_name(text.activation),
                "layer_norm_eps": text.norm_epsilon,
                "attention_dropout": text.attention_dropout,
                "projection_size": joint,
                "bos_token_id": text.vocab_size.saturating_sub(2),
                "eos_token_id": eos,
                "pad_token_id": 0,
            },
        }))
    }
}

fn hf_name(activation: Activation) -> &'static str {
    match activation {
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu_pytorch_tanh",
        Activation::QuickGelu => "quick_gelu",
        Activation::Relu => "relu",
    }
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
}
