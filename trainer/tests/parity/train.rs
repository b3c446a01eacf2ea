//! Thirty training steps of a tiny CLIP.

use burn::{
    module::Module,
    tensor::{Int, Tensor, TensorData},
};
use checkpointing::{Execution, Policy, Seed};
use fusion::{Batch, DualConfig, DualEncoder, StepConfig, contrastive_step};
use optimizer::{Kind, clip_scale, gradient_norm};
use peft::{Place, for_places};
use text_encoder::TextTransformer;
use trainer::{recipe::Schedule, run::schedule::LearningRate};
use transformer::{Weights, load, save};
use vision_encoder::VisionTransformer;

use crate::{
    adapters::Adapted,
    clip::{loss_of, split},
    fixture::{Fixture, data, device, each, ids, json_file, mask, tensor, weights_file},
    optim::optimizer,
    tasks,
};

type Model = DualEncoder<VisionTransformer, TextTransformer>;

#[test]
fn parity_train() {
    each("train", |fixture| match fixture.name() {
        name if name.starts_with("lora") => lora(fixture),
        name if name.starts_with("classify") => tasks::classify(fixture),
        name if name.starts_with("mlm") => tasks::mlm(fixture),
        _ => contrastive(fixture),
    });
}

fn contrastive(fixture: &Fixture) {
    // Nothing but its name says which of the fixture's towers stands still.
    let locked = fixture.name().starts_with("locked_image");
    let outputs = fixture.weights("outputs.safetensors");
    let config = fixture.json("config.json");
    let (batch, micro) = (usize_of(&config["batch"]), usize_of(&config["micro_batch"]));
    run(
        fixture,
        &outputs,
        "",
        locked,
        &|batch| vec![batch.clone()],
        Mix::Whole,
    );
    if !locked {
        let pieces = |batch: &Batch| split(batch, micro);
        run(
            fixture,
            &outputs,
            "grad_cache.",
            locked,
            &pieces,
            Mix::Whole,
        );
        run(
            fixture,
            &outputs,
            "naive_accumulation.",
            locked,
            &pieces,
            Mix::Naive,
        );
        assert!(micro < batch);
        fixture.pass_over("grad_cache.max_abs_difference_of_final_weights");
    }
    fixture.finish();
}

/// Whether micro-batches share their negatives.
#[derive(Clone, Copy, PartialEq)]
enum Mix {
    Whole,
    /// The counter-example: each micro-batch by itself, averaged.
    Naive,
}

fn lora(fixture: &Fixture) {
    let device = device();
    let base = fixture.base();
    let (dual, keys) = DualConfig::from_hf(&json_file(&base.join("config.json"))).unwrap();
    let bindings = dual.bindings(keys);
    let weights = weights_file(&base.join("model.safetensors"));
    let model: Model = load(dual.init(&device), &bindings, &weights).unwrap();
    let adapted = Adapted::load(fixture, model, &bindings);
    let outputs = fixture.weights("outputs.safetensors");
    let pieces = |batch: &Batch| vec![batch.clone()];
    let start = adapted.model.clone();
    let model = steps(fixture, &outputs, "", start, &dual, &pieces, Mix::Whole);
    fixture.compare_parameters("final.safetensors", &adapted.saved(&model));
    // All else has stood still, bit for bit.
    let bare = |model: &Model| {
        let mut model = model.clone();
        for_places(&mut model, |_, place| {
            if let Place::Linear(map) = place {
                map.adapters.clear();
            }
        });
        save(&model, &bindings).unwrap()
    };
    let (before, after) = (bare(&adapted.model), bare(&model));
    for key in before.keys() {
        assert_eq!(before.get(key), after.get(key), "{key}");
    }
    fixture.finish();
}

fn usize_of(value: &serde_json::Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn rows(all: &Batch, indices: &[i64]) -> Batch {
    let device = all.pixels.device();
    let data = TensorData::new(indices.to_vec(), [indices.len()]);
    let index = Tensor::<1, Int>::from_data(data, &device);
    Batch {
        pixels: all.pixels.clone().select(0, index.clone()),
        ids: all.ids.clone().select(0, index.clone()),
        mask: all
            .mask
            .clone()
            .map(|mask| mask.int().select(0, index).equal_elem(1)),
    }
}

fn run(
    fixture: &Fixture,
    outputs: &Weights,
    prefix: &str,
    locked: bool,
    pieces: &dyn Fn(&Batch) -> Vec<Batch>,
    mix: Mix,
) {
    let device = device();
    let base = fixture.base();
    let (dual, keys) = DualConfig::from_hf(&json_file(&base.join("config.json"))).unwrap();
    let weights = weights_file(&base.join("model.safetensors"));
    let mut model: Model = load(dual.init(&device), &dual.bindings(keys), &weights).unwrap();
    if locked {
        model.vision = model.vision.no_grad();
    }
    let model = steps(fixture, outputs, prefix, model, &dual, pieces, mix);
    if mix == Mix::Naive {
        return;
    }
    let mut trained = save(&model, &dual.bindings(keys)).unwrap();
    if locked {
        let want = fixture.weights("final.safetensors");
        let mut kept = Weights::default();
        for key in trained.keys().filter(|key| want.get(key).is_some()) {
            kept.insert(key, trained.get(key).unwrap().clone());
        }
        for key in trained.keys().filter(|key| want.get(key).is_none()) {
            assert_eq!(
                trained.get(key),
                weights.get(key),
                "{key} is frozen and must not move"
            );
        }
        trained = kept;
    }
    fixture.compare_parameters("final.safetensors", &trained);
}

/// The steps of a fixture, its traces compared; gives the model after them.
fn steps(
    fixture: &Fixture,
    outputs: &Weights,
    prefix: &str,
    mut model: Model,
    dual: &DualConfig,
    pieces: &dyn Fn(&Batch) -> Vec<Batch>,
    mix: Mix,
) -> Model {
    let device = device();
    let config = fixture.json("config.json");
    let number = |key: &str| config[key].as_f64().unwrap();
    let inputs = fixture.inputs();
    let all = Batch {
        pixels: tensor(&inputs, "pixel_values", &device),
        ids: ids(&inputs, "input_ids", &device),
        mask: Some(mask(&inputs, "attention_mask", &device)),
    };
    let order: Vec<i64> = data(&inputs, "batch_indices").iter::<i64>().collect();
    let batch = usize_of(&config["batch"]);
    let steps = number("steps") as u64;
    let decay = Schedule::Cosine;
    let rate = LearningRate {
        base: number("lr"),
        warmup: number("warmup") as u64,
        steps,
        decay,
    };
    let mut optimizer = optimizer(Kind::AdamW, &config, &model, &[], &device);
    let step_config = StepConfig {
        loss: loss_of(dual),
        execution: Execution {
            policy: Policy::EveryCut,
            parts: 1,
        },
    };
    let mut traces: [Vec<f64>; 4] = Default::default();
    for step in 0..steps {
        let indices = &order[step as usize * batch..(step as usize + 1) * batch];
        let batches = pieces(&rows(&all, indices));
        let (loss, gradients, share) = match mix {
            Mix::Whole => {
                let out = contrastive_step(&model, &batches, &step_config, Seed::evaluation());
                (out.loss, out.gradients, 1.0)
            }
            Mix::Naive => {
                let share = 1.0 / batches.len() as f64;
                let mut gradients = checkpointing::Gradients::default();
                let mut loss = 0.0;
                for batch in batches {
                    let out = contrastive_step(&model, &[batch], &step_config, Seed::evaluation());
                    gradients.merge(out.gradients);
                    loss += out.loss * share;
                }
                (loss, gradients, share)
            }
        };
        let norm = gradient_norm(&model, &gradients) * share;
        let scale = clip_scale(norm, number("clip_norm")) * share;
        let turn = optimizer.begin(rate.at(step), scale);
        model = optimizer.update_module(&turn, model, gradients);
        model.clamp_scale(100.0);
        let log_scale = f64::from(model.logit_scale.val().into_scalar::<f32>());
        for (trace, value) in traces
            .iter_mut()
            .zip([loss, rate.at(step), norm, log_scale])
        {
            trace.push(value);
        }
    }
    for (name, trace) in ["loss", "lr", "grad_norm", "logit_scale"]
        .iter()
        .zip(traces)
    {
        let key = format!("{prefix}{name}");
        if *name == "lr" && !prefix.is_empty() {
            continue;
        }
        let shape = [trace.len()];
        fixture.compare(outputs, &key, &TensorData::new(trace, shape));
    }
    model
}
