//! How releases name the parts of a text transformer.

use transformer::{Bindings, BlockKeys, Layout};

use crate::TextConfig;

/// The naming of a family of releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextKeys {
    /// transformers' CLIP: `text_model.…`, `text_projection`.
    HfClip,
    /// transformers' SigLIP: `text_model.…`, `text_model.head`.
    HfSiglip,
    /// OpenAI's and open_clip's CLIP: no prefix.
    OpenClip,
    /// open_clip's CustomTextCLIP: `text.…`, the projection a linear layer if it has a bias.
    OpenClipCustom,
    /// transformers' BERT without a prefix.
    Bert,
    /// transformers' BERT in its two-tower model: `text_model.…`, `text_projection`.
    HfVisionText,
}

struct Names {
    tokens: &'static str,
    positions: &'static str,
    block: (&'static str, BlockKeys),
    norm: &'static str,
    projection: &'static str,
}

impl TextKeys {
    fn names(self) -> Names {
        let open = Names {
            tokens: "token_embedding.weight",
            positions: "positional_embedding",
            block: ("transformer.resblocks", BlockKeys::OPEN_CLIP),
            norm: "ln_final",
            projection: "text_projection",
        };
        match self {
            Self::HfClip | Self::HfSiglip => Names {
                tokens: "text_model.embeddings.token_embedding.weight",
                positions: "text_model.embeddings.position_embedding.weight",
                block: ("text_model.encoder.layers", BlockKeys::HF_CLIP),
                norm: "text_model.final_layer_norm",
                projection: match self {
                    Self::HfSiglip => "text_model.head",
                    _ => "text_projection",
                },
            },
            Self::OpenClip | Self::OpenClipCustom => open,
            Self::Bert | Self::HfVisionText => Names {
                tokens: "embeddings.word_embeddings.weight",
                positions: "embeddings.position_embeddings.weight",
                block: ("encoder.layer", BlockKeys::BERT),
                norm: "",
                projection: "text_projection",
            },
        }
    }
}

impl TextConfig {
    /// The name on disk of each parameter of the tower.
    pub fn bindings(&self, keys: TextKeys) -> Bindings {
        let names = keys.names();
        let mut bindings = Bindings::default();
        bindings.bind("embed.tokens", names.tokens, Layout::Same);
        bindings.bind("embed.positions", names.positions, Layout::Same);
        if self.segment_types > 0 {
            let key = "embeddings.token_type_embeddings.weight";
            bindings.bind("embed.segments", key, Layout::Same);
        }
        if self.embed_norm {
            bindings.norm("embed.norm", "embeddings.LayerNorm");
        }
        for layer in 0..self.sizes.n_layers {
            let (prefix, block) = &names.block;
            let path = format!("blocks.{layer}");
            block.bind(
                &mut bindings,
                &path,
                &format!("{prefix}.{layer}"),
                &self.block(),
            );
        }
        if self.final_norm {
            bindings.norm("head.norm", names.norm);
        }
        if self.pooler {
            bindings.linear("head.pooler", "pooler.dense", true);
        }
        bindings.ignore("embeddings.position_ids");
        bindings.ignore("attn_mask");
        if keys == TextKeys::HfVisionText {
            bindings = bindings.prefix_keys("text_model.");
        }
        if self.d_output.is_some() {
            match keys {
                // A bare matrix applied as `x @ text_projection`.
                TextKeys::OpenClip | TextKeys::OpenClipCustom if !self.output_bias => {
                    bindings.bind("head.projection.weight", names.projection, Layout::Same);
                }
                _ => bindings.linear("head.projection", names.projection, self.output_bias),
            }
        }
        match keys {
            TextKeys::OpenClipCustom => bindings.prefix_keys("text."),
            _ => bindings,
        }
    }

    /// The name on disk of each parameter of a [`MaskedLanguageModel`](crate::MaskedLanguageModel), transformers'
    /// `BertForMaskedLM`.
    pub fn mlm_bindings(&self) -> Bindings {
        let mut head = Bindings::default();
        head.linear("transform.dense", "cls.predictions.transform.dense", true);
        head.norm("transform.norm", "cls.predictions.transform.LayerNorm");
        head.bind("bias", "cls.predictions.bias", Layout::Same);
        // The decoder is the word embedding; some releases store it, and its bias, again.
        head.ignore("cls.predictions.decoder.weight");
        head.ignore("cls.predictions.decoder.bias");
        let mut bindings = Bindings::default();
        let bert = self.bindings(TextKeys::Bert).prefix_keys("bert.");
        bindings.nest("bert", bert);
        bindings.nest("head", head);
        bindings
    }
}
