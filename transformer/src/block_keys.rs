//! How releases name the parts of a transformer block.

use crate::{Bindings, BlockConfig, Layout};

/// Names of the parts of a block, after the block's own prefix.
#[derive(Clone, Copy, Debug)]
pub struct BlockKeys {
    attention_norm: &'static str,
    qkv: QkvKeys,
    output: &'static str,
    mlp_norm: &'static str,
    fc1: &'static str,
    fc2: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum QkvKeys {
    /// Three linear layers.
    Separate([&'static str; 3]),
    /// One tensor of three parts: weight and bias.
    Fused([&'static str; 2]),
}

impl BlockKeys {
    /// transformers' CLIP and SigLIP.
    pub const HF_CLIP: Self = Self {
        attention_norm: "layer_norm1",
        qkv: QkvKeys::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
        output: "self_attn.out_proj",
        mlp_norm: "layer_norm2",
        fc1: "mlp.fc1",
        fc2: "mlp.fc2",
    };
    /// transformers' ViT.
    pub const HF_VIT: Self = Self {
        attention_norm: "layernorm_before",
        qkv: QkvKeys::Separate([
            "attention.attention.query",
            "attention.attention.key",
            "attention.attention.value",
        ]),
        output: "attention.output.dense",
        mlp_norm: "layernorm_after",
        fc1: "intermediate.dense",
        fc2: "output.dense",
    };
    /// transformers' BERT.
    pub const BERT: Self = Self {
        attention_norm: "attention.output.LayerNorm",
        qkv: QkvKeys::Separate([
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
        ]),
        output: "attention.output.dense",
        mlp_norm: "output.LayerNorm",
        fc1: "intermediate.dense",
        fc2: "output.dense",
    };
    /// OpenAI's and open_clip's CLIP.
    pub const OPEN_CLIP: Self = Self {
        attention_norm: "ln_1",
        qkv: QkvKeys::Fused(["attn.in_proj_weight", "attn.in_proj_bias"]),
        output: "attn.out_proj",
        mlp_norm: "ln_2",
        fc1: "mlp.c_fc",
        fc2: "mlp.c_proj",
    };
    /// timm's vision transformer.
    pub const TIMM: Self = Self {
        attention_norm: "norm1",
        qkv: QkvKeys::Fused(["attn.qkv.weight", "attn.qkv.bias"]),
        output: "attn.proj",
        mlp_norm: "norm2",
        fc1: "mlp.fc1",
        fc2: "mlp.fc2",
    };

    /// Binds the block at `path` to the tensors that begin with `prefix`.
    pub fn bind(&self, bindings: &mut Bindings, path: &str, prefix: &str, block: &BlockConfig) {
        let key = |name: &str| format!("{prefix}.{name}");
        bindings.norm(&format!("{path}.attention_norm"), &key(self.attention_norm));
        let attention = format!("{path}.attention");
        let bias = block.attention.qkv_bias;
        match self.qkv {
            QkvKeys::Separate(names) => {
                for (part, name) in ["query", "key", "value"].into_iter().zip(names) {
                    bindings.linear(&format!("{attention}.{part}"), &key(name), bias);
                }
            }
            QkvKeys::Fused([weight, bias_name]) => {
                let bias_name = bias.then(|| key(bias_name));
                bindings.fused_qkv(&attention, &key(weight), bias_name.as_deref());
            }
        }
        if block.attention.qk_norm.is_some() {
            bindings.norm(&format!("{attention}.query_norm"), &key("attn.q_norm"));
            bindings.norm(&format!("{attention}.key_norm"), &key("attn.k_norm"));
        }
        bindings.linear(&format!("{attention}.output"), &key(self.output), true);
        bindings.norm(&format!("{path}.mlp_norm"), &key(self.mlp_norm));
        bindings.linear(&format!("{path}.mlp.fc1"), &key(self.fc1), true);
        bindings.linear(&format!("{path}.mlp.fc2"), &key(self.fc2), true);
        if block.layer_scale.is_some() {
            let [first, second] = self.scales();
            bindings.bind(format!("{path}.attention_scale"), key(first), Layout::Same);
            bindings.bind(format!("{path}.mlp_scale"), key(second), Layout::Same);
        }
    }

    fn scales(&self) -> [&'static str; 2] {
        match self.attention_norm {
            "ln_1" => ["ls_1.gamma", "ls_2.gamma"],
            _ => ["ls1.gamma", "ls2.gamma"],
        }
    }
}
