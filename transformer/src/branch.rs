//! A residual branch: a norm, a layer, and their sum with the input.

use burn::{module::Param, tensor::Tensor};
use checkpointing::{Gradients, Saved, Seed, is_trainable};
use precision::Stored;

use crate::{Layer, LayerCall, LayerCost, LayerNorm, dropout, layer::elements};

/// Where a block normalises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NormOrder {
    /// Before attention and MLP (GPT-2, ViT, CLIP).
    #[default]
    Pre,
    /// After each residual sum (BERT).
    Post,
}

/// `x + end(layer(norm(x)))`, or `norm(x + end(layer(x)))`.
pub struct Branch<'a, L> {
    /// Before the layer, or after the sum.
    pub norm: &'a LayerNorm,
    /// What is added.
    pub layer: &'a L,
    /// What becomes of it before it is added.
    pub end: BranchEnd<'a>,
    /// Where the norm stands.
    pub order: NormOrder,
}

/// LayerScale (Touvron et al. 2021) and dropout at the end of a branch.
#[derive(Clone, Copy)]
pub struct BranchEnd<'a> {
    /// The scale, `[d_model]`.
    pub scale: Option<&'a Param<Tensor<1>>>,
    /// The probability of dropout.
    pub dropout: f64,
    /// The seed of dropout.
    pub seed: Seed,
}

/// What a [`Branch`] keeps besides its input.
pub struct BranchSaved<S> {
    layer: S,
    /// What the layer gave, where a LayerScale trains.
    output: Option<Stored<3>>,
    /// The sum before a norm after it.
    pub(crate) sum: Option<Stored<3>>,
}

impl<S: Saved> Saved for BranchSaved<S> {
    fn bytes(&self) -> usize {
        let tensors = [&self.output, &self.sum].into_iter().flatten();
        self.layer.bytes() + tensors.map(Stored::bytes).sum::<usize>()
    }
}

impl BranchEnd<'_> {
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = match self.scale {
            None => x,
            Some(scale) => x * scale.val().unsqueeze(),
        };
        dropout(x, self.dropout, self.seed)
    }

    /// Whether the pullback reads what the layer gave.
    pub(crate) fn needs_output(&self) -> bool {
        self.scale.is_some_and(is_trainable)
    }

    pub(crate) fn pull(
        &self,
        output: Option<Tensor<3>>,
        cotangent: Tensor<3>,
        gradients: &mut Gradients,
    ) -> Tensor<3> {
        let cotangent = dropout(cotangent, self.dropout, self.seed);
        let Some(scale) = self.scale else {
            return cotangent;
        };
        if let Some(output) = output {
            gradients.give(scale, || {
                let [batch, tokens, width] = output.dims();
                let product = output * cotangent.clone();
                kernels::column_sums(product.reshape([batch * tokens, width]))
            });
        }
        cotangent * scale.val().unsqueeze()
    }
}

impl<L: Layer> Branch<'_, L> {
    /// Whether any parameter trains.
    pub fn trains(&self) -> bool {
        self.norm.trains() || self.layer.trains() || self.end.needs_output()
    }

    /// Whether the pullback reads the input.
    pub fn needs_input(&self, wants_input: bool) -> bool {
        match self.order {
            NormOrder::Pre => wants_input || self.norm.trains() || self.layer.needs_input(),
            NormOrder::Post => self.layer.needs_input(),
        }
    }

    /// Whether the layer is to give the cotangent of its input.
    fn inner<'c>(&self, call: &LayerCall<'c>) -> LayerCall<'c> {
        let pulls_norm = self.order == NormOrder::Pre && self.norm.trains();
        LayerCall {
            wants_input: call.wants_input || pulls_norm,
            ..*call
        }
    }

    /// Shapes: `[batch, tokens, d_model] -> [batch, tokens, d_model]`.
    pub fn forward(&self, x: Tensor<3>, call: &LayerCall<'_>) -> Tensor<3> {
        match self.order {
            NormOrder::Pre => {
                let normed = self.norm.forward(x.clone());
                x + self.end.forward(self.layer.forward(normed, call))
            }
            NormOrder::Post => {
                let branch = self.end.forward(self.layer.forward(x.clone(), call));
                self.norm.forward(x + branch)
            }
        }
    }

    /// As [`forward`](Self::forward), and what the pullback needs besides the input.
    pub fn record(&self, x: Tensor<3>, call: &LayerCall<'_>) -> (Tensor<3>, BranchSaved<L::Saved>) {
        let input = match self.order {
            NormOrder::Pre => self.norm.forward(x.clone()),
            NormOrder::Post => x.clone(),
        };
        let (output, layer) = self.layer.record(input, &self.inner(call));
        let needs = self.end.needs_output();
        let kept = needs.then(|| call.keep.store(output.clone()));
        let sum = x + self.end.forward(output);
        let (output, sum) = match self.order {
            NormOrder::Pre => (sum, None),
            NormOrder::Post => (self.norm.forward(sum.clone()), Some(call.keep.store(sum))),
        };
        let saved = BranchSaved {
            layer,
            output: kept,
            sum,
        };
        (output, saved)
    }

    /// What [`forward`](Self::forward) gave, again from what is kept, where a norm follows the sum.
    pub(crate) fn output(&self, saved: &BranchSaved<L::Saved>) -> Option<Tensor<3>> {
        let sum = saved.sum.clone()?;
        Some(self.norm.forward(sum.load()))
    }

    /// The cotangent of the input, if it is wanted. `x` is the input, given where it is needed.
    pub fn pull(
        &self,
        x: Option<Tensor<3>>,
        saved: BranchSaved<L::Saved>,
        cotangent: Tensor<3>,
        call: &LayerCall<'_>,
        gradients: &mut Gradients,
    ) -> Option<Tensor<3>> {
        let BranchSaved { layer, output, sum } = saved;
        let inner = self.inner(call);
        let cotangent = match sum {
            None => cotangent,
            Some(sum) => self.norm.pull(sum.load(), cotangent, None, gradients),
        };
        let branch = self
            .end
            .pull(output.map(Stored::load), cotangent.clone(), gradients);
        let needed = self.layer.needs_input().then_some(x.clone()).flatten();
        match self.order {
            NormOrder::Pre => {
                let normed = needed.map(|x| self.norm.forward(x));
                let normed = self.layer.pull(normed, layer, branch, &inner, gradients)?;
                let pulled = self.norm.pull(x?, normed, Some(cotangent), gradients);
                call.wants_input.then_some(pulled)
            }
            NormOrder::Post => {
                let pulled = self.layer.pull(needed, layer, branch, &inner, gradients)?;
                Some(pulled + cotangent)
            }
        }
    }

    /// What it costs for an input `[batch, tokens, d_model]`.
    pub fn cost(&self, shape: [usize; 3], call: &LayerCall<'_>) -> LayerCost {
        let output = self.end.needs_output().then_some(shape);
        let sum = (self.order == NormOrder::Post).then_some(shape);
        let kept = LayerCost {
            saved_bytes: call.keep.bytes(elements(output.into_iter().chain(sum))),
            ..LayerCost::default()
        };
        self.layer.cost(shape, &self.inner(call)) + kept
    }
}
