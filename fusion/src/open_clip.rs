//! Writing a config as open_clip reads it.

use serde_json::{Value, json};
use transformer::Activation;

use crate::{DualConfig, DualKeys};

impl DualConfig {
    /// The `model_cfg` of an `open_clip_config.json` of these sizes, and the naming of its weights; none if open_clip
    /// has no model of this shape without timm.
    pub fn to_open_clip(&self) -> Option<(Value, DualKeys)> {
        let (vision, text) = (&self.vision, &self.text);
        let ratio = |hidden: usize, width: usize| hidden as f64 / width as f64;
        let cfg = json!({
            "embed_dim": text.d_output?,
            "quick_gelu": vision.activation == Activation::QuickGelu,
            "vision_cfg": {
                "layers": vision.n_layers,
                "width": vision.d_model,
                "head_width": vision.d_model / vision.n_heads,
                "patch_size": vision.patch_size,
                "image_size": vision.image_size,
                "mlp_ratio": ratio(vision.d_hidden, vision.d_model),
            },
            "text_cfg": {
                "context_length": text.context,
                "vocab_size": text.vocab_size,
                "width": text.d_model,
                "heads": text.n_heads,
                "layers": text.n_layers,
                "mlp_ratio": ratio(text.d_hidden, text.d_model),
                // A folder's own tokenizer files go before this name.
                "hf_tokenizer_name": ".",
            },
        });
        // What cannot be said in this form does not survive being read back.
        let (again, keys) = Self::from_open_clip(&json!({ "model_cfg": cfg })).ok()?;
        let trained = |config: &Self| {
            let mut config = config.clone();
            config.vision.dropout = 0.0;
            config.text.dropout = 0.0;
            config.vision.patch_dropout = 0.0;
            // Which of the two: the end token is the highest id of a vocabulary that ends with it.
            config.text.pooling = text_encoder::TextPooling::HighestId;
            (config.vision, config.text)
        };
        (trained(&again) == trained(self)).then_some((cfg, keys))
    }
}

#[cfg(test)]
mod tests {
    use text_encoder::TextConfig;
    use vision_encoder::VisionConfig;

    use super::*;

    #[test]
    fn a_clip_has_a_form_in_open_clip_and_a_siglip_has_not() {
        let text = TextConfig::clip(600, 16, 128, 2);
        let clip = DualConfig::clip(VisionConfig::clip(32, 8, 64, 2), text, 48);
        assert_eq!(clip.to_open_clip().unwrap().1, DualKeys::OpenClip);
        let siglip = DualConfig::siglip(
            VisionConfig::siglip(32, 8, 64, 2),
            TextConfig::siglip(600, 16, 64, 2),
        );
        assert!(siglip.to_open_clip().is_none());
    }
}
