//! The vision transformer (Dosovitskiy et al. 2021), as a chain of segments.

use burn::{
    module::{Module, ModuleDisplay},
    tensor::{Device, Int, Tensor},
};
use checkpointing::{Chain, Passenger, State};
use peft::{Adaptable, Visit};
use transformer::{Block, Locked, POOLED, Tokens, push_blocks};

use crate::{PatchEmbed, Pooling, VisionConfig, VisionHead};

/// A tower from pictures to features: what fusion needs to know of it.
pub trait VisionEncoder: Module + ModuleDisplay + Sync {
    /// The chain, from the passenger `"pixels"` `[batch, channels, height, width]` to features
    /// `[batch, 1, d_output]`.
    fn chain(&self, tokens: Tokens) -> Chain<'_>;

    /// The place of the one token that the features are made of, `[batch, 1]`, if it is one: the state carries it to
    /// the chain of that token as [`POOLED`].
    fn pooled(&self, input: &State) -> Option<Tensor<2, Int>>;

    /// The state that makes features of pictures, `[batch, channels, height, width]`, and of nothing else.
    fn input(&self, pixels: Tensor<4>) -> State {
        let state = State::default().with("pixels", Passenger::Pixels(pixels));
        match self.pooled(&state) {
            None => state,
            Some(place) => state.with(POOLED, Passenger::Ids(place)),
        }
    }
}

/// A vision transformer of any of the families [`VisionConfig`] knows.
#[derive(Module, Debug)]
pub struct VisionTransformer {
    /// From pixels to hidden states.
    pub embed: PatchEmbed,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// From hidden states to features.
    pub head: VisionHead,
    pools_class: bool,
}

impl VisionConfig {
    /// Initialises the tower. Nothing is allocated until the first use.
    pub fn init(&self, device: &Device) -> VisionTransformer {
        VisionTransformer {
            embed: PatchEmbed::new(self, device),
            blocks: (0..self.sizes.n_layers)
                .map(|_| self.block().init(device))
                .collect(),
            pools_class: self.pooling == Pooling::Class,
            head: VisionHead::new(self, device),
        }
    }
}

impl VisionTransformer {
    /// The tower with a part of it frozen.
    pub fn locked(mut self, part: Locked) -> Self {
        if part == Locked::Whole {
            return self.no_grad();
        }
        (self.embed, self.blocks) = part.freeze(self.embed, self.blocks);
        if part == Locked::Body {
            let head = &mut self.head;
            head.token_norm = head.token_norm.take().map(Module::no_grad);
            head.attention_pool = head.attention_pool.take().map(Module::no_grad);
            head.pooled_norm = head.pooled_norm.take().map(Module::no_grad);
        }
        self
    }
}

impl VisionEncoder for VisionTransformer {
    fn chain(&self, tokens: Tokens) -> Chain<'_> {
        let mut chain = Chain::new();
        chain.push("embed", &self.embed);
        let pools_one = self.pools_class && tokens == Tokens::Pooled;
        push_blocks(&mut chain, &self.blocks, pools_one);
        chain.push("head", &self.head);
        chain
    }

    fn pooled(&self, input: &State) -> Option<Tensor<2, Int>> {
        let pixels = input.pixels("pixels");
        let first = || Tensor::zeros([pixels.dims()[0], 1], &pixels.device());
        self.pools_class.then(first)
    }
}

impl Adaptable for VisionTransformer {
    fn places(&mut self, visit: &mut Visit<'_>) {
        visit.within("embed", &mut self.embed);
        visit.within("blocks", &mut self.blocks);
        visit.within("head", &mut self.head);
    }
}
