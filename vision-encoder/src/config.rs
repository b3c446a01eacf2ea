//! Sizes of a vision transformer.

use serde::{Deserialize, Serialize};
use transformer::{
    Activation, BlockConfig, ConfigError, TowerSizes,
    config::{dropped_share, elements, limits, linear_parameters, sum, within},
};

/// How the tokens become one feature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The class token.
    #[default]
    Class,
    /// The mean of the patch tokens.
    Average,
    /// A learned query (SigLIP).
    Attention,
    /// No pooling: every token.
    None,
}

/// Side of a square picture in pixels.
pub type ImageSize = usize;

/// Sizes and variants of a vision transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Side of the square input in pixels.
    pub image_size: ImageSize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Channels of the input.
    pub channels: usize,
    /// Sizes of its blocks.
    pub sizes: TowerSizes,
    /// Whether a learned token stands in front of the patches.
    pub class_token: bool,
    /// Whether the patch map has a bias.
    pub patch_bias: bool,
    /// Whether the embeddings are normalised (CLIP).
    pub pre_norm: bool,
    /// Whether query, key and value maps have biases.
    pub qkv_bias: bool,
    /// Whether queries and keys are normalised in each head.
    pub qk_norm: bool,
    /// Start of LayerScale, if there is one.
    pub layer_scale: Option<f64>,
    /// A norm on every token before pooling.
    pub token_norm: bool,
    /// A norm on the pooled token.
    pub pooled_norm: bool,
    /// How tokens become one.
    pub pooling: Pooling,
    /// A tanh layer on the pooled token (`ViTModel`'s pooler).
    pub pooler: bool,
    /// Width of the projection or number of classes; none leaves the pooled token.
    pub d_output: Option<usize>,
    /// Whether the projection has a bias.
    pub output_bias: bool,
    /// Share of patches dropped in training (FLIP, an approximation).
    pub patch_dropout: f64,
}

impl VisionConfig {
    /// CLIP's vision tower of the given sizes, as open_clip builds it from scratch: class token,
    /// pre-norm, exact gelu, epsilon 1e-5, four times as wide inside.
    pub fn clip(image_size: usize, patch_size: usize, d_model: usize, n_layers: usize) -> Self {
        Self {
            image_size,
            patch_size,
            channels: 3,
            sizes: TowerSizes::new(d_model, n_layers),
            class_token: true,
            patch_bias: false,
            pre_norm: true,
            qkv_bias: true,
            qk_norm: false,
            layer_scale: None,
            token_norm: false,
            pooled_norm: true,
            pooling: Pooling::Class,
            pooler: false,
            d_output: None,
            output_bias: false,
            patch_dropout: 0.0,
        }
    }

    /// SigLIP's vision tower of the given sizes: no class token, a norm on all tokens, attention
    /// pooling, tanh gelu, epsilon 1e-6.
    pub fn siglip(image_size: usize, patch_size: usize, d_model: usize, n_layers: usize) -> Self {
        Self {
            sizes: TowerSizes {
                activation: Activation::GeluTanh,
                norm_epsilon: 1e-6,
                ..TowerSizes::new(d_model, n_layers)
            },
            class_token: false,
            patch_bias: true,
            pre_norm: false,
            token_norm: true,
            pooled_norm: false,
            pooling: Pooling::Attention,
            ..Self::clip(image_size, patch_size, d_model, n_layers)
        }
    }

    /// A ViT image classifier of the given sizes as `transformers` builds it (Dosovitskiy et al. 2021): class token, a norm
    /// on all tokens, exact gelu, epsilon 1e-12, a bias in the projection.
    pub fn vit(image_size: usize, patch_size: usize, d_model: usize, n_layers: usize) -> Self {
        Self {
            sizes: TowerSizes {
                norm_epsilon: 1e-12,
                ..TowerSizes::new(d_model, n_layers)
            },
            patch_bias: true,
            pre_norm: false,
            token_norm: true,
            pooled_norm: false,
            output_bias: true,
            ..Self::clip(image_size, patch_size, d_model, n_layers)
        }
    }

    /// Patches along a side.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size.max(1)
    }

    /// Tokens of a picture, class token included.
    pub fn tokens(&self) -> usize {
        self.grid().saturating_pow(2) + usize::from(self.class_token)
    }

    /// One block of the tower.
    pub fn block(&self) -> BlockConfig {
        let mut block = self.sizes.block();
        block.layer_scale = self.layer_scale;
        block.attention.qkv_bias = self.qkv_bias;
        block.attention.qk_norm = self.qk_norm.then_some(self.sizes.norm_epsilon);
        block
    }

    /// Elements of all parameters, in closed form: nothing is built.
    pub fn parameters(&self) -> u64 {
        let d_model = self.sizes.d_model;
        let norm = |wanted: bool| if wanted { elements(&[2, d_model]) } else { 0 };
        let patch = elements(&[self.channels, self.patch_size, self.patch_size]);
        let patch = usize::try_from(patch).unwrap_or(usize::MAX);
        sum(&[
            linear_parameters(patch, d_model, self.patch_bias),
            if self.class_token { d_model as u64 } else { 0 },
            elements(&[self.tokens(), d_model]),
            norm(self.pre_norm),
            self.block()
                .parameters()
                .saturating_mul(self.sizes.n_layers as u64),
            norm(self.token_norm),
            if self.pooling == Pooling::Attention {
                self.pool_parameters()
            } else {
                0
            },
            norm(self.pooled_norm),
            if self.pooler {
                linear_parameters(d_model, d_model, true)
            } else {
                0
            },
            self.d_output.map_or(0, |d_output| {
                linear_parameters(d_model, d_output, self.output_bias)
            }),
        ])
    }

    /// The learned query, and a block without its first norm.
    fn pool_parameters(&self) -> u64 {
        let block = self.sizes.block().parameters();
        block.saturating_sub(self.sizes.d_model as u64)
    }

    /// Checks that the sizes are within bounds and fit each other.
    ///
    /// # Errors
    ///
    /// Names the field.
    pub fn checked(self) -> Result<Self, ConfigError> {
        self.checked_as(&str::to_string)
    }

    /// As [`checked`](Self::checked), for sizes that were read from a file: `key` says by which key a field was read.
    ///
    /// # Errors
    ///
    /// Names the key.
    pub fn checked_as(self, key: &dyn Fn(&str) -> String) -> Result<Self, ConfigError> {
        let sizes = [
            ("image_size", self.image_size, limits::IMAGE_SIZE),
            ("patch_size", self.patch_size, limits::IMAGE_SIZE),
            ("channels", self.channels, limits::CHANNELS),
            ("d_output", self.d_output.unwrap_or(1), limits::VOCABULARY),
        ];
        for (field, size, bounds) in sizes {
            within(|| key(field), size, &bounds)?;
        }
        if self.patch_size > self.image_size {
            let supported = format!("1 to {}, the side of the picture", self.image_size);
            let found = self.patch_size;
            return Err(ConfigError::out_of_bounds(
                key("patch_size"),
                found,
                supported,
            ));
        }
        if !limits::PATCHES.contains(&self.grid().pow(2)) {
            let most = self.patch_size * limits::PATCHES.end().isqrt();
            let supported = format!("up to {most} with patches of {}", self.patch_size);
            let found = self.image_size;
            return Err(ConfigError::out_of_bounds(
                key("image_size"),
                found,
                supported,
            ));
        }
        self.sizes.check(key)?;
        dropped_share(|| key("patch_dropout"), self.patch_dropout)?;
        Ok(self)
    }
}
