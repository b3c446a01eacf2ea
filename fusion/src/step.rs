//! The forward-with-pullback of a contrastive batch, in one piece or in micro-batches.

use burn::tensor::{Bool, Int, Tensor};
use checkpointing::{Gradients, Link, Policy, Pullback, Seed, State, forward};
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

/// How a step is computed.
#[derive(Clone, Debug)]
pub struct StepConfig {
    /// The loss.
    pub loss: ContrastiveLoss,
    /// What is kept between forward and backward.
    pub policy: Policy,
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
/// graphs and runs once.
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
    let (last, cached) = micro_batches
        .split_last()
        .expect("a step needs at least one batch");
    let towers = Towers::new(model, config.policy);
    let states = |batch: &Batch| {
        [
            model.vision.input(batch.pixels.clone()),
            model.text.input(batch.ids.clone(), batch.mask.clone()),
        ]
    };
    let seed_of = |index: usize| seed.child(index as u64);
    let mut pieces: Vec<[Feature; 2]> = cached
        .iter()
        .enumerate()
        .map(|(index, batch)| towers.features(states(batch), seed_of(index)))
        .collect();
    let (features, pullbacks) = towers.record(states(last), seed_of(cached.len()));
    pieces.push(features);

    let joined = |side: usize| {
        Tensor::cat(
            pieces
                .iter()
                .map(|piece| piece[side].unit.clone())
                .collect(),
            0,
        )
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
    let batches: Vec<usize> = pieces.iter().map(|piece| piece[0].unit.dims()[0]).collect();
    let mut last_cotangents = None;
    for (index, (piece, rows)) in pieces.into_iter().zip(batches).enumerate() {
        let pulled = cotangents.next(piece, rows);
        if index == cached.len() {
            last_cotangents = Some(pulled);
            break;
        }
        let states = states(&cached[index]);
        towers.pull_again(states, seed_of(index), pulled, &mut gradients);
    }
    if let Some(pulled) = last_cotangents {
        pull(pullbacks, pulled, &mut gradients);
    }
    StepOutput {
        loss: evaluated.loss,
        gradients,
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

    fn next(&mut self, piece: [Feature; 2], rows: usize) -> [Tensor<3>; 2] {
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
        gradients: &mut Gradients,
    ) {
        let [image, text] = cotangents;
        let sides = [(&self.vision, picture, image), (&self.text, caption, text)];
        for (side, (chain, state, cotangent)) in sides.into_iter().enumerate() {
            if chain.iter().any(|link| link.trains()) {
                let schedule = self.policy.schedule(chain.len());
                let (_, pullback) =
                    forward(chain, &schedule, state, seed.child(side as u64), false);
                pullback.pull_into(vec![cotangent], &mut |part| gradients.merge(part));
            }
        }
    }
}

fn pull(pullbacks: [Pullback<'_>; 2], cotangents: [Tensor<3>; 2], gradients: &mut Gradients) {
    for (pullback, cotangent) in pullbacks.into_iter().zip(cotangents) {
        pullback.pull_into(vec![cotangent], &mut |part| gradients.merge(part));
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
