//! Pictures and captions that belong together find each other: CLIP, SigLIP.

use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use checkpointing::{Policy, Seed};
use data::Source;
use fusion::{DualConfig, DualKeys, StepConfig, contrastive_step};
use serde_json::{Map, Value, json};
use transformer::{Weights, save};

use super::{Evaluated, Learnt, Task};
use crate::{
    corpus::{HostBatch, Inputs},
    device,
    eval::{self, Evaluator, Retrieval},
    model::{self, Model},
    recipe::{Checkpointing, Recipe},
    zero_shot,
};

/// A contrastive run.
pub(crate) struct Contrastive<'a> {
    pub(crate) recipe: &'a Recipe,
    pub(crate) config: DualConfig,
    /// Whose names the tensors have on disk.
    pub(crate) keys: DualKeys,
    pub(crate) inputs: Inputs,
    pub(crate) device: &'a Device,
    pub(crate) validation: &'a [Box<dyn Source>],
    /// The same with the classes of pictures for captions; empty where the recipe asks for no classification.
    pub(crate) labelled: &'a [Box<dyn Source>],
    /// Ends an evaluation once it is set.
    pub(crate) stop: &'a AtomicBool,
}

impl Task for Contrastive<'_> {
    type Model = Model;
    type Inputs = Inputs;

    fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    fn step(&self, model: &Model, batches: Vec<HostBatch>, seed: Seed) -> Learnt {
        let settings = &self.recipe.train;
        let batches = batches.into_iter();
        let batches: Vec<_> = batches.map(|batch| batch.to_device(self.device)).collect();
        let pairs = settings.micro_batch.unwrap_or(settings.batch);
        let config = StepConfig {
            loss: model::loss_of(&self.config),
            policy: match settings.checkpointing {
                Checkpointing::StoreAll => Policy::StoreAll,
                Checkpointing::EveryCut => Policy::EveryCut,
                Checkpointing::Every(n) => Policy::Every(n),
            },
            parts: device::parts(self.device, pairs),
        };
        let out = device::apart(config.parts, || {
            contrastive_step(model, &batches, &config, seed)
        });
        Learnt {
            loss: out.loss,
            gradients: out.gradients,
        }
    }

    fn constrain(&self, model: &mut Model) {
        model.clamp_scale(self.recipe.train.max_scale);
    }

    fn metrics(&self, model: &Model) -> Map<String, Value> {
        [("scale".to_owned(), json!(model.scale()))]
            .into_iter()
            .collect()
    }

    fn is_evaluated(&self) -> bool {
        !self.validation.is_empty()
    }

    fn evaluate(&self, model: &Model, is_last: bool) -> anyhow::Result<Evaluated> {
        let evaluator = Evaluator {
            model,
            inputs: &self.inputs,
            device: self.device,
            stop: Some(self.stop),
        };
        let results = self.validation.iter();
        let results =
            results.map(|source| evaluator.retrieval(source.as_ref(), &self.recipe.eval.recall));
        let results = results.collect::<anyhow::Result<Vec<_>>>()?;
        let line = |key: &str, value: Value| [(key.to_owned(), value)].into_iter().collect();
        let mut found = Evaluated {
            said: vec![eval::table(&results)],
            lines: results
                .iter()
                .map(|found| line("retrieval", json!(found)))
                .collect(),
            score: results.first().and_then(Retrieval::mean_first),
        };
        if is_last {
            for (name, accuracy) in zero_shot::measure(self.recipe, self.labelled, &evaluator)? {
                let percent = 100.0 * accuracy;
                found
                    .said
                    .push(format!("{name}: zero-shot accuracy {percent:.1} %"));
                let accuracy = json!({ "name": name, "accuracy": accuracy });
                found.lines.push(line("zero_shot", accuracy));
            }
        }
        Ok(found)
    }

    fn weights(&self, model: &Model) -> anyhow::Result<Weights> {
        Ok(save(model, &self.config.bindings(self.keys))?)
    }

    /// That of the files that the model was made of first.
    fn export_format(&self) -> Option<&'static str> {
        let hf = self.config.to_hf().map(|_| "hf");
        let open_clip = self.config.to_open_clip().map(|_| "open_clip");
        match self.keys {
            DualKeys::OpenClip | DualKeys::OpenClipCustom => open_clip.or(hf),
            DualKeys::HfClip | DualKeys::HfSiglip => hf.or(open_clip),
        }
    }
}
