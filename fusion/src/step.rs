//! The forward-with-pullback of a contrastive batch, in one piece or in micro-batches.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use burn::tensor::{Bool, Int, Tensor};
use checkpointing::{Gradients, Link, Policy, Pullback, Seed, State, forward};
use rayon::prelude::*;
use text_encoder::TextEncoder;
use vision_encoder::VisionEncoder;

use crate::{
    DualEncoder,
    loss::{ContrastiveLoss, LogitMap, LossAndGrads, Tiling},
    normalise, pull_normalise,
};

/// Pictures and captions that belong together, row by row.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Normalised pictures, `[batch, channels, height, width]`.
    pub pixels: Tensor<4>,
    /// Token ids, `[batch, tokens]`.
    pub ids: Tensor<2, Int>,
    /// True for real tokens, `[batch, tokens]`; only for towers that read one.
    pub mask: Option<Tensor<2, Bool>>,
}

impl Batch {
    /// The pairs in `parts` runs of nearly the same length, in order; fewer if there are fewer pairs.
    fn parts(&self, parts: usize) -> Vec<Self> {
        let [pairs, ..] = self.pixels.dims();
        let parts = parts.clamp(1, pairs.max(1));
        if parts == 1 {
            return vec![self.clone()];
        }
        let start = |part: usize| part * pairs / parts;
        (0..parts)
            .map(|part| {
                let rows = start(part)..start(part + 1);
                Self {
                    pixels: self.pixels.clone().slice([rows.clone()]),
                    ids: self.ids.clone().slice([rows.clone()]),
                    mask: self.mask.clone().map(|mask| mask.slice([rows])),
                }
            })
            .collect()
    }
}

/// How a step is computed.
#[derive(Clone, Debug)]
pub struct StepConfig {
    /// The loss.
    pub loss: ContrastiveLoss,
    /// What is kept between forward and backward.
    pub policy: Policy,
    /// Parts of a micro-batch that are computed side by side, each by a thread of the pool that calls; 1 computes it
    /// as a whole. The gradient is the same but for the order of its sums.
    pub parts: usize,
}

/// What a step gives back.
#[derive(Debug)]
pub struct StepOutput {
    /// The loss of the whole batch.
    pub loss: f64,
    /// The gradients of everything that trains.
    pub gradients: Gradients,
}

/// Loss and gradients of one contrastive batch, given as one or more micro-batches.
///
/// All features meet in one loss, so that every pair is every other pair's negative whatever the
/// micro-batches: with several, features are computed first without graphs, then each
/// micro-batch runs again for its pullback (GradCache, Gao et al. 2021). The last one keeps its
/// graphs and runs once. The parts of a micro-batch are seeded as micro-batches of their own.
///
/// # Panics
///
/// Panics if there is no micro-batch.
pub fn contrastive_step<V: VisionEncoder, T: TextEncoder>(
    model: &DualEncoder<V, T>,
    micro_batches: &[Batch],
    config: &StepConfig,
    seed: Seed,
) -> StepOutput {
    let towers = Towers::new(model, config.policy);
    let states = |batch: &Batch| {
        [
            model.vision.input(batch.pixels.clone()),
            model.text.input(batch.ids.clone(), batch.mask.clone()),
        ]
    };
    let mut seeds = (0..).map(|place| seed.child(place));
    let micro_batches: Vec<Vec<Piece>> = micro_batches
        .iter()
        .map(|batch| {
            batch
                .parts(config.parts)
                .into_iter()
                .zip(&mut seeds)
                .collect()
        })
        .collect();
    let (last, cached) = micro_batches
        .split_last()
        .expect("a step needs at least one batch");

    let mut features: Vec<[Feature; 2]> = Vec::new();
    for pieces in cached {
        features.extend(side_by_side(pieces, |_, (batch, seed)| {
            towers.features(states(batch), *seed)
        }));
    }
    let recorded = side_by_side(last, |_, (batch, seed)| towers.record(states(batch), *seed));
    let (recorded, pullbacks): (Vec<_>, Vec<_>) = recorded.into_iter().unzip();
    features.extend(recorded);

    let joined = |side: usize| {
        let units = features.iter().map(|piece| piece[side].unit.clone());
        Tensor::cat(units.collect(), 0)
    };
    let logits = LogitMap {
        scale: model.scale(),
        bias: model.bias(),
    };
    let evaluated = config
        .loss
        .evaluate(joined(0), joined(1), logits, Tiling::default());
    let mut gradients = Gradients::default();
    scale_gradients(model, &evaluated, &mut gradients);

    let mut cotangents = Cotangents::new(&evaluated);
    let mut pulled = features.into_iter().map(|piece| cotangents.next(piece));
    for pieces in cached {
        let sum = Sum::of(pieces.len(), &mut gradients);
        side_by_side(
            pieces.iter().zip(&mut pulled),
            |part, ((batch, seed), pulled)| {
                towers.pull_again(states(batch), *seed, pulled, &mut |segment| {
                    sum.add(part, segment)
                });
            },
        );
    }
    let sum = Sum::of(pullbacks.len(), &mut gradients);
    side_by_side(
        pullbacks.into_iter().zip(pulled),
        |part, (pullbacks, pulled)| {
            pull(pullbacks, pulled, &mut |segment| sum.add(part, segment));
        },
    );
    StepOutput {
        loss: evaluated.loss,
        gradients,
    }
}

/// Pairs that are computed as one, and their seed.
type Piece = (Batch, Seed);

/// `f(place, piece)` of each piece in order, each by a thread of its own as far as the pool has some.
fn side_by_side<P: Send, T: Send>(
    pieces: impl IntoIterator<Item = P>,
    f: impl Fn(usize, P) -> T + Sync,
) -> Vec<T> {
    let pieces: Vec<(usize, P)> = pieces.into_iter().enumerate().collect();
    let run = |(place, piece)| f(place, piece);
    // One stays on the thread that calls: a GPU has a queue for each thread.
    if pieces.len() == 1 {
        return pieces.into_iter().map(run).collect();
    }
    pieces.into_par_iter().with_max_len(1).map(run).collect()
}

/// Gradients that the parts of a batch hand over segment by segment, each at its own pace. They are summed in the order of
/// the parts, whichever comes first.
struct Sum<'a>(Mutex<(Vec<VecDeque<Gradients>>, &'a mut Gradients)>);

impl<'a> Sum<'a> {
    fn of(parts: usize, into: &'a mut Gradients) -> Self {
        let waiting = (0..parts).map(|_| VecDeque::new()).collect();
        Self(Mutex::new((waiting, into)))
    }

    fn add(&self, part: usize, segment: Gradients) {
        let mut locked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (waiting, sum) = &mut *locked;
        waiting[part].push_back(segment);
        while waiting.iter().all(|segments| !segments.is_empty()) {
            for segments in waiting.iter_mut() {
                segments
                    .pop_front()
                    .into_iter()
                    .for_each(|segment| sum.merge(segment));
            }
        }
    }
}

/// A tower's features of a micro-batch, at unit length, and what they were divided by.
struct Feature {
    unit: Tensor<2>,
    norms: Tensor<2>,
}

impl Feature {
    fn new(output: State) -> Self {
        let features = output.into_hidden();
        let [batch, _, d_joint] = features.dims();
        let (unit, norms) = normalise(features.reshape([batch, d_joint]));
        Self { unit, norms }
    }
}

/// Walks the loss's cotangents micro-batch by micro-batch.
struct Cotangents<'a> {
    loss: &'a LossAndGrads,
    start: usize,
}

impl<'a> Cotangents<'a> {
    fn new(loss: &'a LossAndGrads) -> Self {
        Self { loss, start: 0 }
    }

    fn next(&mut self, piece: [Feature; 2]) -> [Tensor<3>; 2] {
        let [rows, _] = piece[0].unit.dims();
        let range = self.start..self.start + rows;
        self.start += rows;
        let [image, text] = piece;
        [(image, &self.loss.grad_image), (text, &self.loss.grad_text)].map(|(feature, all)| {
            let [_, d_joint] = all.dims();
            let cotangent = all.clone().slice([range.clone(), 0..d_joint]);
            pull_normalise(feature.unit, feature.norms, cotangent).unsqueeze_dim(1)
        })
    }
}

/// The chains of both towers and how they are run.
struct Towers<'a> {
    vision: Vec<&'a dyn Link>,
    text: Vec<&'a dyn Link>,
    policy: Policy,
}

impl<'a> Towers<'a> {
    fn new<V: VisionEncoder, T: TextEncoder>(model: &'a DualEncoder<V, T>, policy: Policy) -> Self {
        Self {
            vision: model.vision.segments(),
            text: model.text.segments(),
            policy,
        }
    }

    fn features(&self, [picture, caption]: [State; 2], seed: Seed) -> [Feature; 2] {
        let run = |chain: &[&dyn Link], state, seed: Seed| {
            let output = chain
                .iter()
                .enumerate()
                .fold(state, |state, (index, link)| {
                    link.run(state, seed.child(index as u64))
                });
            Feature::new(output)
        };
        [
            run(&self.vision, picture, seed.child(0)),
            run(&self.text, caption, seed.child(1)),
        ]
    }

    fn record(
        &self,
        [picture, caption]: [State; 2],
        seed: Seed,
    ) -> ([Feature; 2], [Pullback<'_>; 2]) {
        let (image, image_pullback) = forward(
            &self.vision,
            &self.policy.schedule(self.vision.len()),
            picture,
            seed.child(0),
            false,
        );
        let (text, text_pullback) = forward(
            &self.text,
            &self.policy.schedule(self.text.len()),
            caption,
            seed.child(1),
            false,
        );
        (
            [Feature::new(image), Feature::new(text)],
            [image_pullback, text_pullback],
        )
    }
}

impl Towers<'_> {
    /// Runs the towers again for the pullback; one in which nothing trains is left alone.
    fn pull_again(
        &self,
        [picture, caption]: [State; 2],
        seed: Seed,
        cotangents: [Tensor<3>; 2],
        sink: &mut dyn FnMut(Gradients),
    ) {
        let [image, text] = cotangents;
        let sides = [(&self.vision, picture, image), (&self.text, caption, text)];
        for (side, (chain, state, cotangent)) in sides.into_iter().enumerate() {
            if chain.iter().any(|link| link.trains()) {
                let schedule = self.policy.schedule(chain.len());
                let (_, pullback) =
                    forward(chain, &schedule, state, seed.child(side as u64), false);
                pullback.pull_into(vec![cotangent], sink);
            }
        }
    }
}

fn pull(pullbacks: [Pullback<'_>; 2], cotangents: [Tensor<3>; 2], sink: &mut dyn FnMut(Gradients)) {
    for (pullback, cotangent) in pullbacks.into_iter().zip(cotangents) {
        pullback.pull_into(vec![cotangent], sink);
    }
}

/// The gradients of the logarithm of the scale, and of the bias.
fn scale_gradients<V: VisionEncoder, T: TextEncoder>(
    model: &DualEncoder<V, T>,
    evaluated: &LossAndGrads,
    gradients: &mut Gradients,
) {
    let device = evaluated.grad_image.device();
    let mut add = |param: &burn::module::Param<Tensor<1>>, gradient: f64| {
        if checkpointing::is_trainable(param) {
            gradients.add(
                param.id,
                Tensor::<1>::from_floats([gradient as f32], &device),
            );
        }
    };
    add(
        &model.logit_scale,
        evaluated.grad_scale * f64::from(model.scale()),
    );
    if let (Some(bias), Some(gradient)) = (&model.logit_bias, evaluated.grad_bias) {
        add(bias, gradient);
    }
}

#[cfg(test)]
mod tests {
    use burn::{
        module::{Module, ModuleVisitor, Param},
        tensor::{Distribution, TensorData},
    };
    use text_encoder::TextConfig;
    use vision_encoder::VisionConfig;

    use super::*;
    use crate::DualConfig;

    struct Compared<'a> {
        got: &'a Gradients,
        want: &'a Gradients,
        share: f64,
    }

    impl ModuleVisitor for Compared<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let [got, want] = [self.got, self.want].map(|gradients| gradients.get(param.id));
            let (got, want) = (got.unwrap(), want.unwrap());
            // That of a key's bias is nothing but rounding.
            let size = testing::largest(want).max(1e-3);
            testing::assert_within(got, want, self.share * size);
        }
    }

    #[test]
    fn parts_give_the_gradient_of_the_whole_and_the_same_bits_again() {
        let device = testing::device();
        let vision = VisionConfig::clip(8, 4, 64, 2);
        let model = DualConfig::clip(vision, TextConfig::clip(30, 6, 64, 2), 16).init(&device);
        let ids = (0..7 * 6).map(|i| if i % 6 == 5 { 29 } else { i % 28 });
        let ids = TensorData::new(ids.collect::<Vec<i64>>(), [7, 6]);
        let normal = Distribution::Normal(0.0, 1.0);
        let batch = Batch {
            pixels: Tensor::random([7, 3, 8, 8], normal, &device),
            ids: Tensor::from_data(ids, &device),
            mask: None,
        };
        let micro_batches = [batch.clone(), batch];
        let step = |parts: usize| {
            let config = StepConfig {
                loss: ContrastiveLoss::Softmax,
                policy: Policy::StoreAll,
                parts,
            };
            contrastive_step(&model, &micro_batches, &config, Seed::new(0))
        };
        let whole = step(1);
        let compare = |got: &StepOutput, want: &StepOutput, share: f64| {
            assert!((got.loss - want.loss).abs() <= share * want.loss);
            model.visit(&mut Compared {
                got: &got.gradients,
                want: &want.gradients,
                share,
            });
        };
        for parts in [2, 3, 20] {
            let parted = step(parts);
            compare(&parted, &whole, 2e-4);
            compare(&step(parts), &parted, 0.0);
        }
    }

    #[test]
    fn gradients_are_summed_in_the_order_of_the_parts() {
        let device = testing::device();
        let id = burn::module::ParamId::new();
        let segment = |x: f32| {
            let mut gradients = Gradients::default();
            gradients.add(id, Tensor::<1>::from_floats([x], &device));
            gradients
        };
        // Any other order gives 0 or 2.
        let mut into = Gradients::default();
        let sum = Sum::of(3, &mut into);
        sum.add(2, segment(1.0));
        sum.add(1, segment(-1e9));
        sum.add(0, segment(1e9));
        drop(sum);
        let total = into.get(id).unwrap().clone().into_scalar::<f32>();
        assert!(total == 1.0, "{total}");
    }
}
