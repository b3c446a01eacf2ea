//! The forward-with-pullback of a contrastive batch, in one piece or in micro-batches.

use std::ops::Range;

use burn::tensor::{Bool, Int, Tensor};
use checkpointing::{
    Chain, Execution, Gradients, Pass, Policy, Pullback, Schedule, Seed, State, Streams, forward,
    pull_in_lockstep, side_by_side,
};
use text_encoder::TextEncoder;
use transformer::Tokens;
use vision_encoder::VisionEncoder;

use crate::{
    DualEncoder,
    loss::{ContrastiveLoss, LogitMap, LossAndGrads, Tiling},
    normalise::{normalise, pull_normalise},
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

/// How a step is computed.
#[derive(Clone, Debug)]
pub struct StepConfig {
    /// The loss.
    pub loss: ContrastiveLoss,
    /// How it is executed.
    pub execution: Execution,
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
/// micro-batches: with several, features are computed first and nothing is kept, then each
/// micro-batch runs again for its pullback (GradCache, Gao et al. 2021). The last one keeps what its
/// pullback needs and runs once. The parts of a micro-batch are seeded as micro-batches of their own.
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
    let towers = Towers::new(model, config.execution.policy);
    let state = |piece: &Piece<'_>, side| match side {
        0 => piece.picture(&model.vision),
        _ => piece.caption(&model.text),
    };
    let states = |piece: &Piece<'_>| [state(piece, 0), state(piece, 1)];
    let mut seeds = (0..).map(|place| seed.child(place));
    let micro_batches: Vec<Vec<Piece<'_>>> = micro_batches
        .iter()
        .map(|batch| Piece::of(batch, config.execution, &mut seeds))
        .collect();
    let (last, cached) = micro_batches
        .split_last()
        .expect("a step needs at least one batch");

    let mut features: Vec<[Feature; 2]> = Vec::new();
    for pieces in cached {
        features.extend(side_by_side(pieces, |piece| {
            towers.features(states(piece), piece.seed)
        }));
    }
    let recorded = side_by_side(last, |piece| towers.record(states(piece), piece.seed));
    let (recorded, recorded_pullbacks): (Vec<_>, Vec<_>) = recorded.into_iter().unzip();
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
        let pulled: Vec<_> = pulled.by_ref().take(pieces.len()).collect();
        for (side, tower) in towers.0.iter().enumerate() {
            if tower.chain.trains() {
                let again = pieces.iter().zip(&pulled);
                let backwards = side_by_side(again, |(piece, pulled)| {
                    let state = state(piece, side);
                    let (_, pullback) = tower.record(state, piece.seed.child(side as u64));
                    pullback.start(Streams::hidden(pulled[side].clone()))
                });
                pull_in_lockstep(&tower.chain, backwards, &mut gradients);
            }
        }
    }
    let [mut image, mut text] = [Vec::new(), Vec::new()];
    for (pullbacks, pulled) in recorded_pullbacks.into_iter().zip(pulled) {
        let [first, second] = pullbacks;
        let [image_cotangent, text_cotangent] = pulled.map(Streams::hidden);
        image.push(first.start(image_cotangent));
        text.push(second.start(text_cotangent));
    }
    for (tower, backwards) in towers.0.iter().zip([image, text]) {
        pull_in_lockstep(&tower.chain, backwards, &mut gradients);
    }
    StepOutput {
        loss: evaluated.loss,
        gradients,
    }
}

/// Pairs that are computed as one: some rows of a micro-batch.
struct Piece<'a> {
    of: &'a Batch,
    rows: Range<usize>,
    seed: Seed,
}

impl<'a> Piece<'a> {
    /// The parts of a micro-batch.
    fn of(
        of: &'a Batch,
        execution: Execution,
        seeds: &mut impl Iterator<Item = Seed>,
    ) -> Vec<Self> {
        let [pairs, ..] = of.pixels.dims();
        let rows = execution.split(pairs).zip(seeds);
        rows.map(|(rows, seed)| Self { of, rows, seed }).collect()
    }

    /// Whether it is the whole micro-batch.
    fn is_whole(&self) -> bool {
        self.rows.len() == self.of.pixels.dims()[0]
    }

    /// What the vision tower reads of it.
    fn picture(&self, tower: &impl VisionEncoder) -> State {
        let pixels = self.of.pixels.clone();
        tower.input(if self.is_whole() {
            pixels
        } else {
            pixels.slice([self.rows.clone()])
        })
    }

    /// What the text tower reads of it.
    fn caption(&self, tower: &impl TextEncoder) -> State {
        let (ids, mask) = (self.of.ids.clone(), self.of.mask.clone());
        if self.is_whole() {
            return tower.input(ids, mask);
        }
        let rows = || [self.rows.clone()];
        tower.input(ids.slice(rows()), mask.map(|mask| mask.slice(rows())))
    }
}

/// A tower's features of a piece, at unit length, and what they were divided by.
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

/// Walks the loss's cotangents piece by piece.
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

/// The towers of pictures and captions.
struct Towers<'a>([Tower<'a>; 2]);

/// The chain of a tower and how it is run.
struct Tower<'a> {
    chain: Chain<'a>,
    schedule: Schedule,
}

impl<'a> Tower<'a> {
    fn new(chain: Chain<'a>, policy: Policy) -> Self {
        let schedule = policy.schedule(chain.len());
        Self { chain, schedule }
    }

    fn record(&self, state: State, seed: Seed) -> (State, Pullback) {
        forward(&self.chain, &Pass::new(&self.schedule, seed), state)
    }
}

impl<'a> Towers<'a> {
    fn new<V: VisionEncoder, T: TextEncoder>(model: &'a DualEncoder<V, T>, policy: Policy) -> Self {
        let chains = [
            model.vision.chain(Tokens::Pooled),
            model.text.chain(Tokens::Pooled),
        ];
        Self(chains.map(|chain| Tower::new(chain, policy)))
    }

    fn features(&self, states: [State; 2], seed: Seed) -> [Feature; 2] {
        self.each(states, seed, |tower, state, seed| {
            let all = 0..tower.chain.len();
            Feature::new(tower.chain.run(all, state, seed))
        })
    }

    fn record(&self, states: [State; 2], seed: Seed) -> ([Feature; 2], [Pullback; 2]) {
        let [(image, image_pullback), (text, text_pullback)] =
            self.each(states, seed, Tower::record);
        (
            [Feature::new(image), Feature::new(text)],
            [image_pullback, text_pullback],
        )
    }

    fn each<R>(
        &self,
        [picture, caption]: [State; 2],
        seed: Seed,
        f: impl Fn(&Tower<'a>, State, Seed) -> R,
    ) -> [R; 2] {
        let [vision, text] = &self.0;
        [
            f(vision, picture, seed.child(0)),
            f(text, caption, seed.child(1)),
        ]
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
                execution: Execution {
                    parts,
                    ..Execution::default()
                },
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
}
