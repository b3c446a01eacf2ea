//! Ten steps of AdamW on a module with a tied weight, as JSON for `scripts/check_tied_weights.py`, which makes them with
//! torch.
//!
//! The module is `tanh(x W) W' + b`: `W` is the embedding and the head, as in a language model.
#![allow(clippy::unwrap_used, reason = "an example")]

use burn::{
    module::{Module, Param},
    tensor::{Device, Distribution, Tensor},
};
use checkpointing::Gradients;
use optimizer::{AdamW, Groups, SlotOptimizer, StateMemory};
use serde_json::{Value, json};

const STEPS: usize = 10;
const RATE: f64 = 1e-2;
const MAX_NORM: f64 = 1.0;

#[derive(Module, Debug)]
struct Model {
    /// `[words, d_model]`
    embedding: Param<Tensor<2>>,
    /// The same parameter.
    head: Param<Tensor<2>>,
    /// `[words]`
    bias: Param<Tensor<1>>,
}

impl Model {
    fn gradients(&self, x: &Tensor<2>, y: &Tensor<2>) -> Gradients {
        let model = self.clone().train();
        let (x, y) = (x.clone().autodiff(), y.clone().autodiff());
        let hidden = x.matmul(model.embedding.val()).tanh();
        let out = hidden.matmul(model.head.val().transpose()) + model.bias.val().unsqueeze();
        let mut grads = (out - y).square().mean().backward();
        let mut gradients = Gradients::default();
        for place in [&model.embedding, &model.head] {
            gradients.add(place.id, place.val().grad_remove(&mut grads).unwrap());
        }
        let bias = model.bias.val().grad_remove(&mut grads).unwrap();
        gradients.add(model.bias.id, bias);
        gradients
    }

    fn values(&self) -> Value {
        json!({
            "embedding": values(self.embedding.val()),
            "head": values(self.head.val()),
            "bias": values(self.bias.val()),
        })
    }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn main() {
    let device = Device::default();
    device.seed(7041);
    let random =
        |shape: [usize; 2]| Tensor::<2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let (words, width, rows) = (11, 5, 16);
    let weight = Param::from_tensor(random([words, width]));
    let mut model = Model {
        head: weight.clone(),
        embedding: weight,
        bias: Param::from_tensor(Tensor::zeros([words], &device)),
    };
    let (x, y) = (random([rows, words]), random([rows, words]));
    let (settings, groups) = (AdamW::default(), Groups::default());
    let slots = groups.slots(&model).unwrap();
    let mut optimizer = SlotOptimizer::new(Box::new(settings), slots, StateMemory::Host);
    let mut trace = vec![model.values()];
    for _ in 0..STEPS {
        let gradients = model.gradients(&x, &y);
        (model, _) = optimizer.step(model, gradients, RATE, MAX_NORM);
        trace.push(model.values());
    }
    let run = json!({
        "words": words, "width": width, "rows": rows,
        "lr": RATE, "betas": settings.betas, "eps": settings.eps, "weight_decay": groups.weight_decay, "max_norm": MAX_NORM,
        "x": values(x), "y": values(y), "trace": trace,
    });
    println!("{run}");
}
