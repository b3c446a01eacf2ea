//! Sizes of a text transformer.

use transformer::{
    Activation, BlockConfig, ConfigError, NormOrder, TowerSizes,
    config::{elements, limits, linear_parameters, sum, within},
};

/// Which token stands for the caption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextPooling {
    /// The first token with this id (end-of-text).
    FirstOf(i64),
    /// The token with the highest id: end-of-text in OpenAI's and open_clip's vocabularies.
    HighestId,
    /// The first position (BERT's class token).
    First,
    /// The last position, usually padding (SigLIP).
    Last,
}

/// Sizes and variants of a text transformer.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Longest caption in tokens.
    pub context: usize,
    /// Sizes of its blocks.
    pub sizes: TowerSizes,
    /// Where the blocks normalise.
    pub norm_order: NormOrder,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
    /// Number of segment ids, 0 for none (BERT: 2).
    pub segment_types: usize,
    /// Whether the embeddings are normalised (BERT).
    pub embed_norm: bool,
    /// The id whose embedding row receives no gradient from look-ups (torch's `padding_idx`).
    pub padding_id: Option<usize>,
    /// A norm after the last block.
    pub final_norm: bool,
    /// Which token stands for the caption.
    pub pooling: TextPooling,
    /// A tanh layer on the pooled token (BERT's pooler).
    pub pooler: bool,
    /// Width of the projection; none leaves the pooled token.
    pub d_output: Option<usize>,
    /// Whether the projection has a bias.
    pub output_bias: bool,
}

impl TextConfig {
    /// CLIP's text tower of the given sizes, as open_clip builds it: causal, pooled at the highest
    /// id, exact gelu, epsilon 1e-5.
    pub fn clip(vocab_size: usize, context: usize, d_model: usize, n_layers: usize) -> Self {
        Self {
            vocab_size,
            context,
            sizes: TowerSizes::new(d_model, n_layers),
            norm_order: NormOrder::Pre,
            causal: true,
            segment_types: 0,
            embed_norm: false,
            padding_id: None,
            final_norm: true,
            pooling: TextPooling::HighestId,
            pooler: false,
            d_output: None,
            output_bias: false,
        }
    }

    /// SigLIP's text tower: bidirectional without a mask, pooled at the last position, tanh gelu,
    /// epsilon 1e-6, a projection with a bias.
    pub fn siglip(vocab_size: usize, context: usize, d_model: usize, n_layers: usize) -> Self {
        Self {
            sizes: TowerSizes {
                activation: Activation::GeluTanh,
                norm_epsilon: 1e-6,
                ..TowerSizes::new(d_model, n_layers)
            },
            causal: false,
            pooling: TextPooling::Last,
            output_bias: true,
            ..Self::clip(vocab_size, context, d_model, n_layers)
        }
    }

    /// BERT of the given sizes (Devlin et al. 2019): post-norm, segment ids, a pooler.
    pub fn bert(vocab_size: usize, context: usize, d_model: usize, n_layers: usize) -> Self {
        Self {
            sizes: TowerSizes {
                norm_epsilon: 1e-12,
                ..TowerSizes::new(d_model, n_layers)
            },
            norm_order: NormOrder::Post,
            causal: false,
            segment_types: 2,
            embed_norm: true,
            padding_id: Some(0),
            final_norm: false,
            pooling: TextPooling::First,
            pooler: true,
            ..Self::clip(vocab_size, context, d_model, n_layers)
        }
    }

    /// Whether captions may be cut to the longest of a batch without changing a feature: what
    /// stands behind a caption is never seen by the pooled token.
    pub fn trims(&self) -> bool {
        match self.pooling {
            TextPooling::Last => false,
            TextPooling::First => true,
            TextPooling::FirstOf(_) | TextPooling::HighestId => self.causal,
        }
    }

    /// Whether the tower must be told which tokens are padding.
    pub fn needs_mask(&self) -> bool {
        !self.causal && self.pooling != TextPooling::Last
    }

    /// One block of the tower.
    pub fn block(&self) -> BlockConfig {
        let mut block = self.sizes.block();
        block.norm_order = self.norm_order;
        block.attention.causal = self.causal;
        block
    }

    /// Elements of all parameters, in closed form: nothing is built.
    pub fn parameters(&self) -> u64 {
        let d_model = self.sizes.d_model;
        let norm = |wanted: bool| if wanted { elements(&[2, d_model]) } else { 0 };
        sum(&[
            elements(&[self.vocab_size, d_model]),
            elements(&[self.context, d_model]),
            elements(&[self.segment_types, d_model]),
            norm(self.embed_norm),
            self.block()
                .parameters()
                .saturating_mul(self.sizes.n_layers as u64),
            norm(self.final_norm),
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
            ("vocab_size", self.vocab_size, limits::VOCABULARY),
            ("context", self.context, limits::CONTEXT),
            ("segment_types", self.segment_types, limits::SEGMENTS),
            ("d_output", self.d_output.unwrap_or(1), limits::WIDTH),
        ];
        for (field, size, bounds) in sizes {
            within(|| key(field), size, &bounds)?;
        }
        self.sizes.check(key)?;
        let is_token = |id: i64| usize::try_from(id).is_ok_and(|id| id < self.vocab_size);
        let outside = |field: &str, id: i64| {
            let last = self.vocab_size - 1;
            let supported = format!("0 to {last}, a token of the vocabulary");
            ConfigError::out_of_bounds(key(field), id, supported)
        };
        if let TextPooling::FirstOf(id) = self.pooling
            && !is_token(id)
        {
            return Err(outside("pooling", id));
        }
        if let Some(id) = self.padding_id.map(|id| i64::try_from(id).unwrap_or(-1))
            && !is_token(id)
        {
            return Err(outside("padding_id", id));
        }
        Ok(self)
    }
}
