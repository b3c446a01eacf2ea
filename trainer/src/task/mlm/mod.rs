//! A BERT says the words of a caption that are hidden (Devlin et al. 2019).

mod build;
mod inputs;
mod masking;

use std::sync::atomic::AtomicBool;

use anyhow::ensure;
use burn::tensor::Device;
use checkpointing::Seed;
use data::{Ledger, Source};
use serde_json::{Value, json};
use text_encoder::{MaskedBatch, MaskedLanguageModel, TextConfig, mlm_step};
use transformer::{Bindings, Weights, save};

use super::{Built, Evaluated, Export, Format, Learnt, Plan, Task, Validation, go_on};
use crate::{
    device,
    input::{ConfigFile, HF, sources},
    progress,
    recipe::{self, Recipe},
};
use inputs::{HostBatch, Inputs};

/// Captions that are evaluated at a time.
const BATCH: usize = 64;

/// A run that learns words.
pub(crate) struct Mlm {
    recipe: Recipe,
    config: TextConfig,
    inputs: Inputs,
    device: Device,
}

impl Task for Mlm {
    type Model = MaskedLanguageModel;
    type Inputs = Inputs;

    const SAMPLES: &'static str = "captions";
    const READS_PICTURES: bool = false;

    fn open(source: &recipe::Source, recipe: &Recipe) -> anyhow::Result<Box<dyn Source>> {
        sources::open_one(source, recipe)
    }

    fn build(plan: Plan<'_>) -> anyhow::Result<Built<Self>> {
        build::build(plan)
    }

    fn inputs(&self) -> &Inputs {
        &self.inputs
    }

    fn step(&self, model: &MaskedLanguageModel, batches: Vec<HostBatch>, seed: Seed) -> Learnt {
        let batches = batches.into_iter().map(|batch| self.to_device(batch));
        let batches: Vec<_> = batches.collect();
        let execution = super::execution(&self.recipe, &self.device);
        let out = device::with_torch_threads(execution.parts, || {
            mlm_step(model, &batches, execution, seed)
        });
        Learnt {
            loss: out.loss,
            gradients: out.gradients,
        }
    }

    fn evaluate(
        &self,
        model: &MaskedLanguageModel,
        on: &[Validation],
        stop: Option<&AtomicBool>,
        _is_last: bool,
    ) -> anyhow::Result<Evaluated> {
        let mut found = Evaluated::default();
        for on in on {
            let words = self.words(model, on.source.as_ref(), stop)?;
            found.score = found.score.or(Some(-words.loss));
            found.said.push(words.summary());
            let line = [("masked_words".to_owned(), words.json())];
            found.lines.push(line.into_iter().collect());
        }
        Ok(found)
    }

    fn weights(&self, model: &MaskedLanguageModel) -> anyhow::Result<Weights> {
        Ok(save(model, &self.config.mlm_bindings())?)
    }

    fn transformers_names(&self) -> Bindings {
        self.config.mlm_bindings()
    }

    fn formats(&self) -> Vec<Format> {
        let is_bert = self.config.to_hf_bert().is_some();
        is_bert.then_some(Format::Hf).into_iter().collect()
    }

    fn export(
        &self,
        model: &MaskedLanguageModel,
        format: Format,
    ) -> anyhow::Result<Option<Export>> {
        let (Format::Hf, Some(json)) = (format, self.config.to_hf_bert()) else {
            return Ok(None);
        };
        let captions = &self.inputs.captions;
        let exported = captions
            .tokenizer()
            .export_files(captions.context(), true)?;
        Ok(Some(Export {
            config: ConfigFile { name: HF, json },
            weights: self.weights(model)?,
            files: exported.files,
            notes: exported.notes,
            call: "transformers.BertForMaskedLM.from_pretrained(\"{}\")",
        }))
    }
}

/// How many hidden words of a source are told right.
struct Words {
    name: String,
    captions: usize,
    /// Captions that have no encoding.
    skipped: u64,
    words: usize,
    correct: usize,
    /// The mean cross-entropy.
    loss: f64,
}

impl Words {
    fn accuracy(&self) -> f64 {
        self.correct as f64 / self.words.max(1) as f64
    }

    /// The exponential of the loss (Jelinek et al. 1977), of hidden words alone.
    fn perplexity(&self) -> f64 {
        self.loss.exp()
    }

    fn summary(&self) -> String {
        format!(
            "{}: {} of {} hidden words of {} captions are right, {:.1} %; perplexity {:.2}",
            self.name,
            self.correct,
            self.words,
            self.captions,
            100.0 * self.accuracy(),
            self.perplexity()
        )
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "captions": self.captions,
            "skipped": self.skipped,
            "words": self.words,
            "accuracy": self.accuracy(),
            "loss": self.loss,
            "perplexity": self.perplexity(),
        })
    }
}

impl Mlm {
    fn to_device(&self, batch: HostBatch) -> MaskedBatch {
        let (ids, mask) = batch.captions.to_device(&self.device);
        MaskedBatch {
            ids,
            mask,
            labels: batch.labels,
        }
    }

    /// The same words are hidden at every evaluation.
    fn words(
        &self,
        model: &MaskedLanguageModel,
        source: &dyn Source,
        stop: Option<&AtomicBool>,
    ) -> anyhow::Result<Words> {
        let rows: Vec<usize> = (0..source.len()).collect();
        let (mut loss, mut correct, mut words, mut captions) = (0.0, 0, 0, 0);
        let mut ledger = Ledger::new();
        let bar = progress::bar(rows.len() as u64);
        for rows in rows.chunks(BATCH) {
            go_on(stop)?;
            bar.inc(rows.len() as u64);
            let batch = self.inputs.batch(source, rows, &mut ledger);
            captions += batch.captions.rows();
            if batch.captions.rows() == 0 {
                continue;
            }
            let found = model.evaluate(&self.to_device(batch));
            loss += found.loss * found.counted as f64;
            correct += found.correct;
            words += found.counted;
        }
        bar.finish_and_clear();
        ensure!(
            words > 0,
            "{}: no caption holds a word of the vocabulary: {ledger}",
            source.name()
        );
        Ok(Words {
            name: source.name().to_string(),
            captions,
            skipped: ledger.total(),
            words,
            correct,
            loss: loss / words as f64,
        })
    }
}
