//! Pictures and captions that belong together find each other: CLIP, SigLIP, and towers that were trained apart.

mod build;
mod inputs;
pub(crate) mod retrieval;
mod sizes;
mod zero_shot;

use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use checkpointing::Seed;
use data::Source;
use fusion::{DualConfig, DualEncoder, DualKeys, StepConfig, contrastive_step};
use serde_json::{Map, Value, json};
use text_encoder::{TextTransformer, tokenizer::Tokenizer};
use transformer::{Bindings, Weights, save};
use vision_encoder::{VisionTransformer, image::PreprocessorConfig};

use super::{Built, Evaluated, Export, Format, Learnt, Plan, Task, Validation, not_empty};
use crate::{
    device,
    input::{ConfigFile, HF, OPEN_CLIP, PREPROCESSOR, sources},
    recipe::{self, Recipe},
};
#[cfg(test)]
pub(crate) use build::namings;
pub use inputs::{HostBatch, Inputs};
use retrieval::{Evaluator, Retrieval};

/// The model this task trains.
pub(crate) type Model = DualEncoder<VisionTransformer, TextTransformer>;

/// A contrastive run.
pub(crate) struct Contrastive {
    recipe: Recipe,
    config: DualConfig,
    /// Whose names the tensors have on disk.
    keys: DualKeys,
    preprocessing: PreprocessorConfig,
    inputs: Inputs,
    device: Device,
}

impl Contrastive {
    /// How the model is evaluated.
    pub(crate) fn evaluator<'a>(
        &'a self,
        model: &'a Model,
        stop: Option<&'a AtomicBool>,
    ) -> Evaluator<'a> {
        Evaluator {
            model,
            inputs: &self.inputs,
            device: &self.device,
            stop,
        }
    }
}

impl Task for Contrastive {
    type Model = Model;
    type Inputs = Inputs;

    const SAMPLES: &'static str = "pairs";
    const READS_PICTURES: bool = true;

    fn open(source: &recipe::Source, recipe: &Recipe) -> anyhow::Result<Box<dyn Source>> {
        sources::open_one(source, recipe)
    }

    fn validation(recipe: &Recipe) -> anyhow::Result<Vec<Validation>> {
        let opened = sources::open(&recipe.data.val, recipe, Self::open)?.sources;
        let mut labelled = zero_shot::labelled(recipe)?.into_iter();
        not_empty(&opened)?;
        let with_labels = opened.into_iter().map(|source| Validation {
            source,
            labelled: labelled.next(),
        });
        Ok(with_labels.collect())
    }

    fn build(plan: Plan<'_>) -> anyhow::Result<Built<Self>> {
        build::build(plan)
    }

    fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    fn step(&self, model: &Model, batches: Vec<HostBatch>, seed: Seed) -> Learnt {
        let batches = batches.into_iter();
        let batches: Vec<_> = batches.map(|batch| batch.to_device(&self.device)).collect();
        let config = StepConfig {
            loss: sizes::loss_of(&self.config),
            execution: super::execution(&self.recipe, &self.device),
        };
        let out = device::with_torch_threads(config.execution.parts, || {
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

    fn evaluate(
        &self,
        model: &Model,
        on: &[Validation],
        stop: Option<&AtomicBool>,
        is_last: bool,
    ) -> anyhow::Result<Evaluated> {
        let evaluator = self.evaluator(model, stop);
        let ks = &self.recipe.eval.recall;
        let results = on
            .iter()
            .map(|on| evaluator.retrieval(on.source.as_ref(), ks));
        let results = results.collect::<anyhow::Result<Vec<_>>>()?;
        let line = |key: &str, value: Value| [(key.to_owned(), value)].into_iter().collect();
        let mut found = Evaluated {
            said: vec![retrieval::table(&results)],
            lines: results
                .iter()
                .map(|found| line("retrieval", json!(found)))
                .collect(),
            score: results.first().and_then(Retrieval::mean_first),
        };
        if is_last {
            for (name, accuracy) in zero_shot::measure(&self.recipe, on, &evaluator)? {
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

    fn transformers_names(&self) -> Bindings {
        let keys = match (self.config.to_hf(), self.config.logit_bias) {
            (Some((_, keys)), _) => keys,
            (None, None) => DualKeys::HfClip,
            (None, Some(_)) => DualKeys::HfSiglip,
        };
        self.config.bindings(keys)
    }

    fn formats(&self) -> Vec<Format> {
        let hf = self.config.to_hf().map(|_| Format::Hf);
        let open_clip = self.config.to_open_clip().map(|_| Format::OpenClip);
        let formats = match self.keys {
            DualKeys::OpenClip | DualKeys::OpenClipCustom => [open_clip, hf],
            DualKeys::HfClip | DualKeys::HfSiglip | DualKeys::HfVisionText => [hf, open_clip],
        };
        formats.into_iter().flatten().collect()
    }

    fn export(&self, model: &Model, format: Format) -> anyhow::Result<Option<Export>> {
        let captions = &self.inputs.captions;
        let tokenizer = captions.tokenizer();
        let pads_matter = !self.config.text.trims();
        let exported = tokenizer.export_files(captions.context(), pads_matter)?;
        let for_hf = self.preprocessing.to_hf_json();
        // Pictures that the other library would preprocess otherwise would give other features.
        let parts = match format {
            Format::Hf => self
                .config
                .to_hf()
                .filter(|_| for_hf.is_some())
                .map(|(config, keys)| (HF, with_special_tokens(config, tokenizer), keys)),
            Format::OpenClip => match (
                self.config.to_open_clip(),
                self.preprocessing.to_open_clip_json(),
            ) {
                (Some((mut config, keys)), Some(preprocessing)) => {
                    let kwargs = &exported.open_clip_kwargs;
                    config["text_cfg"]["tokenizer_kwargs"] = kwargs.clone();
                    let json = json!({ "model_cfg": config, "preprocess_cfg": preprocessing });
                    Some((OPEN_CLIP, json, keys))
                }
                _ => None,
            },
        };
        let Some((name, json, keys)) = parts else {
            return Ok(None);
        };
        let mut files = Vec::new();
        if let Some(json) = for_hf {
            files.push((PREPROCESSOR, serde_json::to_vec_pretty(&json)?));
        }
        files.extend(exported.files);
        Ok(Some(Export {
            config: ConfigFile { name, json },
            weights: save(model, &self.config.bindings(keys))?,
            files,
            notes: exported.notes,
            call: match keys {
                DualKeys::HfClip => "transformers.CLIPModel.from_pretrained(\"{}\")",
                DualKeys::HfSiglip => "transformers.SiglipModel.from_pretrained(\"{}\")",
                DualKeys::HfVisionText => {
                    "transformers.VisionTextDualEncoderModel.from_pretrained(\"{}\")"
                }
                DualKeys::OpenClip | DualKeys::OpenClipCustom => {
                    "open_clip.create_model_and_transforms(\"local-dir:{}\")"
                }
            },
        }))
    }
}

/// The special tokens' ids are the tokenizer's own.
fn with_special_tokens(mut config: Value, tokenizer: &Tokenizer) -> Value {
    let text = &mut config["text_config"];
    text["pad_token_id"] = json!(tokenizer.pad_id());
    let ends = [
        ("bos_token_id", tokenizer.start_id()),
        ("eos_token_id", tokenizer.end_id()),
    ];
    for (key, id) in ends {
        if let Some(id) = id {
            text[key] = json!(id);
        }
    }
    config
}
