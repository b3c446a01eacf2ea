//! Thirty training steps on classes of a tiny ViT, and on masked words of a tiny BERT.

use burn::{
    module::{Module, ModuleDisplay},
    tensor::{Bool, Int, Tensor, TensorData},
};
use checkpointing::{Execution, Gradients, Policy, Seed};
use optimizer::{Kind, clip_scale, gradient_norm};
use text_encoder::{MaskedBatch, mlm_step};
use trainer::{device::is_gpu, recipe::Schedule, run::schedule::LearningRate};
use transformer::{Bindings, load, save};
use vision_encoder::{LabelledBatch, VisionConfig, VisionKeys, classify_step};

use crate::{
    fixture::{Fixture, data, device, json_file, tensor, weights_file},
    optim::optimizer,
    single::{MaskedBert, words},
};

/// How a step is taken: rows of a micro-batch, and how each is executed.
const WAYS: [(usize, Execution); 4] = [
    (usize::MAX, way(Policy::StoreAll, 1)),
    (usize::MAX, way(Policy::EveryCut, 2)),
    (1, way(Policy::Every(2), 1)),
    (3, way(Policy::Nested(2, 1), 2)),
];

const fn way(policy: Policy, parts: usize) -> Execution {
    Execution { policy, parts }
}

/// Trains by `step`, which gives loss and gradients of a step, and compares losses, norms and final weights.
fn train<M: Module + ModuleDisplay>(
    fixture: &Fixture,
    mut model: M,
    bindings: &Bindings,
    decayed: &[&str],
    step: impl Fn(&M, usize) -> (f64, Gradients),
) {
    let config = fixture.json("config.json");
    let number = |key: &str| config[key].as_f64().unwrap();
    let steps = number("steps") as u64;
    let rate = LearningRate {
        base: number("lr"),
        warmup: number("warmup") as u64,
        steps,
        decay: Schedule::Cosine,
    };
    let mut optimizer = optimizer(Kind::AdamW, &config, &model, decayed, &device());
    let mut traces: [Vec<f64>; 3] = Default::default();
    for at in 0..steps {
        let (loss, gradients) = step(&model, at as usize);
        let norm = gradient_norm(&model, &gradients);
        let scale = clip_scale(norm, number("clip_norm"));
        let turn = optimizer.begin(rate.at(at), scale);
        model = optimizer.update_module(&turn, model, gradients);
        for (trace, value) in traces.iter_mut().zip([loss, rate.at(at), norm]) {
            trace.push(value);
        }
    }
    let outputs = fixture.weights("outputs.safetensors");
    for (name, trace) in ["loss", "lr", "grad_norm"].iter().zip(traces) {
        let shape = [trace.len()];
        fixture.compare(&outputs, name, &TensorData::new(trace, shape));
    }
    let trained = save(&model, bindings).unwrap();
    fixture.compare_parameters("final.safetensors", &trained);
}

/// The ways that are tried on this device: all on a processor, and on a GPU, which a software renderer may stand for, the
/// first.
fn ways() -> impl Iterator<Item = (usize, Execution)> {
    let count = if is_gpu(&device()) { 1 } else { WAYS.len() };
    WAYS.into_iter().take(count)
}

pub(crate) fn classify(fixture: &Fixture) {
    let device = device();
    let config = fixture.json("config.json");
    let label_smoothing = config["label_smoothing"].as_f64().unwrap();
    let batch = config["batch"].as_u64().unwrap() as usize;
    let base = fixture.base();
    let vit = VisionConfig::from_hf_vit(&json_file(&base.join("config.json"))).unwrap();
    let bindings = vit.bindings(VisionKeys::HfVit);
    let weights = weights_file(&base.join("model.safetensors"));
    let inputs = fixture.inputs();
    let pixels = tensor::<4>(&inputs, "pixel_values", &device);
    let labels: Vec<i64> = data(&inputs, "labels").iter::<i64>().collect();
    let order: Vec<i64> = data(&inputs, "batch_indices").iter::<i64>().collect();
    for (micro, execution) in ways() {
        println!("{micro} in a micro-batch, {execution:?}");
        let model = load(vit.init(&device), &bindings, &weights).unwrap();
        train(
            fixture,
            model,
            &bindings,
            &["embed.class_token"],
            |model, step| {
                let rows = order[step * batch..][..batch].chunks(micro.min(batch));
                let batches = rows.map(|rows| {
                    let places = TensorData::new(rows.to_vec(), [rows.len()]);
                    let places = Tensor::<1, Int>::from_data(places, &device);
                    LabelledBatch {
                        pixels: pixels.clone().select(0, places),
                        labels: rows
                            .iter()
                            .map(|row| labels[*row as usize] as usize)
                            .collect(),
                    }
                });
                let batches: Vec<_> = batches.collect();
                let seed = Seed::evaluation();
                let out = classify_step(model, &batches, label_smoothing, execution, seed);
                (out.loss, out.gradients)
            },
        );
    }
    fixture.finish();
}

pub(crate) fn mlm(fixture: &Fixture) {
    let device = device();
    let inputs = fixture.inputs();
    let shape = data(&inputs, "input_ids").shape().to_vec();
    let [_, batch, tokens] = [shape[0], shape[1], shape[2]];
    let flat = |name: &str| -> Tensor<2, Int> {
        let values: Vec<i64> = data(&inputs, name).iter::<i64>().collect();
        let rows = values.len() / tokens;
        Tensor::from_data(TensorData::new(values, [rows, tokens]), &device)
    };
    let ids = flat("input_ids");
    let real: Tensor<2, Bool> = flat("attention_mask").equal_elem(1);
    let labels = words(data(&inputs, "labels").iter::<i64>());
    for (micro, execution) in ways() {
        println!("{micro} in a micro-batch, {execution:?}");
        let MaskedBert { model, bindings } = MaskedBert::open(&fixture.base());
        train(fixture, model, &bindings, &[], |model, step| {
            let micro = micro.min(batch);
            let starts = (0..batch).step_by(micro).map(|start| step * batch + start);
            let batches = starts.map(|start| {
                let rows = start..(start + micro).min((step + 1) * batch);
                MaskedBatch {
                    ids: ids.clone().slice([rows.clone()]),
                    mask: Some(real.clone().slice([rows.clone()])),
                    labels: labels[rows.start * tokens..rows.end * tokens].to_vec(),
                }
            });
            let batches: Vec<_> = batches.collect();
            let out = mlm_step(model, &batches, execution, Seed::evaluation());
            (out.loss, out.gradients)
        });
    }
    fixture.finish();
}
