//! Evaluation: retrieval both ways, and zero-shot classification.

use std::cmp::Ordering;

use anyhow::{Context, bail, ensure};
use burn::tensor::{Device, Tensor};
use checkpointing::{Seed, State};
use data::{Groups, Ledger, Source, Templates};
use fusion::normalise;
use peft::product;
use serde::Serialize;
use text_encoder::TextEncoder;
use vision_encoder::VisionEncoder;

use crate::{
    corpus::{Inputs, pixels_on},
    model::Model,
    progress,
};

/// Pictures or captions embedded at a time.
const BATCH: usize = 64;

/// Recall at one k.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Recall {
    /// Counted within the first k.
    pub k: usize,
    /// Share of pictures that find one of their captions.
    pub image_to_text: f64,
    /// Share of captions that find one of their pictures.
    pub text_to_image: f64,
}

/// What was found on one source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Retrieval {
    /// The source.
    pub name: String,
    /// Distinct pictures that could be read.
    pub images: usize,
    /// Distinct captions.
    pub captions: usize,
    /// Pictures that could not be read.
    pub skipped: u64,
    /// Recall at each k.
    pub recall: Vec<Recall>,
}

/// A model and how its inputs are made.
pub struct Evaluator<'a> {
    /// The model.
    pub model: &'a Model,
    /// Preprocessing and tokens.
    pub inputs: &'a Inputs,
    /// Side of a picture in pixels.
    pub image_size: usize,
    /// Where the model is.
    pub device: &'a Device,
}

impl Retrieval {
    /// The mean of both ways' recall at the first k.
    pub fn mean_first(&self) -> Option<f64> {
        let first = self.recall.first()?;
        Some((first.image_to_text + first.text_to_image) / 2.0)
    }
}

impl Evaluator<'_> {
    /// Unit features of captions, `[captions, d_joint]`.
    pub fn text_features<S: AsRef<str>>(&self, captions: &[S]) -> anyhow::Result<Tensor<2>> {
        let parts = captions.chunks(BATCH).map(|captions| {
            let batch = self.inputs.captions(captions)?.captions_on(self.device);
            let state = self.model.text.input(batch.0, batch.1);
            Ok(run(&self.model.text.segments(), state))
        });
        Ok(Tensor::cat(parts.collect::<anyhow::Result<Vec<_>>>()?, 0))
    }

    /// Unit features of the pictures of some rows, and which of the rows could be read.
    pub fn image_features(
        &self,
        source: &dyn Source,
        rows: &[usize],
        ledger: &mut Ledger,
    ) -> anyhow::Result<(Tensor<2>, Vec<usize>)> {
        let (mut parts, mut read) = (Vec::new(), Vec::new());
        let bar = progress::bar(rows.len() as u64);
        for rows in rows.chunks(BATCH) {
            bar.inc(rows.len() as u64);
            let (mut pictures, mut bad) = (Vec::new(), Vec::new());
            for picture in self.inputs.pictures(source, rows, None) {
                match picture {
                    Ok(picture) => pictures.push(picture),
                    Err(error) => bad.push(error),
                }
            }
            bad.into_iter().for_each(|error| ledger.record(error));
            if pictures.is_empty() {
                continue;
            }
            read.extend(pictures.iter().map(|(row, _)| *row));
            let pixels = pixels_on(&pictures, self.image_size, self.device);
            let state = self.model.vision.input(pixels);
            parts.push(run(&self.model.vision.segments(), state));
        }
        bar.finish_and_clear();
        ensure!(
            !parts.is_empty(),
            "{}: no picture can be read: {ledger}",
            source.name()
        );
        Ok((Tensor::cat(parts, 0), read))
    }

    /// Recall at each of `ks`, over distinct pictures and captions.
    pub fn retrieval(&self, source: &dyn Source, ks: &[usize]) -> anyhow::Result<Retrieval> {
        let groups = source.groups();
        let mut ledger = Ledger::new();
        let (images, read) = self.image_features(source, groups.image_rows(), &mut ledger)?;
        let captions: Vec<String> = groups
            .caption_rows()
            .iter()
            .map(|row| source.caption(*row).into_owned())
            .collect();
        let texts = self.text_features(&captions)?;
        let (of_image, of_text) = relevant(&groups, &read, captions.len());
        let image_ranks = ranks(images.clone(), texts.clone(), &of_image);
        let text_ranks = ranks(texts, images, &of_text);
        let share = |ranks: &[usize], k: usize| {
            ranks.iter().filter(|rank| **rank < k).count() as f64 / ranks.len().max(1) as f64
        };
        let recall = ks.iter().map(|k| Recall {
            k: *k,
            image_to_text: share(&image_ranks, *k),
            text_to_image: share(&text_ranks, *k),
        });
        Ok(Retrieval {
            name: source.name().to_string(),
            images: read.len(),
            captions: captions.len(),
            skipped: ledger.total(),
            recall: recall.collect(),
        })
    }

    /// Share of pictures whose class (their caption in `labelled`) is nearest, with the prompts
    /// of each class averaged (Radford et al. 2021).
    pub fn zero_shot(
        &self,
        labelled: &dyn Source,
        classes: &[String],
        templates: &[String],
    ) -> anyhow::Result<f64> {
        let templates = Templates::new(templates.iter().map(String::as_str))?;
        let prompts: Vec<String> = classes
            .iter()
            .flat_map(|class| templates.fill(class).collect::<Vec<_>>())
            .collect();
        let features = self.text_features(&prompts)?;
        let [_, d_joint] = features.dims();
        let mean: Tensor<2> = features
            .reshape([classes.len(), templates.len(), d_joint])
            .mean_dim(1)
            .squeeze_dim(1);
        let groups = labelled.groups();
        let mut ledger = Ledger::new();
        let (images, read) = self.image_features(labelled, groups.image_rows(), &mut ledger)?;
        let of_image = read
            .iter()
            .map(|row| {
                let label = labelled.caption(*row);
                let class = classes.iter().position(|class| *class == label);
                class.map(|class| vec![class]).with_context(|| {
                    format!("{}: `{label}` is not among the classes", labelled.name())
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let hits = ranks(images, normalise(mean).0, &of_image);
        Ok(hits.iter().filter(|rank| **rank == 0).count() as f64 / hits.len() as f64)
    }
}

fn run(chain: &[&dyn checkpointing::Link], state: State) -> Tensor<2> {
    let output = chain
        .iter()
        .fold(state, |state, link| link.run(state, Seed::evaluation()));
    normalise(output.into_hidden().squeeze_dim(1)).0
}

/// For each picture that was read, its captions; for each caption, its pictures.
fn relevant(
    groups: &Groups,
    read: &[usize],
    captions: usize,
) -> (Vec<Vec<usize>>, Vec<Vec<usize>>) {
    let mut place = vec![None; groups.image_rows().len()];
    for (position, row) in read.iter().enumerate() {
        place[groups.image_of_row()[*row]] = Some(position);
    }
    let (mut of_image, mut of_text) = (vec![Vec::new(); read.len()], vec![Vec::new(); captions]);
    for (image, caption) in groups.image_of_row().iter().zip(groups.caption_of_row()) {
        if let Some(position) = place[*image] {
            of_image[position].push(*caption);
            of_text[*caption].push(position);
        }
    }
    (of_image, of_text)
}

/// How many wrong candidates stand before the best right one, for each query that has one. A tie
/// counts against the query, so that a collapsed model scores nothing.
fn ranks(queries: Tensor<2>, candidates: Tensor<2>, right: &[Vec<usize>]) -> Vec<usize> {
    const ROWS: usize = 256;
    let [count, width] = queries.dims();
    let candidates = candidates.transpose();
    let mut ranks = Vec::with_capacity(count);
    for start in (0..count).step_by(ROWS) {
        let rows = start..(start + ROWS).min(count);
        let queries = queries.clone().slice([rows.clone(), 0..width]);
        let scores = product(queries, candidates.clone());
        let [_, options] = scores.dims();
        let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
        for (query, scores) in rows.zip(scores.chunks(options)) {
            let right = &right[query];
            let best = right
                .iter()
                .map(|i| scores[*i])
                .fold(f32::NEG_INFINITY, f32::max);
            if right.is_empty() {
                continue;
            }
            let before = scores.iter().enumerate().filter(|(i, score)| {
                score.partial_cmp(&&best) != Some(Ordering::Less) && !right.contains(i)
            });
            ranks.push(before.count());
        }
    }
    ranks
}

/// A table of results for people.
pub fn table(results: &[Retrieval]) -> String {
    let mut out = String::new();
    for result in results {
        let chance = |k: usize, n: usize| 100.0 * k.min(n) as f64 / n.max(1) as f64;
        out += &format!(
            "{}: {} pictures, {} captions{}\n",
            result.name,
            result.images,
            result.captions,
            match result.skipped {
                0 => String::new(),
                skipped => format!(", {skipped} pictures could not be read"),
            }
        );
        out += "         image to text   text to image   chance\n";
        for recall in &result.recall {
            out += &format!(
                "  R@{:<4} {:>11.1} % {:>13.1} % {:>7.1} %\n",
                recall.k,
                100.0 * recall.image_to_text,
                100.0 * recall.text_to_image,
                chance(recall.k, result.images),
            );
        }
    }
    out
}

/// Checks that there is something to evaluate on.
pub fn not_empty(sources: &[Box<dyn Source>]) -> anyhow::Result<()> {
    if let Some(empty) = sources.iter().find(|source| source.is_empty()) {
        bail!("{}: nothing to evaluate on", empty.name());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_count_wrong_candidates_and_ties_before_the_best_right_one() {
        let device = Device::default();
        let queries = Tensor::<2>::from_floats([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], &device);
        let candidates =
            Tensor::<2>::from_floats([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.5, 0.5]], &device);
        let right = [vec![0], vec![1, 3], vec![2]];
        assert_eq!(ranks(queries, candidates, &right), [0, 1, 3]);
    }

    #[test]
    fn several_captions_a_picture_and_pictures_a_caption_are_all_right() {
        let images = ["a", "a", "b", "c"];
        let captions = ["cat", "pet", "pet", "dog"];
        let groups = Groups::new(4, |i| images[i].into(), |i| captions[i].into());
        let (of_image, of_text) = relevant(&groups, &[0, 3], 3);
        assert_eq!(of_image, [vec![0, 1], vec![2]]);
        assert_eq!(of_text, [vec![0], vec![0], vec![1]]);
    }
}
