//! A vision tower says the class of a picture: a ViT (Dosovitskiy et al. 2021) with cross-entropy.

mod build;
mod inputs;

use std::{cmp::Ordering, collections::BTreeMap, sync::atomic::AtomicBool};

use anyhow::{bail, ensure};
use burn::tensor::{Device, Tensor};
use checkpointing::Seed;
use data::{Ledger, Source};
use serde_json::{Map, Value, json};
use transformer::{Bindings, Tokens, Weights, save};
use vision_encoder::{
    LabelledBatch, VisionConfig, VisionEncoder, VisionKeys, VisionTransformer, classify_step,
    image::PreprocessorConfig,
};

use super::{Built, Evaluated, Export, Format, Learnt, Plan, Task, Validation, go_on};
use crate::{
    device,
    input::{ConfigFile, PREPROCESSOR, sources},
    progress,
    recipe::{self, Recipe},
};
use inputs::{HostBatch, Inputs};

/// Pictures that are evaluated at a time.
const BATCH: usize = 64;

/// A right class among so many counts: top-1 and top-5.
const TOP: [usize; 2] = [1, 5];

/// Classes that a message lists.
const LISTED: usize = 10;

/// A run that learns classes.
pub(crate) struct Classify {
    recipe: Recipe,
    settings: recipe::Classify,
    config: VisionConfig,
    /// Whose names the tensors have on disk.
    keys: VisionKeys,
    preprocessing: PreprocessorConfig,
    inputs: Inputs,
    device: Device,
}

/// The settings of a recipe, whose task this is.
fn settings(recipe: &Recipe) -> &recipe::Classify {
    match &recipe.task {
        recipe::Task::Classify(settings) => settings,
        recipe::Task::Contrastive | recipe::Task::Mlm(_) => {
            unreachable!("the task of the recipe is another")
        }
    }
}

impl Task for Classify {
    type Model = VisionTransformer;
    type Inputs = Inputs;

    const SAMPLES: &'static str = "pictures";
    const READS_PICTURES: bool = true;

    fn open(source: &recipe::Source, recipe: &Recipe) -> anyhow::Result<Box<dyn Source>> {
        sources::open_labels(source, recipe, &settings(recipe).column)
    }

    fn build(plan: Plan<'_>) -> anyhow::Result<Built<Self>> {
        build::build(plan)
    }

    fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    /// Every class must be one of those that are learnt.
    fn check(&self, source: &dyn Source) -> anyhow::Result<()> {
        let mut unknown = BTreeMap::new();
        for row in 0..source.len() {
            let class = source.caption(row);
            if self.inputs.number(&class).is_none() {
                unknown.entry(class.into_owned()).or_insert(row);
            }
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> = unknown
            .keys()
            .take(LISTED)
            .map(|class| format!("{class:?}"))
            .collect();
        bail!(
            "{}: {} of its classes {} among those that are learnt: {}{}; give pictures of them to train on, or name them \
             in `task.classes`",
            source.name(),
            unknown.len(),
            if unknown.len() == 1 {
                "is not"
            } else {
                "are not"
            },
            shown.join(", "),
            if unknown.len() > LISTED { ", ..." } else { "" }
        )
    }

    fn step(&self, model: &VisionTransformer, batches: Vec<HostBatch>, seed: Seed) -> Learnt {
        let batches = batches.into_iter().map(|batch| LabelledBatch {
            pixels: batch.pixels.to_device(&self.device),
            labels: batch.labels,
        });
        let batches: Vec<_> = batches.collect();
        let execution = super::execution(&self.recipe, &self.device);
        let smoothing = self.settings.label_smoothing;
        let out = device::with_torch_threads(execution.parts, || {
            classify_step(model, &batches, smoothing, execution, seed)
        });
        Learnt {
            loss: out.loss,
            gradients: out.gradients,
        }
    }

    fn evaluate(
        &self,
        model: &VisionTransformer,
        on: &[Validation],
        stop: Option<&AtomicBool>,
        _is_last: bool,
    ) -> anyhow::Result<Evaluated> {
        let mut found = Evaluated::default();
        for on in on {
            let accuracy = self.accuracy(model, on.source.as_ref(), stop)?;
            found.score = found.score.or(Some(accuracy.top[0]));
            found.said.push(accuracy.summary());
            let line = [("accuracy".to_owned(), accuracy.json())];
            found.lines.push(line.into_iter().collect());
        }
        Ok(found)
    }

    fn weights(&self, model: &VisionTransformer) -> anyhow::Result<Weights> {
        Ok(save(model, &self.config.bindings(self.keys))?)
    }

    fn transformers_names(&self) -> Bindings {
        let is_vit = self.config.to_hf_vit(&self.settings.classes).is_some();
        let keys = if is_vit { VisionKeys::HfVit } else { self.keys };
        self.config.bindings(keys)
    }

    fn formats(&self) -> Vec<Format> {
        let is_vit = self.config.to_hf_vit(&self.settings.classes).is_some();
        is_vit.then_some(Format::Hf).into_iter().collect()
    }

    fn export(&self, model: &VisionTransformer, format: Format) -> anyhow::Result<Option<Export>> {
        let json = self.config.to_hf_vit(&self.settings.classes);
        let pictures = self.preprocessing.to_hf_json();
        let (Format::Hf, Some(json), Some(pictures)) = (format, json, pictures) else {
            return Ok(None);
        };
        Ok(Some(Export {
            config: ConfigFile {
                name: crate::input::HF,
                json,
            },
            weights: save(model, &self.config.bindings(VisionKeys::HfVit))?,
            files: vec![(PREPROCESSOR, serde_json::to_vec_pretty(&pictures)?)],
            notes: Vec::new(),
            call: "transformers.ViTForImageClassification.from_pretrained(\"{}\")",
        }))
    }
}

/// How many pictures of a source are told right.
struct Accuracy {
    name: String,
    pictures: usize,
    skipped: u64,
    classes: usize,
    /// The share whose class is among the likeliest, for each of [`TOP`].
    top: [f64; 2],
}

impl Accuracy {
    fn summary(&self) -> String {
        let chance = |k: usize| 100.0 * k.min(self.classes) as f64 / self.classes as f64;
        let skipped = match self.skipped {
            0 => String::new(),
            skipped => format!(", {skipped} could not be read"),
        };
        let shares = TOP.iter().zip(self.top).map(|(k, share)| {
            format!(
                "top-{k} {:.1} % (chance {:.1} %)",
                100.0 * share,
                chance(*k)
            )
        });
        format!(
            "{}: {} pictures{skipped}, {} classes: {}",
            self.name,
            self.pictures,
            self.classes,
            shares.collect::<Vec<_>>().join(", ")
        )
    }

    fn json(&self) -> Value {
        let [top_1, top_5] = self.top;
        json!({
            "name": self.name,
            "pictures": self.pictures,
            "skipped": self.skipped,
            "classes": self.classes,
            "top_1": top_1,
            "top_5": top_5,
        })
    }
}

impl Classify {
    fn accuracy(
        &self,
        model: &VisionTransformer,
        source: &dyn Source,
        stop: Option<&AtomicBool>,
    ) -> anyhow::Result<Accuracy> {
        let mut ledger = Ledger::new();
        let mut hits = [0; 2];
        let mut pictures = 0;
        let chain = model.chain(Tokens::Pooled);
        let rows: Vec<usize> = (0..source.len()).collect();
        let bar = progress::bar(rows.len() as u64);
        for rows in rows.chunks(BATCH) {
            go_on(stop)?;
            bar.inc(rows.len() as u64);
            let mut read = Vec::new();
            for picture in self.inputs.images.pictures(source, rows, None) {
                match picture {
                    Ok(picture) => read.push(picture),
                    Err(error) => ledger.record(error),
                }
            }
            if read.is_empty() {
                continue;
            }
            pictures += read.len();
            let pixels = self.inputs.images.together(&read).to_device(&self.device);
            let output = chain.run(0..chain.len(), model.input(pixels), Seed::evaluation());
            let logits: Tensor<2> = output.into_hidden().squeeze_dim(1);
            let [_, classes] = logits.dims();
            let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
            for ((row, _), logits) in read.iter().zip(logits.chunks(classes)) {
                let class = self.inputs.number(&source.caption(*row));
                let rank = class.map_or(classes, |class| rank(logits, class));
                for (hits, k) in hits.iter_mut().zip(TOP) {
                    *hits += usize::from(rank < k);
                }
            }
        }
        bar.finish_and_clear();
        ensure!(
            pictures > 0,
            "{}: no picture can be read: {ledger}",
            source.name()
        );
        Ok(Accuracy {
            name: source.name().to_string(),
            pictures,
            skipped: ledger.total(),
            classes: self.settings.classes.len(),
            top: hits.map(|hits| hits as f64 / pictures as f64),
        })
    }
}

/// How many other classes are as likely as this one or more: a tie counts against it, and so does what is no number.
fn rank(logits: &[f32], class: usize) -> usize {
    let own = logits[class];
    let before = logits.iter().enumerate();
    let before = before.filter(|(other, logit)| {
        *other != class && logit.partial_cmp(&&own) != Some(Ordering::Less)
    });
    before.count()
}

/// What is written of the classes beside the weights of timm.
fn timm_file(file: &ConfigFile, classes: &[String]) -> ConfigFile {
    let mut json = file.json.clone();
    if let Some(args) = json["model_args"].as_object_mut() {
        args.remove("num_classes");
    }
    json["num_classes"] = json!(classes.len());
    json["label_names"] = json!(classes);
    ConfigFile {
        json,
        ..file.clone()
    }
}

/// The classes of a folder in the order of their numbers, where its config names them.
fn classes_of(json: &Value) -> Option<Vec<String>> {
    if let Some(names) = json["label_names"].as_array() {
        let names = names.iter().map(|name| name.as_str().map(str::to_owned));
        return names.collect();
    }
    let names: &Map<String, Value> = json["id2label"].as_object()?;
    let of = |id: usize| Some(names.get(&id.to_string())?.as_str()?.to_owned());
    (0..names.len()).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tie_and_what_is_no_number_count_against_a_class() {
        assert_eq!(rank(&[0.1, 0.9, 0.5], 1), 0);
        assert_eq!(rank(&[0.9, 0.9, 0.5], 1), 1);
        assert_eq!(rank(&[0.1, f32::NAN, 0.5], 2), 1);
        assert_eq!(rank(&[0.1, f32::NAN, 0.5], 1), 2);
    }

    #[test]
    fn classes_are_read_in_the_order_of_their_numbers() {
        let hf = json!({"id2label": {"0": "b", "1": "a", "10": "k"}});
        assert_eq!(classes_of(&hf), None);
        let hf = json!({"id2label": {"1": "a", "0": "b"}});
        assert_eq!(classes_of(&hf).unwrap(), ["b", "a"]);
        let timm = json!({"label_names": ["x", "y"]});
        assert_eq!(classes_of(&timm).unwrap(), ["x", "y"]);
        assert_eq!(classes_of(&json!({})), None);
    }
}
