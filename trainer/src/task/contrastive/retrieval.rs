//! Retrieval both ways, and zero-shot classification.

use std::{cmp::Ordering, collections::HashMap, sync::atomic::AtomicBool};

use anyhow::{Context, ensure};
use burn::tensor::{Device, Tensor};
use checkpointing::{Chain, Seed, State};
use data::{Groups, Ledger, Source, Templates};
use fusion::normalise;
use kernels::product;
use serde::Serialize;
use text_encoder::TextEncoder;
use transformer::Tokens;
use vision_encoder::VisionEncoder;

use super::{Inputs, Model};
use crate::{
    progress,
    task::{Stopped, go_on},
};

/// Pictures or captions embedded at a time.
const BATCH: usize = 64;

/// Recall at one k.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Recall {
    /// Counted within the first k.
    pub k: usize,
    /// Share of pictures that find one of their captions.
    pub image_to_text: f64,
    /// Share of captions that find one of their pictures.
    pub text_to_image: f64,
}

/// Queries that tie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Ties {
    /// Pictures.
    pub image_to_text: usize,
    /// Captions.
    pub text_to_image: usize,
}

impl Ties {
    /// As the end of a line; nothing where there are none.
    fn summary(self) -> String {
        let (images, texts) = (self.image_to_text, self.text_to_image);
        if images + texts == 0 {
            return String::new();
        }
        format!(
            "; {images} pictures and {texts} captions tie with a wrong answer, which counts as a miss"
        )
    }
}

/// What was found on one source.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Retrieval {
    /// The source.
    pub name: String,
    /// Distinct pictures that could be read.
    pub images: usize,
    /// Distinct captions: those that are the same tokens are one.
    pub captions: usize,
    /// Pictures that could not be read.
    pub skipped: u64,
    /// Queries whose best right answer ties with a wrong one, which counts against them.
    pub ties: Ties,
    /// Recall at each k.
    pub recall: Vec<Recall>,
}

/// A model and how its inputs are made.
pub(crate) struct Evaluator<'a> {
    /// The model.
    pub model: &'a Model,
    /// Preprocessing and tokens.
    pub inputs: &'a Inputs,
    /// Where the model is.
    pub device: &'a Device,
    /// Ends the evaluation with [`Stopped`] once it is set.
    pub stop: Option<&'a AtomicBool>,
}

impl Retrieval {
    /// The mean of both ways' recall at the first k.
    pub(crate) fn mean_first(&self) -> Option<f64> {
        let first = self.recall.first()?;
        Some((first.image_to_text + first.text_to_image) / 2.0)
    }
}

impl Evaluator<'_> {
    /// Fails once the evaluation is to stop.
    fn go_on(&self) -> Result<(), Stopped> {
        go_on(self.stop)
    }

    /// Unit features of captions, `[captions, d_joint]`.
    pub(crate) fn text_features<S: AsRef<str>>(&self, captions: &[S]) -> anyhow::Result<Tensor<2>> {
        let parts = captions.chunks(BATCH).map(|captions| {
            self.go_on()?;
            let batch = self.inputs.captions.read(captions)?.to_device(self.device);
            let state = self.model.text.input(batch.0, batch.1);
            Ok(run(&self.model.text.chain(Tokens::Pooled), state))
        });
        Ok(Tensor::cat(parts.collect::<anyhow::Result<Vec<_>>>()?, 0))
    }

    /// Unit features of the pictures of some rows, and which of the rows could be read.
    pub(crate) fn image_features(
        &self,
        source: &dyn Source,
        rows: &[usize],
        ledger: &mut Ledger,
    ) -> anyhow::Result<(Tensor<2>, Vec<usize>)> {
        let (mut parts, mut read) = (Vec::new(), Vec::new());
        let bar = progress::bar(rows.len() as u64);
        for rows in rows.chunks(BATCH) {
            self.go_on()?;
            bar.inc(rows.len() as u64);
            let (mut pictures, mut bad) = (Vec::new(), Vec::new());
            for picture in self.inputs.images.pictures(source, rows, None) {
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
            let pixels = self
                .inputs
                .images
                .together(&pictures)
                .to_device(self.device);
            let state = self.model.vision.input(pixels);
            parts.push(run(&self.model.vision.chain(Tokens::Pooled), state));
        }
        bar.finish_and_clear();
        ensure!(
            !parts.is_empty(),
            "{}: no picture can be read: {ledger}",
            source.name()
        );
        Ok((Tensor::cat(parts, 0), read))
    }

    /// Recall at each of `ks`, over distinct pictures and captions. Captions that are the same after tokenising cannot be
    /// told apart by any model: they are one caption, which is right for the pictures of all of them.
    pub(crate) fn retrieval(&self, source: &dyn Source, ks: &[usize]) -> anyhow::Result<Retrieval> {
        let groups = source.groups();
        let mut ledger = Ledger::new();
        let (images, read) = self.image_features(source, groups.image_rows(), &mut ledger)?;
        let captions = self.distinct(source, &groups)?;
        let texts = self.text_features(&captions.texts)?;
        let (of_image, of_text) = relevant(&groups, &captions, &read);
        self.go_on()?;
        let (image_ranks, image_ties) = ranks(images.clone(), texts.clone(), &of_image);
        self.go_on()?;
        let (text_ranks, text_ties) = ranks(texts, images, &of_text);
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
            captions: captions.texts.len(),
            skipped: ledger.total(),
            ties: Ties {
                image_to_text: image_ties,
                text_to_image: text_ties,
            },
            recall: recall.collect(),
        })
    }

    /// The captions of a source that are not the same tokens.
    fn distinct(&self, source: &dyn Source, groups: &Groups) -> anyhow::Result<Captions> {
        let mut known: HashMap<Vec<i64>, usize> = HashMap::new();
        let mut captions = Captions {
            texts: Vec::new(),
            of_group: Vec::with_capacity(groups.caption_rows().len()),
        };
        for row in groups.caption_rows() {
            let text = source.caption(*row);
            let next = captions.texts.len();
            let number = *known
                .entry(self.inputs.captions.tokens(&text)?)
                .or_insert(next);
            if number == next {
                captions.texts.push(text.into_owned());
            }
            captions.of_group.push(number);
        }
        Ok(captions)
    }

    /// Share of pictures whose class (their caption in `labelled`) is nearest, with the prompts
    /// of each class averaged (Radford et al. 2021).
    pub(crate) fn zero_shot(
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
        let (hits, _) = ranks(images, normalise(mean).0, &of_image);
        Ok(hits.iter().filter(|rank| **rank == 0).count() as f64 / hits.len() as f64)
    }
}

fn run(chain: &Chain<'_>, state: State) -> Tensor<2> {
    let output = chain.run(0..chain.len(), state, Seed::evaluation());
    normalise(output.into_hidden().squeeze_dim(1)).0
}

/// Captions that differ in their tokens.
struct Captions {
    texts: Vec<String>,
    /// For each caption that differs in its letters, the number of its tokens in `texts`.
    of_group: Vec<usize>,
}

/// For each picture that was read, its captions; for each caption, its pictures.
fn relevant(
    groups: &Groups,
    captions: &Captions,
    read: &[usize],
) -> (Vec<Vec<usize>>, Vec<Vec<usize>>) {
    let mut place = vec![None; groups.image_rows().len()];
    for (position, row) in read.iter().enumerate() {
        place[groups.image_of_row()[*row]] = Some(position);
    }
    let mut of_image = vec![Vec::new(); read.len()];
    let mut of_text = vec![Vec::new(); captions.texts.len()];
    for (image, group) in groups.image_of_row().iter().zip(groups.caption_of_row()) {
        let caption = captions.of_group[*group];
        if let Some(position) = place[*image] {
            of_image[position].push(caption);
            of_text[caption].push(position);
        }
    }
    (of_image, of_text)
}

/// How many wrong candidates stand before the best right one, for each query that has one, and the number of queries in
/// which a wrong one ties with it. A tie counts against the query, so that a collapsed model scores nothing.
fn ranks(queries: Tensor<2>, candidates: Tensor<2>, right: &[Vec<usize>]) -> (Vec<usize>, usize) {
    const ROWS: usize = 256;
    let [count, width] = queries.dims();
    let candidates = candidates.transpose();
    let mut ranks = Vec::with_capacity(count);
    let mut tied = 0;
    for start in (0..count).step_by(ROWS) {
        let rows = start..(start + ROWS).min(count);
        let queries = queries.clone().slice([rows.clone(), 0..width]);
        let scores = product(queries, candidates.clone());
        let [_, options] = scores.dims();
        let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
        for (query, scores) in rows.zip(scores.chunks(options)) {
            if let Some((rank, ties)) = rank(scores, &right[query]) {
                ranks.push(rank);
                tied += usize::from(ties > 0);
            }
        }
    }
    (ranks, tied)
}

/// The wrong candidates that score as much as the best right one or more, and how many of them score the same; none
/// without a right one.
fn rank(scores: &[f32], right: &[usize]) -> Option<(usize, usize)> {
    let best = right.iter().map(|i| scores[*i]).reduce(f32::max)?;
    let (mut before, mut ties) = (0, 0);
    for (i, score) in scores.iter().enumerate() {
        let order = score.partial_cmp(&best);
        // What is no number is before everything.
        if order != Some(Ordering::Less) && !right.contains(&i) {
            before += 1;
            ties += usize::from(order == Some(Ordering::Equal));
        }
    }
    Some((before, ties))
}

/// A table of results for people.
pub(crate) fn table(results: &[Retrieval]) -> String {
    let mut out = String::new();
    for result in results {
        let chance = |k: usize, n: usize| 100.0 * k.min(n) as f64 / n.max(1) as f64;
        out += &format!(
            "{}: {} pictures, {} captions{}{}\n",
            result.name,
            result.images,
            result.captions,
            match result.skipped {
                0 => String::new(),
                skipped => format!(", {skipped} pictures could not be read"),
            },
            result.ties.summary()
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
        assert_eq!(ranks(queries, candidates, &right), (vec![0, 1, 3], 1));
    }

    #[test]
    fn several_captions_a_picture_and_pictures_a_caption_are_all_right() {
        let images = ["a", "a", "b", "c"];
        let captions = ["cat", "pet", "pet", "dog"];
        let groups = Groups::new(4, |i| images[i].into(), |i| captions[i].into());
        let captions = |of_group: &[usize], distinct: usize| Captions {
            texts: vec![String::new(); distinct],
            of_group: of_group.to_vec(),
        };
        let (of_image, of_text) = relevant(&groups, &captions(&[0, 1, 2], 3), &[0, 3]);
        assert_eq!(of_image, [vec![0, 1], vec![2]]);
        assert_eq!(of_text, [vec![0], vec![0], vec![1]]);
        // "cat" and "dog" are the same tokens.
        let (of_image, of_text) = relevant(&groups, &captions(&[0, 1, 0], 2), &[0, 2, 3]);
        assert_eq!(of_image, [vec![0, 1], vec![1], vec![0]]);
        assert_eq!(of_text, [vec![0, 2], vec![0, 1]]);
    }

    #[test]
    fn a_score_that_is_no_number_is_a_miss() {
        assert_eq!(rank(&[f32::NAN, 0.5], &[1]), Some((1, 0)));
        assert_eq!(rank(&[0.5, f32::NAN], &[1]), Some((1, 0)));
        assert_eq!(rank(&[0.5], &[]), None);
    }
}
