//! Which part of a tower does not train.

use burn::module::Module;

/// Which part of a tower does not train: as text nothing, `body` or `blocks(n)` behind the tower's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// All of it.
    Whole,
    /// All but what may be new on top of it: a tanh layer, and the projection or the classifier.
    Body,
    /// The embedding and the first blocks, so many.
    Blocks(usize),
}

impl Locked {
    /// Freezes a tower's embedding and, as far as this says so, its blocks.
    pub fn freeze<E: Module, B: Module>(self, embed: E, blocks: Vec<B>) -> (E, Vec<B>) {
        let count = match self {
            Self::Whole | Self::Body => blocks.len(),
            Self::Blocks(count) => count,
        };
        let blocks = blocks.into_iter().enumerate();
        let freeze = |(i, block): (usize, B)| if i < count { block.no_grad() } else { block };
        (embed.no_grad(), blocks.map(freeze).collect())
    }
}
