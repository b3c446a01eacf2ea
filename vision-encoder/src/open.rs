//! The config files of open_clip and timm.

use serde::Deserialize;
use serde_json::Value;
use transformer::Activation;

use crate::{ConfigError, Pooling, VisionConfig};

/// open_clip's `vision_cfg`. A key this crate does not know would change the model silently, so
/// it is an error.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct OpenClipVision {
    layers: usize,
    width: usize,
    head_width: usize,
    mlp_ratio: f64,
    patch_size: usize,
    image_size: usize,
    ls_init_value: Option<f64>,
    patch_dropout: f64,
    pool_type: String,
    no_ln_pre: bool,
    final_ln_after_pool: bool,
    norm_kwargs: NormKwargs,
    act_kwargs: ActKwargs,
}

impl Default for OpenClipVision {
    fn default() -> Self {
        Self {
            layers: 12,
            width: 768,
            head_width: 64,
            mlp_ratio: 4.0,
            patch_size: 16,
            image_size: 224,
            ls_init_value: None,
            patch_dropout: 0.0,
            pool_type: "tok".into(),
            no_ln_pre: false,
            final_ln_after_pool: false,
            norm_kwargs: NormKwargs::default(),
            act_kwargs: ActKwargs::default(),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct NormKwargs {
    eps: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ActKwargs {
    approximate: Option<String>,
}

impl VisionConfig {
    /// The `vision_cfg` of an open_clip model; `embed_dim` and `quick_gelu` are the model's.
    pub fn from_open_clip(
        json: &Value,
        embed_dim: usize,
        quick_gelu: bool,
    ) -> Result<Self, ConfigError> {
        let cfg = OpenClipVision::deserialize(json)?;
        let activation = match (quick_gelu, cfg.act_kwargs.approximate.as_deref()) {
            (true, _) => Activation::QuickGelu,
            (false, None | Some("none")) => Activation::Gelu,
            (false, Some("tanh")) => Activation::GeluTanh,
            (false, Some(other)) => {
                return Err(unsupported("act_kwargs.approximate", other, "none, tanh"));
            }
        };
        let pooling = match cfg.pool_type.as_str() {
            "tok" => Pooling::Class,
            "avg" => Pooling::Average,
            other => return Err(unsupported("pool_type", other, "tok, avg")),
        };
        let norm_tokens = pooling == Pooling::Average && !cfg.final_ln_after_pool;
        Self {
            n_heads: cfg.width / cfg.head_width.max(1),
            d_hidden: (cfg.width as f64 * cfg.mlp_ratio) as usize,
            activation,
            norm_epsilon: cfg.norm_kwargs.eps.unwrap_or(1e-5),
            pre_norm: !cfg.no_ln_pre,
            layer_scale: cfg.ls_init_value,
            token_norm: norm_tokens,
            pooled_norm: !norm_tokens,
            pooling,
            d_output: Some(embed_dim),
            patch_dropout: cfg.patch_dropout,
            ..Self::clip(cfg.image_size, cfg.patch_size, cfg.width, cfg.layers)
        }
        .checked()
    }

    /// A timm vision transformer's `config.json`: `architecture` with `model_args` over it.
    pub fn from_timm(json: &Value) -> Result<Self, ConfigError> {
        let name = json
            .get("architecture")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let sizes = timm_sizes(name).ok_or_else(|| {
            unsupported(
                "architecture",
                name,
                "vit_{tiny,small,base,large,huge}_patch<P>_<size>",
            )
        })?;
        let null = Value::Object(serde_json::Map::new());
        let mut args = TimmArgs::deserialize(json.get("model_args").unwrap_or(&null))?;
        let top = |key: &str| json.get(key).cloned();
        if let (None, Some(classes)) = (args.num_classes, top("num_classes")) {
            args.num_classes = serde_json::from_value(classes)?;
        }
        if let (None, Some(pool)) = (&args.global_pool, top("global_pool")) {
            args.global_pool = serde_json::from_value(pool)?;
        }
        args.fill(sizes)
    }
}

fn unsupported(key: &str, found: &str, supported: &'static str) -> ConfigError {
    ConfigError::Unsupported {
        key: key.into(),
        found: format!("\"{found}\""),
        supported,
    }
}

/// `[width, layers, heads, patch_size, image_size]` of a timm name.
fn timm_sizes(name: &str) -> Option<[usize; 5]> {
    let rest = name.split('.').next()?.strip_prefix("vit_")?;
    let (size, rest) = rest.split_once("_patch")?;
    let (patch, image) = rest.split_once('_')?;
    let [width, layers, heads] = match size {
        "tiny" => [192, 12, 3],
        "small" => [384, 12, 6],
        "base" => [768, 12, 12],
        "large" => [1024, 24, 16],
        "huge" => [1280, 32, 16],
        _ => return None,
    };
    Some([
        width,
        layers,
        heads,
        patch.parse().ok()?,
        image.parse().ok()?,
    ])
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TimmArgs {
    img_size: Option<usize>,
    patch_size: Option<usize>,
    in_chans: Option<usize>,
    embed_dim: Option<usize>,
    depth: Option<usize>,
    num_heads: Option<usize>,
    mlp_ratio: Option<f64>,
    num_classes: Option<usize>,
    global_pool: Option<String>,
    init_values: Option<f64>,
    qk_norm: bool,
    class_token: Option<bool>,
    reg_tokens: usize,
    qkv_bias: Option<bool>,
    pre_norm: bool,
    fc_norm: Option<bool>,
    no_embed_class: bool,
}

impl TimmArgs {
    fn fill(self, sizes: [usize; 5]) -> Result<VisionConfig, ConfigError> {
        let [width, layers, heads, patch, image] = sizes;
        let width = self.embed_dim.unwrap_or(width);
        let class_token = self.class_token.unwrap_or(true);
        if self.reg_tokens > 0 {
            return Err(unsupported("reg_tokens", &self.reg_tokens.to_string(), "0"));
        }
        if self.no_embed_class && class_token {
            return Err(unsupported("no_embed_class", "true", "false"));
        }
        let pooling = match self.global_pool.as_deref() {
            None | Some("token") => Pooling::Class,
            Some("avg") => Pooling::Average,
            Some("") => Pooling::None,
            Some(other) => return Err(unsupported("global_pool", other, "token, avg, \"\"")),
        };
        let pooled_norm = self.fc_norm.unwrap_or(pooling == Pooling::Average);
        let classes = self.num_classes.unwrap_or(1000);
        VisionConfig {
            channels: self.in_chans.unwrap_or(3),
            n_heads: self.num_heads.unwrap_or(heads),
            d_hidden: (width as f64 * self.mlp_ratio.unwrap_or(4.0)) as usize,
            norm_epsilon: 1e-6,
            class_token,
            // timm drops the patch bias where a norm follows at once.
            patch_bias: !self.pre_norm,
            pre_norm: self.pre_norm,
            qkv_bias: self.qkv_bias.unwrap_or(true),
            qk_norm: self.qk_norm,
            layer_scale: self.init_values,
            token_norm: !pooled_norm,
            pooled_norm,
            pooling,
            d_output: (classes > 0).then_some(classes),
            output_bias: true,
            ..VisionConfig::clip(
                self.img_size.unwrap_or(image),
                self.patch_size.unwrap_or(patch),
                width,
                self.depth.unwrap_or(layers),
            )
        }
        .checked()
    }
}
