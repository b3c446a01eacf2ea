//! The two-layer perceptron of a transformer block.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use checkpointing::{Gradients, Saved};
use peft::{Linear, LinearConfig};
use precision::Stored;

use crate::{
    Activation, Layer, LayerCall, LayerCost,
    layer::{elements, rows, sequences},
};

/// `fc2(act(fc1(x)))`.
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[d_model, d_hidden]`.
    pub fc1: Linear,
    /// `[d_hidden, d_model]`.
    pub fc2: Linear,
    #[module(skip)]
    activation: Activation,
}

/// What an [`Mlp`] keeps: the values before its activation.
pub struct MlpSaved(Option<Stored<2>>);

impl Saved for MlpSaved {
    fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, Stored::bytes)
    }
}

impl Mlp {
    /// Initialises the layer, its biases drawn as torch draws them.
    pub fn new(d_model: usize, d_hidden: usize, activation: Activation, device: &Device) -> Self {
        Self {
            fc1: LinearConfig::new(d_model, d_hidden)
                .with_drawn_bias()
                .init(device),
            fc2: LinearConfig::new(d_hidden, d_model)
                .with_drawn_bias()
                .init(device),
            activation,
        }
    }

    /// Whether the cotangent of the hidden values is of use.
    fn pulls_hidden(&self, call: &LayerCall<'_>) -> bool {
        self.fc1.trains() || call.wants_input
    }

    fn keeps_hidden(&self, call: &LayerCall<'_>) -> bool {
        self.pulls_hidden(call) || self.fc2.needs_input()
    }
}

impl Layer for Mlp {
    type Saved = MlpSaved;

    fn forward(&self, x: Tensor<3>, _call: &LayerCall<'_>) -> Tensor<3> {
        let hidden = self.fc1.forward(x);
        self.fc2.forward(self.activation.forward(hidden))
    }

    fn record(&self, x: Tensor<3>, call: &LayerCall<'_>) -> (Tensor<3>, MlpSaved) {
        let [batch, tokens, _] = x.dims();
        let hidden = self.fc1.forward(rows(x));
        let (active, hidden) = if self.keeps_hidden(call) {
            let (active, hidden) = self.activation.forward_keeping(hidden);
            (active, Some(call.keep.store(hidden)))
        } else {
            (self.activation.forward(hidden), None)
        };
        let output = sequences(self.fc2.forward(active), [batch, tokens]);
        (output, MlpSaved(hidden))
    }

    fn pull(
        &self,
        x: Option<Tensor<3>>,
        saved: MlpSaved,
        cotangent: Tensor<3>,
        call: &LayerCall<'_>,
        gradients: &mut Gradients,
    ) -> Option<Tensor<3>> {
        let [batch, tokens, _] = cotangent.dims();
        let cotangent = rows(cotangent);
        if !self.pulls_hidden(call) {
            let active = saved.0.map(|hidden| self.activation.forward(hidden.load()));
            self.fc2.pull_parameters(active, cotangent, gradients);
            return None;
        }
        let hidden = saved.0.expect("kept where it is pulled back").load();
        let active = self.fc2.pull_input(cotangent.clone());
        let (active, hidden) = self.activation.pull(hidden, active);
        self.fc2.pull_parameters(Some(active), cotangent, gradients);
        self.fc1
            .pull_parameters(x.map(rows), hidden.clone(), gradients);
        call.wants_input
            .then(|| sequences(self.fc1.pull_input(hidden), [batch, tokens]))
    }

    fn needs_input(&self) -> bool {
        self.fc1.needs_input()
    }

    fn trains(&self) -> bool {
        self.fc1.trains() || self.fc2.trains()
    }

    fn cost(&self, [batch, tokens, _]: [usize; 3], call: &LayerCall<'_>) -> LayerCost {
        let rows = batch * tokens;
        let (first, second) = (&self.fc1, &self.fc2);
        let pulls = self.pulls_hidden(call);
        let first_pull = first.pull_flops(rows, call.wants_input);
        let hidden = [batch, tokens, first.d_output()];
        LayerCost {
            forward_flops: first.forward_flops(rows) + second.forward_flops(rows),
            backward_flops: second.pull_flops(rows, pulls) + if pulls { first_pull } else { 0 },
            saved_bytes: call
                .keep
                .bytes(elements(self.keeps_hidden(call).then_some(hidden))),
        }
    }
}
