//! LoRA of a table that rows are looked up in.

use burn::{
    backend::{Dispatch, ops::ModuleOps},
    module::{Initializer, Module, Param},
    tensor::{Device, Int, Tensor, module::embedding},
};
use checkpointing::{Gradients, is_trainable, product_flops};
use kernels::product;

use crate::LoraConfig;

/// `scale * A[ids] B`, added to what is looked up. As in HF PEFT, `A` begins at zero and `B` is drawn, and nothing is dropped.
#[derive(Module, Debug)]
pub struct EmbeddingLora {
    /// `A`, `[rows, rank]`, zero at the start.
    pub a: Param<Tensor<2>>,
    /// `B`, `[rank, d_model]`.
    pub b: Param<Tensor<2>>,
    scale: f64,
}

impl EmbeddingLora {
    /// An adapter of a table of these sizes that changes nothing yet.
    pub fn new(config: &LoraConfig, [rows, d_model]: [usize; 2], device: &Device) -> Self {
        let normal = Initializer::Normal {
            mean: 0.0,
            std: 1.0,
        };
        Self {
            a: Initializer::Zeros.init([rows, config.rank], device),
            b: normal.init([config.rank, d_model], device),
            scale: config.scale(),
        }
    }

    /// What the update is multiplied by.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The rank.
    pub fn rank(&self) -> usize {
        let [_, rank] = self.a.lazy_shape().dims();
        rank
    }

    /// `scale * A B`, `[rows, d_model]`.
    pub fn delta(&self) -> Tensor<2> {
        product(self.a.val() * self.scale, self.b.val())
    }

    /// The table with the update folded in. Shapes: `[rows, d_model] -> [rows, d_model]`.
    pub fn merge(&self, table: Tensor<2>) -> Tensor<2> {
        table + self.delta()
    }

    /// The update. Shapes: `[batch, tokens] -> [batch, tokens, d_model]`.
    pub fn forward(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let [batch, tokens] = ids.dims();
        let update = product(self.low(ids), self.b.val());
        let [_, d_model] = update.dims();
        update.reshape([batch, tokens, d_model])
    }

    /// `scale * A[ids]`, `[batch * tokens, rank]`.
    fn low(&self, ids: Tensor<2, Int>) -> Tensor<2> {
        let low: Tensor<3> = embedding(self.a.val(), ids);
        let [batch, tokens, rank] = low.dims();
        low.reshape([batch * tokens, rank]) * self.scale
    }

    /// Adds the gradients for the cotangent of the update, `[batch, tokens, d_model]`.
    pub fn pull(&self, ids: Tensor<2, Int>, cotangent: Tensor<3>, gradients: &mut Gradients) {
        let [batch, tokens, d_model] = cotangent.dims();
        let rows: Tensor<2> = cotangent.reshape([batch * tokens, d_model]);
        gradients.give(&self.b, || {
            product(self.low(ids.clone()).transpose(), rows.clone())
        });
        gradients.give(&self.a, || {
            let low = product(rows, self.b.val().transpose()) * self.scale;
            let low = low.reshape([batch, tokens, self.rank()]);
            pull_look_up(self.a.val(), low, ids)
        });
    }

    /// Whether any parameter trains.
    pub fn trains(&self) -> bool {
        is_trainable(&self.a) || is_trainable(&self.b)
    }

    /// Floating-point operations of [`forward`](Self::forward) for so many tokens.
    pub fn forward_flops(&self, tokens: usize) -> u64 {
        let [rank, d_model] = self.b.lazy_shape().dims();
        product_flops([tokens, rank, d_model])
    }

    /// Floating-point operations of [`pull`](Self::pull) for so many tokens.
    pub fn pull_flops(&self, tokens: usize) -> u64 {
        let each = [is_trainable(&self.a), is_trainable(&self.b)];
        each.into_iter().filter(|trains| *trains).count() as u64 * self.forward_flops(tokens)
    }
}

/// The framework's own pullback of [`embedding`]: a table of zeros, to which each row of the cotangent is added in place.
pub fn pull_look_up(table: Tensor<2>, cotangent: Tensor<3>, ids: Tensor<2, Int>) -> Tensor<2> {
    let (table, cotangent) = (table.into_dispatch(), cotangent.into_dispatch());
    Tensor::from_dispatch(Dispatch::embedding_backward(
        table,
        cotangent,
        ids.into_dispatch(),
    ))
}
