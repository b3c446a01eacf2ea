//! AdamW with clipping, StableAdamW, and the schedules.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use checkpointing::Gradients;
use kernels::product;
use optimizer::{GroupRule, Groups, Kind, SlotOptimizer, clip_scale, gradient_norm};
use serde_json::Value;
use trainer::{
    device::state_memory,
    recipe::{Cooldown, Schedule},
    run::schedule::LearningRate,
};

use crate::fixture::{Fixture, data, device, each, json_file, tensor};

/// Fixtures of this family that belong to later work: loss scaling.
const LATER: [&str; 1] = ["grad_scaler"];

#[test]
fn parity_optim() {
    each("optim", |fixture| match fixture.name() {
        name if LATER.contains(&name) => {}
        "schedules" => schedules(fixture),
        "stable_adamw" => updates(fixture, Kind::StableAdamW),
        _ => updates(fixture, Kind::AdamW),
    });
}

fn schedules(fixture: &Fixture) {
    let config = fixture.json("config.json");
    let number = |key: &str| config[key].as_f64().unwrap();
    let (warmup, steps) = (number("warmup") as u64, number("steps") as u64);
    let cooldown = Schedule::ConstantCooldown(Cooldown {
        steps: number("cooldown_steps") as u64,
        power: number("cooldown_power"),
        end_lr: number("cooldown_end_lr"),
    });
    let expected = json_file(&fixture.folder.join("expected.json"));
    for (name, rates) in expected.as_object().unwrap() {
        let warmup = if name == "cosine_no_warmup" {
            0
        } else {
            warmup
        };
        let decay = match name.as_str() {
            "cosine" | "cosine_no_warmup" => Schedule::Cosine,
            "constant" => Schedule::Constant,
            "constant_cooldown" => cooldown,
            other => panic!("{}: no check for {other}", fixture.folder.display()),
        };
        let rate = LearningRate {
            base: number("base_lr"),
            warmup,
            steps,
            decay,
        };
        for (step, want) in rates.as_array().unwrap().iter().enumerate() {
            let (got, want) = (rate.at(step as u64), want.as_f64().unwrap());
            assert!(
                (got - want).abs() <= 1e-12 * want.abs(),
                "{name}[{step}]: {got}, not {want}"
            );
        }
    }
}

/// `tanh(x w1' + b1) w2' + b2`.
#[derive(Module, Debug)]
struct Problem {
    w1: Param<Tensor<2>>,
    b1: Param<Tensor<1>>,
    w2: Param<Tensor<2>>,
    b2: Param<Tensor<1>>,
}

impl Problem {
    fn loss(&self, x: Tensor<2>, y: Tensor<2>) -> Tensor<1> {
        let hidden = product(x, self.w1.val().transpose()) + self.b1.val().unsqueeze();
        let out = product(hidden.tanh(), self.w2.val().transpose()) + self.b2.val().unsqueeze();
        ((out.clone() - y.clone()) * (out - y)).mean()
    }

    fn gradients(&self, loss: Tensor<1>, tracked: &Self) -> Gradients {
        let mut grads = loss.backward();
        let mut gradients = Gradients::default();
        gradients.add(
            self.w1.id,
            tracked.w1.val().grad_remove(&mut grads).unwrap(),
        );
        gradients.add(
            self.b1.id,
            tracked.b1.val().grad_remove(&mut grads).unwrap(),
        );
        gradients.add(
            self.w2.id,
            tracked.w2.val().grad_remove(&mut grads).unwrap(),
        );
        gradients.add(
            self.b2.id,
            tracked.b2.val().grad_remove(&mut grads).unwrap(),
        );
        gradients
    }

    fn ids(&self) -> [(&'static str, burn::module::ParamId); 4] {
        [
            ("w1", self.w1.id),
            ("b1", self.b1.id),
            ("w2", self.w2.id),
            ("b2", self.b2.id),
        ]
    }
}

/// What happened in each step, joined to `[steps, ...]` at the end.
#[derive(Default)]
struct Trace(std::collections::BTreeMap<String, Vec<f32>>);

impl Trace {
    fn push<const D: usize>(&mut self, name: String, value: Tensor<D>) {
        self.0
            .entry(name)
            .or_default()
            .extend(value.into_data().iter::<f32>());
    }

    fn number(&mut self, name: &str, value: f64) {
        self.0
            .entry(name.to_string())
            .or_default()
            .push(value as f32);
    }
}

fn updates(fixture: &Fixture, kind: Kind) {
    let device = device();
    let config = fixture.json("config.json");
    let (inputs, outputs) = (fixture.inputs(), fixture.weights("outputs.safetensors"));
    let number = |key: &str| config[key].as_f64().unwrap();
    let max_norm = match kind {
        Kind::AdamW => number("clip_norm"),
        // Its updates are clipped, not its gradients.
        Kind::StableAdamW => 0.0,
    };
    let steps = number("steps") as u64;
    let rate = LearningRate {
        base: number("lr"),
        warmup: number("warmup") as u64,
        steps,
        decay: Schedule::Cosine,
    };
    let vector = |name: &str| Param::from_tensor(tensor::<1>(&inputs, name, &device));
    let matrix = |name: &str| Param::from_tensor(tensor::<2>(&inputs, name, &device));
    let mut problem = Problem {
        w1: matrix("initial.w1"),
        b1: vector("initial.b1"),
        w2: matrix("initial.w2"),
        b2: vector("initial.b2"),
    };
    let scales: Vec<f32> = data(&inputs, "loss_scale").iter::<f32>().collect();
    let (x, y) = (
        tensor::<2>(&inputs, "x", &device),
        tensor::<2>(&inputs, "y", &device),
    );
    let mut optimizer = optimizer(kind, &config, &problem, &[], &device);
    let mut trace = Trace::default();
    for step in 0..steps {
        let tracked = problem.clone().train();
        let loss = tracked.loss(x.clone().autodiff(), y.clone().autodiff());
        let loss = loss * scales[step as usize];
        trace.number("loss", f64::from(loss.clone().into_scalar::<f32>()));
        trace.number("lr", rate.at(step));
        let gradients = problem.gradients(loss, &tracked);
        drop(tracked);
        for (name, id) in problem.ids() {
            trace.push(format!("grad.{name}"), gradients.get(id).unwrap().clone());
        }
        let norm = gradient_norm(&problem, &gradients);
        if max_norm > 0.0 {
            trace.number("grad_norm", norm);
        }
        let turn = optimizer.begin(rate.at(step), clip_scale(norm, max_norm));
        problem = optimizer.update_module(&turn, problem, gradients);
        trace.push("params.w1".into(), problem.w1.val());
        trace.push("params.b1".into(), problem.b1.val());
        trace.push("params.w2".into(), problem.w2.val());
        trace.push("params.b2".into(), problem.b2.val());
    }
    // The second fixture has no moments.
    let ids = problem.ids().into_iter().filter(|_| kind == Kind::AdamW);
    for (name, id) in ids {
        let values = optimizer.state(id).unwrap().values();
        for (moment, values) in ["exp_avg", "exp_avg_sq"].iter().zip(values) {
            trace.push(
                format!("final.{moment}.{name}"),
                Tensor::<1>::from_data(values, &device),
            );
        }
    }
    for (name, values) in trace.0 {
        let shape = [values.len()];
        fixture.compare(
            &outputs,
            &name,
            &burn::tensor::TensorData::new(values, shape),
        );
    }
    fixture.finish();
}

/// The optimizer of a fixture's config. `decayed` are the parameters of one axis that have more in the original, which decays those
/// of two and more.
pub(crate) fn optimizer<M: Module>(
    kind: Kind,
    config: &Value,
    module: &M,
    decayed: &[&str],
    device: &Device,
) -> SlotOptimizer {
    let betas = [0, 1].map(|i| config["betas"][i].as_f64().unwrap());
    let number = |key: &str| config[key].as_f64().unwrap();
    let groups = Groups {
        weight_decay: number("weight_decay"),
        rules: decayed
            .iter()
            .map(|path| GroupRule {
                pattern: (*path).to_owned(),
                rate: 1.0,
                weight_decay: Some(number("weight_decay")),
            })
            .collect(),
        ..Groups::default()
    };
    let slots = groups.slots(module).unwrap();
    SlotOptimizer::new(kind.with(betas, number("eps")), slots, state_memory(device))
}
