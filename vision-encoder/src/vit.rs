//! The vision transformer (Dosovitskiy et al. 2021), as a chain of segments.

use burn::{
    module::{Module, ModuleDisplay},
    tensor::Device,
};
use checkpointing::Link;
use transformer::Block;

use crate::{PatchEmbed, VisionConfig, VisionHead};

/// A tower from pictures to features: what fusion needs to know of it.
pub trait VisionEncoder: Module + ModuleDisplay + Sync {
    /// The chain, from the passenger `"pixels"` `[batch, channels, height, width]` to features
    /// `[batch, 1, d_output]`.
    fn segments(&self) -> Vec<&dyn Link>;

    /// Width of the features.
    fn d_output(&self) -> usize;
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
    d_output: usize,
}

impl VisionConfig {
    /// Initialises the tower. Nothing is allocated until the first use.
    pub fn init(&self, device: &Device) -> VisionTransformer {
        VisionTransformer {
            embed: PatchEmbed::new(self, device),
            blocks: (0..self.n_layers)
                .map(|_| self.block().init(device))
                .collect(),
            head: VisionHead::new(self, device),
            d_output: self.d_output.unwrap_or(self.d_model),
        }
    }
}

impl VisionEncoder for VisionTransformer {
    fn segments(&self) -> Vec<&dyn Link> {
        let mut chain: Vec<&dyn Link> = vec![&self.embed];
        chain.extend(self.blocks.iter().map(|block| block as &dyn Link));
        chain.push(&self.head);
        chain
    }

    fn d_output(&self) -> usize {
        self.d_output
    }
}
