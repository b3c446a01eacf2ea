//! The two-layer perceptron of a transformer block.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use checkpointing::{Gradients, Saved};
use peft::{Adaptable, Bottleneck, Linear, LinearCall, LinearConfig, LinearSaved, Visit};
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
    /// The place for an adapter beside all of it; empty unless one is put there.
    pub parallel: Option<Bottleneck>,
    #[module(skip)]
    activation: Activation,
}

/// What an [`Mlp`] keeps.
pub struct MlpSaved {
    /// The values before its activation.
    hidden: Option<Stored<2>>,
    /// Of both maps.
    maps: [LinearSaved; 2],
}

impl Saved for MlpSaved {
    fn bytes(&self) -> usize {
        let maps: usize = self.maps.iter().map(LinearSaved::bytes).sum();
        self.hidden.as_ref().map_or(0, Stored::bytes) + maps
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
            parallel: None,
            activation,
        }
    }

    /// The calls of both maps.
    fn calls(&self, call: &LayerCall<'_>) -> [LinearCall; 2] {
        let second = call.linear(1, self.pulls_hidden(call));
        [call.linear(0, call.wants_input), second]
    }

    /// Whether the cotangent of the hidden values is of use.
    fn pulls_hidden(&self, call: &LayerCall<'_>) -> bool {
        self.fc1.trains() || call.wants_input
    }

    /// What the adapter beside it gives.
    fn beside(&self, x: &Tensor<3>) -> Option<Tensor<3>> {
        let beside = self.parallel.as_ref()?;
        let [batch, tokens, _] = x.dims();
        Some(sequences(beside.update(rows(x.clone())), [batch, tokens]))
    }

    fn keeps_hidden(&self, call: &LayerCall<'_>) -> bool {
        self.pulls_hidden(call) || self.fc2.needs_input()
    }
}

impl Layer for Mlp {
    type Saved = MlpSaved;

    fn forward(&self, x: Tensor<3>, call: &LayerCall<'_>) -> Tensor<3> {
        let [of_first, of_second] = self.calls(call);
        let beside = self.beside(&x);
        let hidden = self.fc1.forward_at(x, of_first.seed);
        let active = self.activation.forward(hidden);
        added(self.fc2.forward_at(active, of_second.seed), beside)
    }

    fn record(&self, x: Tensor<3>, call: &LayerCall<'_>) -> (Tensor<3>, MlpSaved) {
        let [batch, tokens, _] = x.dims();
        let [of_first, of_second] = self.calls(call);
        let beside = self.beside(&x);
        let (hidden, first) = self.fc1.record(rows(x), &of_first);
        let (active, hidden) = if self.keeps_hidden(call) {
            let (active, hidden) = self.activation.forward_keeping(hidden);
            (active, Some(call.keep.store(hidden)))
        } else {
            (self.activation.forward(hidden), None)
        };
        let (output, second) = self.fc2.record(active, &of_second);
        let maps = [first, second];
        let output = sequences(output, [batch, tokens]);
        (added(output, beside), MlpSaved { hidden, maps })
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
        let [of_first, of_second] = self.calls(call);
        let [first, second] = saved.maps;
        let x = x.map(rows);
        let cotangent = rows(cotangent);
        let beside = self.parallel.as_ref().and_then(|beside| {
            let z = x.clone().unwrap_or_else(|| cotangent.clone());
            beside.pull_update(z, cotangent.clone(), call.wants_input, gradients)
        });
        let hidden = saved.hidden.map(Stored::load);
        let hidden = if self.pulls_hidden(call) && !self.fc2.is_adapted() {
            let hidden = hidden.expect("kept where it is pulled back");
            let active = self.fc2.pull_input(cotangent.clone());
            let (active, hidden) = self.activation.pull(hidden, active);
            self.fc2.pull_parameters(Some(active), cotangent, gradients);
            Some(hidden)
        } else {
            let needed = hidden.clone().filter(|_| self.fc2.needs_input());
            let active = needed.map(|hidden| self.activation.forward(hidden));
            let active = self
                .fc2
                .pull(active, second, cotangent, &of_second, gradients);
            let both = hidden.zip(active);
            both.map(|(hidden, active)| self.activation.pull(hidden, active).1)
        };
        let pulled = self.fc1.pull(x, first, hidden?, &of_first, gradients)?;
        let pulled = match beside {
            None => pulled,
            Some(beside) => pulled + beside,
        };
        Some(sequences(pulled, [batch, tokens]))
    }

    fn needs_input(&self) -> bool {
        // What is beside it is not linear: frozen, too, its pullback reads the input.
        self.fc1.needs_input() || self.parallel.is_some()
    }

    fn trains(&self) -> bool {
        let beside = self.parallel.as_ref().is_some_and(Bottleneck::trains);
        self.fc1.trains() || self.fc2.trains() || beside
    }

    fn cost(&self, [batch, tokens, _]: [usize; 3], call: &LayerCall<'_>) -> LayerCost {
        let rows = batch * tokens;
        let (first, second) = (&self.fc1, &self.fc2);
        let [of_first, of_second] = self.calls(call);
        let beside = self.parallel.as_ref();
        let pulls = self.pulls_hidden(call);
        let first_pull = first.pull_flops(rows, &of_first);
        let hidden = [batch, tokens, first.d_output()];
        let hidden = elements(self.keeps_hidden(call).then_some(hidden));
        LayerCost {
            forward_flops: first.forward_flops(rows, of_first.seed)
                + second.forward_flops(rows, of_second.seed)
                + beside.map_or(0, |beside| beside.update_flops(rows)),
            backward_flops: second.pull_flops(rows, &of_second)
                + if pulls { first_pull } else { 0 }
                + beside.map_or(0, |beside| beside.pull_update_flops(rows, call.wants_input)),
            saved_bytes: call.keep.bytes(hidden)
                + first.saved_bytes(rows, &of_first)
                + second.saved_bytes(rows, &of_second),
        }
    }
}

impl Adaptable for Mlp {
    fn places(&mut self, visit: &mut Visit<'_>) {
        let [d_model, _] = self.fc1.base().sizes();
        visit.linear("fc1", &mut self.fc1);
        visit.linear("fc2", &mut self.fc2);
        visit.beside("parallel", &mut self.parallel, d_model);
    }
}

/// A sum with what an adapter gives, if there is one.
fn added(output: Tensor<3>, beside: Option<Tensor<3>>) -> Tensor<3> {
    match beside {
        None => output,
        Some(beside) => output + beside,
    }
}
