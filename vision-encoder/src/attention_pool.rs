//! Pooling by a learned query.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use checkpointing::{Call, Gradients, Saved, Seed, is_trainable};
use peft::{Adaptable, Visit};
use precision::Stored;
use transformer::{
    Attention, AttentionConfig, AttentionSaved, Branch, BranchEnd, BranchSaved, Layer, LayerCall,
    LayerCost, LayerNorm, Mask, Mlp, MlpSaved, NormOrder,
};

use crate::VisionConfig;

/// A learned query that attends to all tokens, then an MLP (SigLIP's head).
#[derive(Module, Debug)]
pub struct AttentionPool {
    /// The query, `[d_model]`.
    pub probe: Param<Tensor<1>>,
    /// From the query to the tokens.
    pub attention: Attention,
    /// Before the MLP.
    pub norm: LayerNorm,
    /// Added to what attention gives.
    pub mlp: Mlp,
}

impl AttentionPool {
    pub(crate) fn new(config: &VisionConfig, device: &Device) -> Self {
        let d_model = config.sizes.d_model;
        let probe = Initializer::Normal {
            mean: 0.0,
            std: (d_model as f64).powf(-0.5),
        };
        Self {
            probe: probe.init([d_model], device),
            attention: AttentionConfig::new(d_model, config.sizes.n_heads).init(device),
            norm: LayerNorm::new(d_model, config.sizes.norm_epsilon, device),
            mlp: Mlp::new(
                d_model,
                config.sizes.d_hidden,
                config.sizes.activation,
                device,
            ),
        }
    }

    /// The branch of the MLP.
    fn branch(&self) -> Branch<'_, Mlp> {
        Branch {
            norm: &self.norm,
            layer: &self.mlp,
            end: BranchEnd {
                scale: None,
                dropout: 0.0,
                seed: Seed::evaluation(),
            },
            order: NormOrder::Pre,
        }
    }

    fn probes(&self, batch: usize) -> Tensor<3> {
        let probe = self.probe.val().unsqueeze::<3>();
        let [_, _, d_model] = probe.dims();
        probe.expand([batch, 1, d_model])
    }

    pub(crate) fn trains(&self) -> bool {
        is_trainable(&self.probe) || self.attention.trains() || self.branch().trains()
    }

    /// The calls of attention and of the MLP.
    fn calls<'m>(&self, mask: &'m Mask, call: &Call<'_>, wants_input: bool) -> [LayerCall<'m>; 2] {
        let from_attention = wants_input || is_trainable(&self.probe);
        [from_attention, from_attention || self.attention.trains()].map(|wants_input| LayerCall {
            mask,
            seed: call.seed,
            wants_input,
            keep: call.keep,
        })
    }

    /// Shapes: `[batch, tokens, d_model] -> [batch, 1, d_model]`.
    pub(crate) fn record(
        &self,
        hidden: Tensor<3>,
        call: &Call<'_>,
        wants: bool,
    ) -> (Tensor<3>, AttentionPoolSaved) {
        let mask = Mask::default();
        let [first, second] = self.calls(&mask, call, wants);
        let [batch, _, _] = hidden.dims();
        let (pooled, attention) = self
            .attention
            .record_from(self.probes(batch), hidden, &first);
        let needs = self.branch().needs_input(second.wants_input);
        let kept = needs.then(|| call.keep.store(pooled.clone()));
        let (output, mlp) = self.branch().record(pooled, &second);
        let saved = AttentionPoolSaved {
            attention,
            pooled: kept,
            mlp,
        };
        (output, saved)
    }

    /// The cotangent of the hidden states, if it is wanted; they are given where the attention needs its input.
    pub(crate) fn pull(
        &self,
        hidden: Option<Tensor<3>>,
        saved: AttentionPoolSaved,
        cotangent: Tensor<3>,
        call: &Call<'_>,
        wants: bool,
        gradients: &mut Gradients,
    ) -> Option<Tensor<3>> {
        let mask = Mask::default();
        let [first, second] = self.calls(&mask, call, wants);
        let [batch, _, _] = cotangent.dims();
        let branch = self.branch();
        let pooled = saved.pooled.map(Stored::load);
        let pooled = branch.pull(pooled, saved.mlp, cotangent, &second, gradients)?;
        let inputs = hidden.map(|hidden| [self.probes(batch), hidden]);
        let attention = &self.attention;
        let pulled = attention.pull_from(inputs, saved.attention, pooled, &first, gradients);
        let [probes, hidden] = pulled?;
        gradients.give(&self.probe, || {
            let [_, _, d_model] = probes.dims();
            probes.sum_dim(0).reshape([d_model])
        });
        wants.then_some(hidden)
    }

    pub(crate) fn cost(
        &self,
        [batch, tokens, d_model]: [usize; 3],
        call: &Call<'_>,
        wants: bool,
    ) -> LayerCost {
        let mask = Mask::default();
        let [first, second] = self.calls(&mask, call, wants);
        let one = [batch, 1, d_model];
        let mut attention = self.attention.cost_from(batch, [1, tokens], &first);
        if !second.wants_input {
            attention.backward_flops = 0;
        }
        let kept = LayerCost {
            saved_bytes: if self.branch().needs_input(second.wants_input) {
                call.keep.bytes(batch * d_model)
            } else {
                0
            },
            ..LayerCost::default()
        };
        attention + self.branch().cost(one, &second) + kept
    }
}

/// What an [`AttentionPool`] keeps.
pub(crate) struct AttentionPoolSaved {
    attention: AttentionSaved,
    pooled: Option<Stored<3>>,
    mlp: BranchSaved<MlpSaved>,
}

impl AttentionPoolSaved {
    pub(crate) fn bytes(&self) -> usize {
        let pooled = self.pooled.as_ref().map_or(0, Stored::bytes);
        self.attention.bytes() + pooled + self.mlp.bytes()
    }
}

impl Adaptable for AttentionPool {
    fn places(&mut self, visit: &mut Visit<'_>) {
        visit.within("attention", &mut self.attention);
        visit.within("mlp", &mut self.mlp);
    }
}
