//! Cross-entropy over a vocabulary, head and loss together, without a matrix `[tokens, vocabulary]`.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData, activation::log_softmax};
use kernels::{
    column_sums,
    host::{HostTensor, Kernel, dot_by, exp, largest, map_lanes, sum_rows, vectorise},
    is_host, product,
};

/// Logits that are there at a time: 20 MB of float32.
const TILE: usize = 5 << 20;

/// Words whose gradients are made at a time: few enough to be added up while they are in the cache.
const WORDS: usize = 1024;

/// The head of a vocabulary: `logits = hidden W' + b`.
#[derive(Clone, Debug)]
pub struct VocabularyHead {
    /// `W`, `[vocabulary, d_model]`: a table of words, often the embedding's.
    pub weight: Tensor<2>,
    /// `b`, `[vocabulary]`.
    pub bias: Option<Tensor<1>>,
}

/// Which gradients of [`vocabulary_cross_entropy`] somebody reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VocabularyWants {
    /// That of the hidden states.
    pub hidden: bool,
    /// That of the table.
    pub weight: bool,
    /// That of the bias.
    pub bias: bool,
}

/// What [`vocabulary_cross_entropy`] gives.
#[derive(Debug)]
pub struct VocabularyLoss {
    /// The sum over the tokens that have a label, divided by `mean_over`; 0 if none has.
    pub loss: f64,
    /// How many of these have their label as the likeliest word.
    pub correct: usize,
    /// How many tokens have a label.
    pub counted: usize,
    /// The gradient of the hidden states, `[tokens, d_model]`.
    pub hidden: Option<Tensor<2>>,
    /// The gradient of the table, `[vocabulary, d_model]`.
    pub weight: Option<Tensor<2>>,
    /// The gradient of the bias, `[vocabulary]`.
    pub bias: Option<Tensor<1>>,
}

/// The cross-entropy of the labelled tokens over the vocabulary, summed and divided by `mean_over`, and its gradients.
/// `mean_over` is the number of labels of the whole batch, of which these may be a part.
///
/// Logits are made for some tokens at a time, turned into their gradients in their place, and used up before the next: no
/// product is made twice. Tokens without a label cost nothing.
///
/// Shapes: hidden `[tokens, d_model]`; a label for each token, or none.
///
/// # Panics
///
/// Panics if there are more or fewer labels than tokens, or if a label is no word.
pub fn vocabulary_cross_entropy(
    hidden: Tensor<2>,
    head: &VocabularyHead,
    labels: &[Option<usize>],
    mean_over: usize,
    wants: VocabularyWants,
) -> VocabularyLoss {
    by_tiles(hidden, head, labels, mean_over, wants, TILE)
}

fn by_tiles(
    hidden: Tensor<2>,
    head: &VocabularyHead,
    labels: &[Option<usize>],
    mean_over: usize,
    wants: VocabularyWants,
    tile: usize,
) -> VocabularyLoss {
    let [tokens, d_model] = hidden.dims();
    let [vocabulary, _] = head.weight.dims();
    assert_eq!(labels.len(), tokens, "a label for each token, or none");
    let labelled = labels.iter().enumerate();
    let labelled: Vec<(i64, usize)> = labelled
        .filter_map(|(token, label)| Some((token as i64, (*label)?)))
        .collect();
    let (places, labels): (Vec<i64>, Vec<usize>) = labelled.into_iter().unzip();
    assert!(
        labels.iter().all(|label| *label < vocabulary),
        "a label is a word of the vocabulary"
    );
    let device = hidden.device();
    let all = labels.len() == tokens;
    let places = Tensor::from_data(TensorData::new(places, [labels.len()]), &device);
    let picked = if all {
        hidden
    } else {
        hidden.select(0, places.clone())
    };
    let mut sums = Sums::new(head, mean_over, wants);
    let rows = (tile / vocabulary.max(1)).max(1);
    for start in (0..labels.len()).step_by(rows) {
        let range = start..(start + rows).min(labels.len());
        let tile = picked.clone().slice([range.clone(), 0..d_model]);
        sums.add(tile, &labels[range]);
    }
    let mut loss = sums.finish(d_model, labels.len());
    if !all {
        loss.hidden = loss.hidden.map(|picked| {
            let zeros = Tensor::zeros([tokens, d_model], &device);
            zeros.select_assign(0, places, picked, burn::tensor::IndexingUpdateOp::Add)
        });
    }
    loss
}

/// What is summed up over the tiles.
struct Sums<'a> {
    head: &'a VocabularyHead,
    wants: VocabularyWants,
    mean_over: usize,
    loss: f64,
    correct: usize,
    hidden: Vec<Tensor<2>>,
    bias: Option<Tensor<1>>,
    weight: Option<TableGradient>,
}

impl<'a> Sums<'a> {
    fn new(head: &'a VocabularyHead, mean_over: usize, wants: VocabularyWants) -> Self {
        Self {
            head,
            wants,
            mean_over,
            loss: 0.0,
            correct: 0,
            hidden: Vec::new(),
            bias: None,
            weight: wants.weight.then(|| TableGradient::new(&head.weight)),
        }
    }

    fn add(&mut self, hidden: Tensor<2>, labels: &[usize]) {
        let weight = &self.head.weight;
        let mut logits = product(hidden.clone(), weight.clone().transpose());
        if let Some(bias) = &self.head.bias {
            logits = logits + bias.clone().unsqueeze();
        }
        let share = 1.0 / self.mean_over as f64;
        let tile = if HostTensor::opens(&logits) {
            tile_on_host(logits, labels, share)
        } else {
            tile_in_tensors(logits, labels, share)
        };
        self.loss += tile.loss;
        self.correct += tile.correct;
        if self.wants.hidden {
            self.hidden
                .push(product(tile.cotangent.clone(), weight.clone()));
        }
        if self.wants.bias {
            let part = column_sums(tile.cotangent.clone());
            self.bias = Some(match self.bias.take() {
                None => part,
                Some(sum) => sum + part,
            });
        }
        if let Some(sum) = &mut self.weight {
            sum.add(tile.cotangent, hidden);
        }
    }

    fn finish(self, d_model: usize, counted: usize) -> VocabularyLoss {
        let (device, wants) = (self.head.weight.device(), self.wants);
        let [vocabulary, _] = self.head.weight.dims();
        let hidden = wants.hidden.then(|| {
            if self.hidden.is_empty() {
                Tensor::zeros([0, d_model], &device)
            } else {
                Tensor::cat(self.hidden, 0)
            }
        });
        let bias = self.bias;
        VocabularyLoss {
            loss: self.loss,
            correct: self.correct,
            counted,
            hidden,
            weight: self.weight.map(TableGradient::finish),
            bias: wants
                .bias
                .then(|| bias.unwrap_or_else(|| Tensor::zeros([vocabulary], &device))),
        }
    }
}

/// What a tile of logits gives.
struct Tile {
    /// Its share of the mean.
    loss: f64,
    correct: usize,
    /// The cotangent of the logits, `[rows, vocabulary]`.
    cotangent: Tensor<2>,
}

fn tile_on_host(logits: Tensor<2>, labels: &[usize], share: f64) -> Tile {
    let mut logits = HostTensor::fetch(logits);
    let [_, vocabulary] = logits.dims();
    let (mut loss, mut correct) = (0.0, 0);
    sum_rows(
        logits.slice_mut(),
        vocabulary,
        |first, rows| {
            vectorise(Rows {
                logits: rows,
                labels: &labels[first..],
                vocabulary,
                share: share as f32,
            })
        },
        |(part, hits)| {
            loss += part;
            correct += hits;
        },
    );
    Tile {
        loss: loss * share,
        correct,
        cotangent: logits.close(),
    }
}

/// Turns rows of logits into their cotangents; gives the sum of losses and the number of right words.
struct Rows<'a> {
    logits: &'a mut [f32],
    labels: &'a [usize],
    vocabulary: usize,
    share: f32,
}

impl Kernel for Rows<'_> {
    type Output = (f64, usize);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let (mut loss, mut correct) = (0.0, 0);
        let rows = self.logits.chunks_exact_mut(self.vocabulary);
        for (row, label) in rows.zip(self.labels) {
            let top = largest(row);
            let wanted = row[*label];
            // Of several that are as likely the first counts, as `argmax` has it.
            let is_first = row[..*label].iter().all(|x| *x < top);
            correct += usize::from(wanted >= top && is_first);
            map_lanes(row, |x| exp(x - top));
            // By pieces: in one go, float32 is 3e-6 off over 40,000 words.
            let pieces = row.chunks(WORDS);
            let sum: f64 = pieces
                .map(|piece| f64::from(dot_by(piece, piece, |x, _| x)))
                .sum();
            loss += sum.ln() + f64::from(top) - f64::from(wanted);
            let scale = (f64::from(self.share) / sum) as f32;
            map_lanes(row, |x| x * scale);
            row[*label] -= self.share;
        }
        (loss, correct)
    }
}

fn tile_in_tensors(logits: Tensor<2>, labels: &[usize], share: f64) -> Tile {
    let [rows, _] = logits.dims();
    let device = logits.device();
    let labels: Vec<i64> = labels.iter().map(|label| *label as i64).collect();
    let labels =
        Tensor::<2, burn::tensor::Int>::from_data(TensorData::new(labels, [rows, 1]), &device);
    let likeliest = logits.clone().argmax(1);
    let hits = likeliest.cast(labels.dtype()).equal(labels.clone());
    let correct = hits.int().sum().into_scalar::<i64>() as usize;
    let log = log_softmax(logits, 1);
    let loss = log.clone().gather(1, labels.clone()).sum();
    let ones = Tensor::full([rows, 1], -share, &device);
    let add = burn::tensor::IndexingUpdateOp::Add;
    let cotangent = (log.exp() * share).scatter(1, labels, ones, add);
    Tile {
        loss: -f64::from(loss.into_scalar::<f32>()) * share,
        correct,
        cotangent,
    }
}

/// The gradient of the table, some words at a time, so that no second table is made for each tile.
enum TableGradient {
    /// One piece of memory, added to in its place.
    Host(TensorData, burn::tensor::Device),
    /// Runs of words, each `[WORDS, d_model]` but for the last.
    Device(Vec<Tensor<2>>),
}

impl TableGradient {
    fn new(table: &Tensor<2>) -> Self {
        let device = table.device();
        if is_host(&device) {
            Self::Host(TensorData::zeros::<f32, _>(table.dims()), device)
        } else {
            Self::in_runs(table)
        }
    }

    fn in_runs(table: &Tensor<2>) -> Self {
        let ([vocabulary, d_model], device) = (table.dims(), table.device());
        let starts = (0..vocabulary).step_by(WORDS);
        let zeros = |start: usize| Tensor::zeros([WORDS.min(vocabulary - start), d_model], &device);
        Self::Device(starts.map(zeros).collect())
    }

    fn add(&mut self, cotangent: Tensor<2>, hidden: Tensor<2>) {
        let [rows, vocabulary] = cotangent.dims();
        let [_, d_model] = hidden.dims();
        let words = |run: usize| run * WORDS..((run + 1) * WORDS).min(vocabulary);
        let part = |words: Range<usize>| {
            let cotangent = cotangent.clone().slice([0..rows, words]);
            product(cotangent.transpose(), hidden.clone())
        };
        match self {
            Self::Host(sum, _) => {
                let sum = sum.as_mut_slice::<f32>().expect("made as float32");
                for run in 0..vocabulary.div_ceil(WORDS) {
                    let part = HostTensor::fetch(part(words(run)));
                    let to = &mut sum[run * WORDS * d_model..][..part.slice().len()];
                    let part = part.slice();
                    kernels::host::for_rows(to, d_model, |first, rows| {
                        let from = &part[first * d_model..];
                        rows.iter_mut().zip(from).for_each(|(sum, x)| *sum += x);
                    });
                }
            }
            Self::Device(runs) => {
                for (run, sum) in runs.iter_mut().enumerate() {
                    *sum = sum.clone() + part(words(run));
                }
            }
        }
    }

    fn finish(self) -> Tensor<2> {
        match self {
            Self::Host(sum, device) => Tensor::from_data(sum, &device),
            Self::Device(runs) => Tensor::cat(runs, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, Distribution, Int};

    use super::*;

    const ALL: VocabularyWants = VocabularyWants {
        hidden: true,
        weight: true,
        bias: true,
    };

    /// Loss and gradients by the whole matrix and autodiff, in float64 on the host.
    fn naive(
        hidden: &Tensor<2>,
        head: &VocabularyHead,
        labels: &[Option<usize>],
    ) -> (f64, [Tensor<2>; 2], Tensor<1>) {
        fn leaf<const D: usize>(x: &Tensor<D>) -> Tensor<D> {
            let x = x.clone().to_device(&testing::host()).cast(DType::F64);
            x.autodiff().require_grad()
        }
        let (hidden, weight) = (leaf(hidden), leaf(&head.weight));
        let bias = leaf(head.bias.as_ref().expect("there is one"));
        let logits = hidden.clone().matmul(weight.clone().transpose());
        let log = log_softmax(logits + bias.clone().unsqueeze(), 1);
        let labelled = labels.iter().enumerate();
        let (places, words): (Vec<i64>, Vec<i64>) = labelled
            .filter_map(|(place, word)| Some((place as i64, (*word)? as i64)))
            .unzip();
        let count = places.len();
        let ints = |values: Vec<i64>| {
            let data = TensorData::new(values, [count]);
            Tensor::<1, Int>::from_data(data, &testing::host()).autodiff()
        };
        let picked = log
            .select(0, ints(places))
            .gather(1, ints(words).reshape([count, 1]));
        let loss = picked.sum().neg() / count as f64;
        let mut grads = loss.clone().backward();
        let mut grad = |x: &Tensor<2>| x.grad_remove(&mut grads).expect("a gradient");
        let matrices = [grad(&hidden), grad(&weight)];
        let bias = bias.grad_remove(&mut grads).expect("a gradient");
        (loss.inner().into_scalar::<f64>(), matrices, bias)
    }

    fn case(
        tokens: usize,
        vocabulary: usize,
        device: &Device,
    ) -> (Tensor<2>, VocabularyHead, Vec<Option<usize>>) {
        let normal = |std| Distribution::Normal(0.0, std);
        // Logits of a deviation of a half: their own rounding changes a probability by 6e-8 at 1, and by 5e-7 at 8.
        let head = VocabularyHead {
            weight: Tensor::random([vocabulary, 24], normal(0.1), device),
            bias: Some(Tensor::random([vocabulary], normal(0.1), device)),
        };
        let labels = (0..tokens).map(|i| (i % 3 != 1).then_some(i * 7919 % vocabulary));
        (
            Tensor::random([tokens, 24], normal(1.0), device),
            head,
            labels.collect(),
        )
    }

    #[test]
    fn loss_and_gradients_are_those_of_the_whole_matrix() {
        let device = testing::device();
        // The second has several tiles of tokens and several runs of words. A float32 sum of many more terms is itself
        // further off than the bound.
        for (tokens, vocabulary) in [(40, 97), (60, 1100)] {
            let (hidden, head, labels) = case(tokens, vocabulary, &device);
            let count = labels.iter().flatten().count();
            let got = by_tiles(hidden.clone(), &head, &labels, count, ALL, 16 * vocabulary);
            let (loss, [want_hidden, want_weight], want_bias) = naive(&hidden, &head, &labels);
            assert!(
                (got.loss - loss).abs() <= 1e-6 * loss,
                "{}, not {loss}",
                got.loss
            );
            testing::assert_close(&got.hidden.expect("wanted"), &want_hidden, 1e-6);
            testing::assert_close(&got.weight.expect("wanted"), &want_weight, 1e-6);
            testing::assert_close(&got.bias.expect("wanted"), &want_bias, 1e-6);
            assert_eq!(got.counted, count);
        }
    }

    #[test]
    fn rows_on_host_equal_tensor_operations() {
        let device = testing::host();
        let logits = Tensor::<2>::random([7, 61], Distribution::Normal(0.0, 3.0), &device);
        let logits = logits.slice_assign([3..4, 0..61], Tensor::ones([1, 61], &device));
        let mut labels = [3, 60, 0, 17, 5, 8, 20];
        // One is right; in another all words are as likely.
        let likeliest = logits.clone().argmax(1).into_data();
        labels[4] = likeliest.iter::<i64>().nth(4).expect("seven rows") as usize;
        let want = tile_in_tensors(logits.clone(), &labels, 0.25);
        let got = tile_on_host(logits, &labels, 0.25);
        assert!((got.loss - want.loss).abs() <= 1e-5 * want.loss);
        assert_eq!(got.correct, want.correct);
        testing::assert_close(&got.cotangent, &want.cotangent, 2e-6);
    }

    #[test]
    fn runs_of_words_add_up_to_the_table() {
        let device = testing::device();
        let random = |shape| Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device);
        let (table, cotangent) = (random([2 * WORDS + 7, 5]), random([6, 2 * WORDS + 7]));
        let hidden = random([6, 5]);
        let (mut whole, mut runs) = (TableGradient::new(&table), TableGradient::in_runs(&table));
        testing::assert_within(
            &TableGradient::in_runs(&table).finish(),
            &table.zeros_like(),
            0.0,
        );
        for sum in [&mut whole, &mut runs] {
            sum.add(cotangent.clone(), hidden.clone());
            sum.add(cotangent.clone(), hidden.clone());
        }
        let want = cotangent.transpose().matmul(hidden) * 2.0;
        testing::assert_close(&whole.finish(), &want, 1e-6);
        testing::assert_close(&runs.finish(), &want, 1e-6);
    }

    #[test]
    fn without_labels_there_is_no_loss_and_no_gradient() {
        let device = testing::device();
        let (hidden, head, _) = case(5, 11, &device);
        let got = vocabulary_cross_entropy(hidden, &head, &[None; 5], 0, ALL);
        assert_eq!((got.loss, got.counted), (0.0, 0));
        assert_eq!(testing::largest(&got.hidden.expect("wanted")), 0.0);
        assert_eq!(testing::largest(&got.weight.expect("wanted")), 0.0);
    }
}
