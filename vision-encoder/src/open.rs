//! The config files of open_clip and timm.

use serde_json::Value;
use transformer::{
    Activation, ConfigError, Section, TowerSizes,
    config::{limits, within},
};

use crate::{Pooling, VisionConfig};

/// The keys of open_clip's towers. One that is not known would change the model silently, so it is an error.
const OPEN_CLIP: [&str; 32] = [
    "act_kwargs",
    "attentional_pool",
    "attn_pooler_heads",
    "attn_pooler_queries",
    "block_type",
    "final_ln_after_pool",
    "head_width",
    "image_size",
    "layers",
    "ls_init_value",
    "mlp_ratio",
    "no_ln_pre",
    "norm_kwargs",
    "output_tokens",
    "patch_dropout",
    "patch_size",
    "pool_type",
    "pos_embed_type",
    "qk_norm",
    "scale_attn",
    "scale_attn_inner",
    "scale_fc",
    "scale_heads",
    "scaled_cosine_attn",
    "timm_drop",
    "timm_drop_path",
    "timm_model_name",
    "timm_model_pretrained",
    "timm_pool",
    "timm_proj",
    "timm_proj_bias",
    "width",
];

impl VisionConfig {
    /// The `vision_cfg` of an open_clip model; `embed_dim` and `quick_gelu` are the model's.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_open_clip(
        json: &Section,
        embed_dim: usize,
        quick_gelu: bool,
    ) -> Result<Self, ConfigError> {
        if json.has("timm_model_name") {
            return Self::from_open_clip_timm(json, embed_dim);
        }
        json.only(&OPEN_CLIP)?;
        // A list of four makes it a ResNet.
        let layers = json.size("layers", 12)?;
        json.open_clip_plain_blocks()?;
        json.require("attentional_pool", false)?;
        json.require("pos_embed_type", "learnable")?;
        let pooling = match json.text("pool_type")?.unwrap_or("tok") {
            "tok" => Pooling::Class,
            "avg" => Pooling::Average,
            _ => return Err(json.unsupported("pool_type", "tok, avg")),
        };
        let width = json.size("width", 768)?;
        within(|| json.path_of("width"), width, &limits::WIDTH)?;
        let n_heads = width.checked_div(json.size("head_width", 64)?);
        let Some(n_heads) = n_heads.filter(|n| *n > 0 && width.is_multiple_of(*n)) else {
            return Err(json.unsupported("head_width", &format!("a divisor of `width`, {width}")));
        };
        let pooled_norm = json.flag("final_ln_after_pool", false)?;
        // A norm of each token on its own is the same before and after one is picked.
        let norm_tokens = pooling == Pooling::Average && !pooled_norm;
        let mut base = Self::clip(
            json.size("image_size", 224)?,
            json.size("patch_size", 16)?,
            width,
            layers,
        );
        base.sizes.n_heads = n_heads;
        base.sizes.read_open_clip(json, quick_gelu)?;
        let config = Self {
            pre_norm: !json.flag("no_ln_pre", false)?,
            layer_scale: json.optional_number("ls_init_value")?,
            token_norm: norm_tokens,
            pooled_norm: !norm_tokens,
            pooling,
            d_output: Some(embed_dim),
            patch_dropout: json.number("patch_dropout", 0.0)?,
            ..base
        };
        config.checked_as(&|field| json.path_of(open_clip_key(field)))
    }

    /// A SigLIP tower, which open_clip takes from timm.
    fn from_open_clip_timm(json: &Section, embed_dim: usize) -> Result<Self, ConfigError> {
        let name = json.text("timm_model_name")?.unwrap_or_default();
        let Some(config) = timm_siglip(name) else {
            let supported = "vit_{base,large,so400m,giantopt}_patch<P>_siglip_<size>";
            return Err(json.unsupported("timm_model_name", supported));
        };
        json.only(&OPEN_CLIP)?;
        for (key, only) in [("timm_pool", "map"), ("timm_proj", "none")] {
            if json.text(key)? != Some(only) {
                return Err(json.unsupported(key, only));
            }
        }
        // timm takes the size from the name.
        if json.size("image_size", 224)? != config.image_size {
            let supported = format!("{}, as `timm_model_name` says", config.image_size);
            return Err(json.unsupported("image_size", &supported));
        }
        if embed_dim != config.sizes.d_model {
            let supported = format!("a tower as wide as `embed_dim`, {embed_dim}");
            return Err(json.unsupported("timm_model_name", &supported));
        }
        let config = Self {
            patch_dropout: json.number("patch_dropout", 0.0)?,
            ..config
        };
        config.checked_as(&|field| json.path_of(open_clip_key(field)))
    }

    /// The name of this SigLIP tower in timm, if it has one.
    pub fn timm_siglip_name(&self) -> Option<String> {
        let size = match self.sizes.d_model {
            768 => "base",
            1024 => "large",
            1152 => "so400m",
            1536 => "giantopt",
            _ => return None,
        };
        let name = format!(
            "vit_{size}_patch{}_siglip_{}",
            self.patch_size, self.image_size
        );
        let mut named = timm_siglip(&name)?;
        named.patch_dropout = self.patch_dropout;
        named.sizes.dropout = self.sizes.dropout;
        (named == *self).then_some(name)
    }

    /// A timm vision transformer's `config.json`: `architecture` with `model_args` over it.
    ///
    /// # Errors
    ///
    /// Names the key that is at fault.
    pub fn from_timm(json: &Value) -> Result<Self, ConfigError> {
        let root = Section::root(json)?;
        let name = root.text("architecture")?.unwrap_or_default();
        let Some(base) = timm_sizes(name) else {
            let supported = "vit_{tiny,small,base,large,huge}_patch<P>_<size>";
            return Err(root.unsupported("architecture", supported));
        };
        base.read_timm(&root, &root.section("model_args")?)
    }

    fn read_timm(self, root: &Section, args: &Section) -> Result<Self, ConfigError> {
        args.only(&TIMM)?;
        let class_token = args.flag("class_token", true)?;
        args.require("reg_tokens", 0)?;
        if class_token {
            args.require("no_embed_class", false)?;
        }
        // `model_args` go before what stands beside them.
        let before = |key: &str| {
            if args.has(key) {
                args.clone()
            } else {
                root.clone()
            }
        };
        let from = before("global_pool");
        let pooling = match from.text("global_pool")?.unwrap_or("token") {
            "token" => Pooling::Class,
            "avg" => Pooling::Average,
            "" => Pooling::None,
            _ => return Err(from.unsupported("global_pool", "token, avg, \"\"")),
        };
        let pooled_norm = args.flag("fc_norm", pooling == Pooling::Average)?;
        let classes = before("num_classes").size("num_classes", 1000)?;
        let pre_norm = args.flag("pre_norm", false)?;
        let width = args.size("embed_dim", self.sizes.d_model)?;
        within(|| args.path_of("embed_dim"), width, &limits::WIDTH)?;
        let config = Self {
            image_size: args.size("img_size", self.image_size)?,
            patch_size: args.size("patch_size", self.patch_size)?,
            channels: args.size("in_chans", 3)?,
            sizes: TowerSizes {
                d_model: width,
                n_layers: args.size("depth", self.sizes.n_layers)?,
                n_heads: args.size("num_heads", self.sizes.n_heads)?,
                d_hidden: args.hidden("mlp_ratio", 4.0, width)?,
                norm_epsilon: 1e-6,
                ..self.sizes
            },
            class_token,
            // timm drops the patch bias where a norm follows at once.
            patch_bias: !pre_norm,
            pre_norm,
            qkv_bias: args.flag("qkv_bias", true)?,
            qk_norm: args.flag("qk_norm", false)?,
            layer_scale: args.optional_number("init_values")?,
            token_norm: !pooled_norm,
            pooled_norm,
            pooling,
            d_output: (classes > 0).then_some(classes),
            output_bias: true,
            ..self
        };
        config.checked_as(&|field| args.path_of(timm_key(field)))
    }
}

/// What a timm vision transformer may be told.
const TIMM: [&str; 17] = [
    "img_size",
    "patch_size",
    "in_chans",
    "embed_dim",
    "depth",
    "num_heads",
    "mlp_ratio",
    "num_classes",
    "global_pool",
    "init_values",
    "qk_norm",
    "class_token",
    "reg_tokens",
    "qkv_bias",
    "pre_norm",
    "fc_norm",
    "no_embed_class",
];

/// open_clip's name of a field.
fn open_clip_key(field: &str) -> &str {
    match field {
        "d_model" => "width",
        "n_layers" => "layers",
        "norm_epsilon" => "norm_kwargs.eps",
        other => other,
    }
}

/// timm's name of a field.
fn timm_key(field: &str) -> &str {
    match field {
        "image_size" => "img_size",
        "channels" => "in_chans",
        "d_model" => "embed_dim",
        "n_layers" => "depth",
        "n_heads" => "num_heads",
        "d_hidden" => "mlp_ratio",
        "d_output" => "num_classes",
        other => other,
    }
}

/// Patch and picture of a timm name: `<P>_<size>`.
fn patch_and_size(text: &str) -> Option<(usize, usize)> {
    let (patch, size) = text.split_once('_')?;
    Some((patch.parse().ok()?, size.parse().ok()?))
}

/// The sizes of a timm name.
fn timm_sizes(name: &str) -> Option<VisionConfig> {
    let rest = name.split('.').next()?.strip_prefix("vit_")?;
    let (size, rest) = rest.split_once("_patch")?;
    let (patch, image) = patch_and_size(rest)?;
    let [width, layers, heads] = match size {
        "tiny" => [192, 12, 3],
        "small" => [384, 12, 6],
        "base" => [768, 12, 12],
        "large" => [1024, 24, 16],
        "huge" => [1280, 32, 16],
        _ => return None,
    };
    let mut config = VisionConfig::clip(image, patch, width, layers);
    config.sizes.n_heads = heads;
    Some(config)
}

/// The SigLIP tower of a timm name. Only those with the newer weights alone have the tanh gelu there.
fn timm_siglip(name: &str) -> Option<VisionConfig> {
    let rest = name.split('.').next()?.strip_prefix("vit_")?;
    let (size, rest) = rest.split_once("_patch")?;
    let (patch, image) = rest.split_once("_siglip_")?;
    let (patch, image): (usize, usize) = (patch.parse().ok()?, image.parse().ok()?);
    let exact = Activation::Gelu;
    let tanh = Activation::GeluTanh;
    let (activation, [width, layers, heads, hidden]) = match (size, patch, image) {
        ("base", 32, 256) => (tanh, [768, 12, 12, 3072]),
        ("base", 16, 224 | 256 | 384 | 512) => (exact, [768, 12, 12, 3072]),
        ("large", 16, 256 | 384) => (exact, [1024, 24, 16, 4096]),
        ("large", 16, 512) => (tanh, [1024, 24, 16, 4096]),
        ("so400m", 14, 224 | 378 | 384) => (exact, [1152, 27, 16, 4304]),
        ("so400m", 16, 256 | 384 | 512) => (tanh, [1152, 27, 16, 4304]),
        ("giantopt", 16, 256 | 384) => (tanh, [1536, 40, 16, 6144]),
        _ => return None,
    };
    let mut config = VisionConfig::siglip(image, patch, width, layers);
    config.sizes.activation = activation;
    config.sizes.n_heads = heads;
    config.sizes.d_hidden = hidden;
    Some(config)
}
