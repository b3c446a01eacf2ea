//! How releases name the parts of a vision transformer.

use transformer::{Bindings, BlockKeys, Layout};

use crate::{Pooling, VisionConfig};

/// The naming of a family of releases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VisionKeys {
    /// transformers' CLIP and SigLIP: `vision_model.…`, `visual_projection`.
    HfClip,
    /// transformers' ViT classifier: `vit.…`, `classifier`.
    HfVit,
    /// transformers' ViT without a classifier: no prefix.
    HfVitModel,
    /// transformers' ViT in its two-tower model: `vision_model.…`, `visual_projection`.
    HfVisionText,
    /// OpenAI's and open_clip's CLIP: `visual.…`.
    OpenClip,
    /// timm's SigLIP in open_clip: `visual.trunk.…`.
    OpenClipTimm,
    /// timm: no prefix.
    Timm,
}

struct Names {
    class_token: (&'static str, Layout),
    patches: &'static str,
    positions: (&'static str, Layout),
    pre_norm: &'static str,
    block: (&'static str, BlockKeys),
    token_norm: &'static str,
    pooled_norm: &'static str,
    projection: &'static str,
}

impl VisionKeys {
    fn names(self) -> Names {
        match self {
            Self::HfClip => Names {
                class_token: ("vision_model.embeddings.class_embedding", Layout::Same),
                patches: "vision_model.embeddings.patch_embedding",
                positions: (
                    "vision_model.embeddings.position_embedding.weight",
                    Layout::Same,
                ),
                pre_norm: "vision_model.pre_layrnorm",
                block: ("vision_model.encoder.layers", BlockKeys::HF_CLIP),
                token_norm: "vision_model.post_layernorm",
                pooled_norm: "vision_model.post_layernorm",
                projection: "visual_projection",
            },
            Self::HfVit | Self::HfVitModel | Self::HfVisionText => Names {
                class_token: ("embeddings.cls_token", Layout::Unsqueezed(2)),
                patches: "embeddings.patch_embeddings.projection",
                positions: ("embeddings.position_embeddings", Layout::Unsqueezed(1)),
                pre_norm: "",
                block: ("encoder.layer", BlockKeys::HF_VIT),
                token_norm: "layernorm",
                pooled_norm: "layernorm",
                projection: match self {
                    Self::HfVisionText => "visual_projection",
                    _ => "classifier",
                },
            },
            Self::OpenClip => Names {
                class_token: ("visual.class_embedding", Layout::Same),
                patches: "visual.conv1",
                positions: ("visual.positional_embedding", Layout::Same),
                pre_norm: "visual.ln_pre",
                block: ("visual.transformer.resblocks", BlockKeys::OPEN_CLIP),
                token_norm: "visual.ln_post",
                pooled_norm: "visual.ln_post",
                projection: "visual.proj",
            },
            Self::Timm | Self::OpenClipTimm => Names {
                class_token: ("cls_token", Layout::Unsqueezed(2)),
                patches: "patch_embed.proj",
                positions: ("pos_embed", Layout::Unsqueezed(1)),
                pre_norm: "norm_pre",
                block: ("blocks", BlockKeys::TIMM),
                token_norm: "norm",
                pooled_norm: "fc_norm",
                projection: "head",
            },
        }
    }
}

impl VisionConfig {
    /// The name on disk of each parameter of the tower.
    pub fn bindings(&self, keys: VisionKeys) -> Bindings {
        let names = keys.names();
        let mut bindings = Bindings::default();
        self.bind_embed(&mut bindings, &names);
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
        self.bind_head(&mut bindings, &names, keys);
        bindings.ignore("embeddings.position_ids");
        let mut bindings = match keys {
            VisionKeys::HfVit => bindings.prefix_keys("vit."),
            VisionKeys::HfVisionText => bindings.prefix_keys("vision_model."),
            VisionKeys::OpenClipTimm => bindings.prefix_keys("visual.trunk."),
            _ => bindings,
        };
        if self.d_output.is_some() {
            match keys {
                // A bare matrix applied as `x @ proj`.
                VisionKeys::OpenClip => {
                    bindings.bind("head.projection.weight", names.projection, Layout::Same);
                }
                _ => bindings.linear("head.projection", names.projection, self.output_bias),
            }
        }
        bindings
    }

    fn bind_embed(&self, bindings: &mut Bindings, names: &Names) {
        let layout = Layout::Patches {
            channels: self.channels,
            size: self.patch_size,
        };
        bindings.bind(
            "embed.patches.weight",
            format!("{}.weight", names.patches),
            layout,
        );
        if self.patch_bias {
            bindings.bind(
                "embed.patches.bias",
                format!("{}.bias", names.patches),
                Layout::Same,
            );
        }
        if self.class_token {
            let (key, layout) = &names.class_token;
            bindings.bind("embed.class_token", *key, layout.clone());
        }
        let (key, layout) = &names.positions;
        bindings.bind("embed.positions", *key, layout.clone());
        if self.pre_norm {
            bindings.norm("embed.norm", names.pre_norm);
        }
    }

    fn bind_head(&self, bindings: &mut Bindings, names: &Names, keys: VisionKeys) {
        if self.token_norm {
            bindings.norm("head.token_norm", names.token_norm);
        }
        if self.pooling == Pooling::Attention {
            bind_pool(bindings, keys);
        }
        if self.pooled_norm {
            bindings.norm("head.pooled_norm", names.pooled_norm);
        }
        if self.pooler {
            bindings.linear("head.pooler", "pooler.dense", true);
        }
    }
}

/// Binds the pooling by attention.
fn bind_pool(bindings: &mut Bindings, keys: VisionKeys) {
    let path = "head.attention_pool";
    let attention = format!("{path}.attention");
    let (probe, output, norm, mlp) = match keys {
        VisionKeys::Timm | VisionKeys::OpenClipTimm => {
            let key = |name: &str| format!("attn_pool.{name}");
            bindings.linear(&format!("{attention}.query"), &key("q"), true);
            bindings.fused_kv(&attention, &key("kv.weight"), &key("kv.bias"));
            (key("latent"), key("proj"), key("norm"), key("mlp"))
        }
        _ => {
            let key = |name: &str| format!("vision_model.head.{name}");
            let bias = key("attention.in_proj_bias");
            bindings.fused_qkv(&attention, &key("attention.in_proj_weight"), Some(&bias));
            let output = key("attention.out_proj");
            (key("probe"), output, key("layernorm"), key("mlp"))
        }
    };
    bindings.bind(format!("{path}.probe"), probe, Layout::Unsqueezed(2));
    bindings.linear(&format!("{attention}.output"), &output, true);
    bindings.norm(&format!("{path}.norm"), &norm);
    for map in ["fc1", "fc2"] {
        bindings.linear(&format!("{path}.mlp.{map}"), &format!("{mlp}.{map}"), true);
    }
}
