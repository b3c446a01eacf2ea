//! The text transformer, as a chain of segments.

use burn::{
    module::{Module, ModuleDisplay},
    tensor::{Bool, Device, Int, Tensor},
};
use checkpointing::{Chain, Passenger, State};
use peft::{Adaptable, LinearConfig, Visit};
use transformer::{Block, BlockConfig, Locked, NormOrder, POOLED, Tokens, push_blocks};

use crate::{TextConfig, TextEmbed, TextHead};

/// A tower from token ids to features: what fusion needs to know of it.
pub trait TextEncoder: Module + ModuleDisplay + Sync {
    /// The chain, from the passenger `"ids"` `[batch, tokens]` (and `"mask"`, `"segments"` where
    /// the tower reads them) to features `[batch, 1, d_output]`.
    fn chain(&self, tokens: Tokens) -> Chain<'_>;

    /// The place of the one token that the features are made of, `[batch, 1]`, if it is one: the state carries it to
    /// the chain of that token as [`POOLED`].
    fn pooled(&self, input: &State) -> Option<Tensor<2, Int>>;

    /// The state that makes features of captions, ids and mask `[batch, tokens]`, and of nothing else.
    fn input(&self, ids: Tensor<2, Int>, mask: Option<Tensor<2, Bool>>) -> State {
        let mut state = State::default().with("ids", Passenger::Ids(ids));
        if let Some(mask) = mask {
            state = state.with("mask", Passenger::Mask(mask));
        }
        match self.pooled(&state) {
            None => state,
            Some(place) => state.with(POOLED, Passenger::Ids(place)),
        }
    }
}

/// A text transformer of any of the families [`TextConfig`] knows.
#[derive(Module, Debug)]
pub struct TextTransformer {
    /// From ids to hidden states.
    pub embed: TextEmbed,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// From hidden states to features.
    pub head: TextHead,
}

/// The deviation of BERT's weights at the start.
const BERT: f64 = 0.02;

impl TextConfig {
    /// Initialises the tower. Nothing is allocated until the first use.
    pub fn init(&self, device: &Device) -> TextTransformer {
        TextTransformer {
            embed: TextEmbed::new(self, device),
            blocks: (0..self.sizes.n_layers)
                .map(|_| self.init_block(&self.block(), device))
                .collect(),
            head: TextHead::new(self, device),
        }
    }

    /// One block. BERT's is drawn from N(0, 0.02). CLIP's text tower is drawn so that branches that end in the residual sum
    /// start smaller the deeper the tower.
    fn init_block(&self, config: &BlockConfig, device: &Device) -> Block {
        let mut block = config.init(device);
        let (d_model, layers) = (self.sizes.d_model as f64, self.sizes.n_layers as f64);
        let attention = d_model.powf(-0.5);
        let residual = attention * (2.0 * layers).powf(-0.5);
        let map = |inputs, outputs, std| LinearConfig::new(inputs, outputs).with_std(std);
        let draw = |inputs, outputs, std| map(inputs, outputs, std).init(device);
        let draw_mlp =
            |inputs, outputs, std| map(inputs, outputs, std).with_drawn_bias().init(device);
        let (width, hidden) = (self.sizes.d_model, self.sizes.d_hidden);
        if self.norm_order == NormOrder::Post {
            let attention = &mut block.attention;
            for map in [
                &mut attention.query,
                &mut attention.key,
                &mut attention.value,
                &mut attention.output,
            ] {
                *map = draw(width, width, BERT);
            }
            block.mlp.fc1 = draw(width, hidden, BERT);
            block.mlp.fc2 = draw(hidden, width, BERT);
            return block;
        }
        block.attention.query = draw(width, width, attention);
        block.attention.key = draw(width, width, attention);
        block.attention.value = draw(width, width, attention);
        block.attention.output = draw(width, width, residual);
        block.mlp.fc1 = draw_mlp(width, hidden, (2.0 * d_model).powf(-0.5));
        block.mlp.fc2 = draw_mlp(hidden, width, residual);
        block
    }
}

impl TextTransformer {
    /// The tower with a part of it frozen.
    pub fn locked(mut self, part: Locked) -> Self {
        if part == Locked::Whole {
            return self.no_grad();
        }
        (self.embed, self.blocks) = part.freeze(self.embed, self.blocks);
        if part == Locked::Body {
            self.head.norm = self.head.norm.take().map(Module::no_grad);
        }
        self
    }
}

impl TextEncoder for TextTransformer {
    fn chain(&self, tokens: Tokens) -> Chain<'_> {
        let mut chain = Chain::new();
        chain.push("embed", &self.embed);
        push_blocks(&mut chain, &self.blocks, tokens == Tokens::Pooled);
        chain.push("head", &self.head);
        chain
    }

    fn pooled(&self, input: &State) -> Option<Tensor<2, Int>> {
        let ids = input.ids("ids").expect("the chain needs token ids `ids`");
        Some(self.head.place(ids))
    }
}

impl Adaptable for TextTransformer {
    fn places(&mut self, visit: &mut Visit<'_>) {
        visit.within("embed", &mut self.embed);
        visit.within("blocks", &mut self.blocks);
        visit.within("head", &mut self.head);
    }
}
