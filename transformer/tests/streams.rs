//! A chain of two streams in two scopes: pictures' tokens, and a text that reads them by gated cross-attention. Its
//! pullback equals autodiff under every schedule, with a tied block, frozen parts and dropout.

use burn::{
    module::{Initializer, Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    tensor::{Bool, Device, Distribution, Tensor},
};
use checkpointing::{
    Call, Chain, Cost, Forward, Gradients, HIDDEN, Outline, Parameter, Pass, Passenger, Policy,
    Saved, Scope, Seed, Segment, Slot, State, Streams, check, forward, is_trainable, parameters,
};
use kernels::flops_of;
use precision::Stored;
use transformer::{
    Attention, AttentionConfig, AttentionSaved, Block, BlockConfig, Layer, LayerCall, LayerNorm,
    Mask,
};

const FEATURES: &str = "features";
const PICTURE: Slot = Slot {
    scope: "vision",
    name: HIDDEN,
};
const TEXT: Slot = Slot {
    scope: "text",
    name: HIDDEN,
};

/// `hidden + tanh(gate) * attention(norm(hidden), features)` (Alayrac et al. 2022), made of the layers that there are.
#[derive(Module, Debug)]
struct GatedCross {
    norm: LayerNorm,
    attention: Attention,
    gate: Param<Tensor<1>>,
}

struct GatedSaved {
    hidden: Stored<3>,
    features: Stored<3>,
    attention: AttentionSaved,
    output: Stored<3>,
}

impl Saved for GatedSaved {
    fn bytes(&self) -> usize {
        let tensors = [&self.hidden, &self.features, &self.output];
        tensors.into_iter().map(Stored::bytes).sum::<usize>() + self.attention.bytes()
    }
}

impl GatedCross {
    fn new(device: &Device) -> Self {
        let attention = AttentionConfig {
            d_context: Some(8),
            ..AttentionConfig::new(12, 3)
        };
        Self {
            norm: LayerNorm::new(12, 1e-5, device),
            attention: attention.init(device),
            gate: Initializer::Constant { value: 0.4 }.init([1], device),
        }
    }

    fn gate(&self) -> Tensor<3> {
        self.gate.val().tanh().unsqueeze()
    }

    fn layer<'a>(call: &Call<'_>, mask: &'a Mask) -> LayerCall<'a> {
        LayerCall {
            mask,
            seed: call.seed,
            wants_input: true,
            keep: call.keep,
        }
    }
}

impl Forward for GatedCross {
    fn forward(&self, input: State, seed: Seed) -> State {
        let features = input.stream(FEATURES);
        let mask = Mask::default();
        input.map_hidden(|x| {
            let normed = self.norm.forward(x.clone());
            let mixed = self.attention.forward_from(normed, features, &mask, seed);
            x + mixed * self.gate()
        })
    }

    fn reads(&self) -> &'static [&'static str] {
        &[HIDDEN, FEATURES]
    }
}

impl Segment for GatedCross {
    type Saved = GatedSaved;

    fn parameters(&self) -> Vec<Parameter> {
        parameters(self)
    }

    fn record(&self, mut input: State, call: &Call<'_>) -> (State, GatedSaved) {
        let (hidden, features) = (input.take_hidden(), input.stream(FEATURES));
        let mask = Mask::default();
        let normed = self.norm.forward(hidden.clone());
        let layer = Self::layer(call, &mask);
        let (output, attention) = self.attention.record_from(normed, features.clone(), &layer);
        let sum = hidden.clone() + output.clone() * self.gate();
        let saved = GatedSaved {
            hidden: call.keep.store(hidden),
            features: call.keep.store(features),
            attention,
            output: call.keep.store(output),
        };
        (input.with_stream(HIDDEN, sum), saved)
    }

    fn pull(
        &self,
        saved: GatedSaved,
        mut cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams {
        let cotangent = cotangents.take(HIDDEN).expect("it is the only one");
        gradients.give(&self.gate, || {
            let slope = self.gate.val().tanh().powf_scalar(2.0).neg() + 1.0;
            (cotangent.clone() * saved.output.load()).sum() * slope
        });
        let mask = Mask::default();
        let hidden = saved.hidden.load();
        let normed = self.norm.forward(hidden.clone());
        let inputs = Some([normed, saved.features.load()]);
        let layer = Self::layer(call, &mask);
        let mixed = cotangent.clone() * self.gate();
        let pulled = self
            .attention
            .pull_from(inputs, saved.attention, mixed, &layer, gradients);
        let [queries, keys] = pulled.expect("it is wanted");
        let hidden = self.norm.pull(hidden, queries, Some(cotangent), gradients);
        Streams::hidden(hidden).with(FEATURES, keys)
    }

    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost {
        let [batch, queries, width] = input.stream(HIDDEN);
        let [_, keys, context] = input.stream(FEATURES);
        let mask = Mask::default();
        let layer = Self::layer(call, &mask);
        let cost = self.attention.cost_from(batch, [queries, keys], &layer);
        Cost {
            output: input.clone(),
            forward_flops: cost.forward_flops,
            backward_flops: cost.backward_flops,
            saved_bytes: cost.saved_bytes
                + call
                    .keep
                    .bytes(batch * (2 * queries * width + keys * context)),
        }
    }
}

#[derive(Module, Debug)]
struct Model {
    vision: Vec<Block>,
    text: Vec<Block>,
    cross: Vec<GatedCross>,
}

impl Model {
    fn new(device: &Device) -> Self {
        let block = |attention: AttentionConfig, dropout| {
            let config = BlockConfig {
                dropout,
                ..BlockConfig::new(attention, 16)
            };
            config.init(device)
        };
        let causal = AttentionConfig {
            causal: true,
            dropout: 0.2,
            ..AttentionConfig::new(12, 3)
        };
        Self {
            vision: vec![block(AttentionConfig::new(8, 2), 0.1)],
            text: (0..2).map(|_| block(causal.clone(), 0.1)).collect(),
            cross: (0..2).map(|_| GatedCross::new(device)).collect(),
        }
    }

    /// The block of pictures stands in the chain twice: a tied weight.
    fn chain(&self) -> Chain<'_> {
        let vision = || Scope::new("vision");
        let text = || Scope::new("text").borrowing(FEATURES, PICTURE);
        let mut chain = Chain::new();
        chain.push_in(vision(), "vision.0", &self.vision[0]);
        chain.push_in(text(), "text.0", &self.text[0]);
        chain.push_in(text(), "cross.0", &self.cross[0]);
        chain.push_in(vision(), "vision.0", &self.vision[0]);
        chain.push_in(text(), "cross.1", &self.cross[1]);
        chain.push_in(text(), "text.1", &self.text[1]);
        chain
    }
}

const POLICIES: [Policy; 5] = [
    Policy::StoreAll,
    Policy::EveryCut,
    Policy::Every(2),
    Policy::Nested(4, 2),
    Policy::Nested(3, 1),
];

fn input(device: &Device) -> State {
    let random = |shape: [usize; 3]| Tensor::random(shape, Distribution::Normal(0.0, 1.0), device);
    let real = Tensor::<2, Bool>::from_data([[true; 5], [true, true, true, false, false]], device);
    let pictures = State::hidden(random([2, 4, 8])).within("vision");
    let text = State::hidden(random([2, 5, 12])).with("mask", Passenger::Mask(real));
    pictures.and(text.within("text"))
}

fn cotangents(device: &Device) -> Streams {
    let random = |shape: [usize; 3]| Tensor::random(shape, Distribution::Normal(0.0, 1.0), device);
    Streams::default()
        .with(PICTURE, random([2, 4, 8]))
        .with(TEXT, random([2, 5, 12]))
}

/// Cotangents of the input and gradients by one graph over the whole chain.
fn whole_graph(
    model: &Model,
    input: &State,
    cotangents: &Streams,
    seed: Seed,
) -> (Streams, Vec<(ParamId, Tensor<1>)>) {
    let tracked = model.clone().train();
    let leaf = |slot| Tensor::from_inner(input.stream(slot)).require_grad();
    let leaves = [PICTURE, TEXT].map(|slot| (slot, leaf(slot)));
    let mask = Slot {
        scope: "text",
        name: "mask",
    };
    let real = input.mask(mask).expect("it is there").autodiff();
    let mut state = State::default().with(mask, Passenger::Mask(real));
    for (slot, leaf) in &leaves {
        state = state.with_stream(*slot, leaf.clone());
    }
    let chain = tracked.chain();
    let output = chain.run(0..chain.len(), state, seed);
    let objective = [PICTURE, TEXT].map(|slot| {
        let cotangent = cotangents.get(slot).expect("one for each").clone();
        (output.stream(slot) * Tensor::from_inner(cotangent)).sum()
    });
    let [pictures, text] = objective;
    let mut grads = (pictures + text).backward();

    struct Collect<'a>(&'a mut burn::tensor::Gradients, Vec<(ParamId, Tensor<1>)>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad_remove(self.0) {
                self.1.push((param.id, gradient.flatten(0, D - 1)));
            }
        }
    }
    let mut pulled = Streams::default();
    for (slot, leaf) in leaves {
        pulled = pulled.with(slot, leaf.grad_remove(&mut grads).expect("it is read"));
    }
    let mut collect = Collect(&mut grads, Vec::new());
    tracked.visit(&mut collect);
    (pulled, collect.1)
}

fn models(device: &Device) -> Vec<(&'static str, Model)> {
    let model = Model::new(device);
    let frozen = |trains: &dyn Fn(&str) -> bool| check::with_trainable(model.clone(), trains);
    vec![
        ("all train", model.clone()),
        (
            "pictures are frozen",
            frozen(&|path| !path.starts_with("vision")),
        ),
        (
            "only the last gate trains",
            frozen(&|path| path == "cross.1.gate"),
        ),
        (
            "only the tied block trains",
            frozen(&|path| path.starts_with("vision")),
        ),
        ("only biases train", frozen(&|path| path.ends_with("bias"))),
    ]
}

#[test]
fn every_schedule_gives_autodiffs_cotangents_and_gradients() {
    let device = testing::device();
    let (input, cotangents, seed) = (input(&device), cotangents(&device), Seed::new(9));
    for (name, model) in models(&device) {
        let (want, gradients) = whole_graph(&model, &input, &cotangents, seed);
        let chain = model.chain();
        let mut first: Option<Vec<burn::tensor::TensorData>> = None;
        for policy in POLICIES {
            println!("{name}, {policy:?}");
            let schedule = policy.schedule(chain.len());
            let pass = Pass::new(&schedule, seed).wanting(PICTURE).wanting(TEXT);
            let footprint = chain.footprint(&pass, input.outline());
            let ((output, pullback), flops) = flops_of(|| forward(&chain, &pass, input.clone()));
            assert_eq!(footprint.forward_flops, flops);
            assert_eq!(footprint.held_bytes, pullback.bytes());
            assert_eq!(footprint.output, output.outline());
            let start = pullback.start(cotangents.clone());
            let (mut pulled, flops) = flops_of(|| start.finish(&chain));
            assert_eq!(footprint.backward_flops, flops);
            let mut bits = Vec::new();
            for (slot, want) in want.iter() {
                let got = pulled.cotangents.get(slot).expect("it was wanted");
                testing::assert_close(got, want, 1e-5);
                bits.push(got.to_data());
            }
            let largest = gradients.iter().map(|(_, want)| testing::largest(want));
            let bound = 1e-5 * largest.fold(0.0, f64::max);
            for (id, want) in &gradients {
                let got = pulled.gradients.take(*id).expect("a gradient");
                testing::assert_within(&got, want, bound);
                bits.push(got.into_data());
            }
            assert!(pulled.gradients.is_empty());
            // What is recomputed has the same bits.
            let first = first.get_or_insert_with(|| bits.clone());
            for (got, want) in bits.iter().zip(first) {
                got.assert_eq(want, true);
            }
        }
    }
}

/// Takes a step down the gradients of some parameters.
struct Descend<'a>(&'a mut Gradients);

impl ModuleMapper for Descend<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = self.0.get(param.id).cloned() else {
            return param;
        };
        param.map(|value| {
            let shape = value.dims();
            value - gradient.reshape(shape) * 0.1
        })
    }
}

#[test]
fn complete_parameters_may_be_updated_between_two_steps() {
    let device = testing::device();
    let (input, cotangents, seed) = (input(&device), cotangents(&device), Seed::new(9));
    let model = Model::new(&device);
    for policy in POLICIES {
        let schedule = policy.schedule(6);
        let pass = Pass::new(&schedule, seed);
        let (_, pullback) = forward(&model.chain(), &pass, input.clone());
        let mut pulled = pullback.start(cotangents.clone()).finish(&model.chain());
        let want = model.clone().map(&mut Descend(&mut pulled.gradients));

        let mut updated = model.clone();
        let (_, pullback) = forward(&updated.chain(), &pass, input.clone());
        let mut backward = pullback.start(cotangents.clone());
        let mut waiting = Gradients::default();
        let mut complete_at = Vec::new();
        while let Some(stepped) = {
            let chain = updated.chain();
            backward.step(&chain)
        } {
            waiting.merge(stepped.gradients);
            let mut complete = Gradients::default();
            for parameter in stepped.complete {
                complete_at.push((stepped.segment, parameter.path));
                let gradient = waiting.take(parameter.id).expect("it is complete");
                complete.add(parameter.id, gradient);
            }
            updated = updated.map(&mut Descend(&mut complete));
        }
        assert!(waiting.is_empty());
        assert_eq!(complete_at.len(), parameters(&model).len());
        // The tied block is complete after its first place alone.
        let tied = complete_at
            .iter()
            .filter(|(_, path)| path.starts_with("vision"));
        assert!(tied.clone().count() == 16 && tied.clone().all(|(place, _)| *place == 0));
        let values = |model: &Model| -> Vec<burn::tensor::TensorData> {
            struct Values(Vec<burn::tensor::TensorData>);
            impl ModuleVisitor for Values {
                fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                    self.0.push(param.val().into_data());
                }
            }
            let mut values = Values(Vec::new());
            model.visit(&mut values);
            values.0
        };
        for (got, want) in values(&updated).iter().zip(values(&want)) {
            got.assert_eq(&want, true);
        }
    }
}

#[test]
fn a_chain_entered_in_its_middle_has_the_seeds_of_the_whole() {
    let device = testing::device();
    let (input, cotangents, seed) = (input(&device), cotangents(&device), Seed::new(4));
    let model = Model::new(&device);
    let chain = model.chain();
    for policy in POLICIES {
        let schedule = policy.schedule(chain.len());
        let pass = Pass::new(&schedule, seed).wanting(PICTURE).wanting(TEXT);
        let (whole, pullback) = forward(&chain, &pass, input.clone());
        let want = pullback.start(cotangents.clone()).finish(&chain);
        for cut in 0..=chain.len() {
            let (middle, before) = forward(&chain, &pass.clone().over(0..cut), input.clone());
            // A state goes to disk or to another rank by the data of its parts.
            let streams = middle.streams.iter().map(|(slot, stream)| {
                let data = stream.to_data();
                (slot, Tensor::from_data(data, &device))
            });
            let middle = State {
                streams: streams.collect(),
                passengers: middle.passengers,
            };
            let rest = pass.clone().over(cut..chain.len());
            let (output, after) = forward(&chain, &rest, middle);
            for slot in [PICTURE, TEXT] {
                let (got, want) = (output.stream(slot), whole.stream(slot));
                got.into_data().assert_eq(&want.into_data(), true);
            }
            let later = after.start(cotangents.clone()).finish(&chain);
            let mut got = before.start(later.cotangents).finish(&chain);
            for (slot, want) in want.cotangents.iter() {
                let got = got.cotangents.get(slot).expect("it was wanted");
                got.to_data().assert_eq(&want.to_data(), true);
            }
            got.gradients.merge(later.gradients);
            assert_eq!(got.gradients.len(), want.gradients.len());
            for id in checkpointing::trainable_parameters(&model) {
                let [got, want] = [&got.gradients, &want.gradients].map(|all| all.get(id));
                let (got, want) = (got.expect("one").to_data(), want.expect("one").to_data());
                got.assert_eq(&want, true);
            }
        }
    }
}

#[test]
fn cuts_in_fewer_bits_hold_half_and_give_nearly_the_same() {
    let device = testing::device();
    let (input, cotangents, seed) = (input(&device), cotangents(&device), Seed::new(4));
    let model = Model::new(&device);
    let chain = model.chain();
    let run = |schedule: &checkpointing::Schedule| {
        let pass = Pass::new(schedule, seed);
        let footprint = chain.footprint(&pass, input.outline());
        let (_, pullback) = forward(&chain, &pass, input.clone());
        assert_eq!(pullback.bytes(), footprint.held_bytes);
        let bytes = pullback.bytes();
        let gradients = pullback.start(cotangents.clone()).finish(&chain).gradients;
        (bytes, gradients)
    };
    // The last stage is kept, whatever the cuts.
    let whole = Policy::EveryCut.schedule(chain.len());
    let (bytes, exact) = run(&whole);
    let (fewer, rounded) = run(&whole.clone().with_cuts_in(precision::Format::Bf16));
    // Of each stage the streams that it reads: two of pictures, one of texts, two of both.
    let (pictures, text) = (2 * 4 * 8, 2 * 5 * 12);
    let cuts = 4 * (2 * pictures + text + 2 * (pictures + text));
    assert_eq!(bytes - fewer, cuts / 2);
    let ids = checkpointing::trainable_parameters(&model);
    let all = ids.iter().filter_map(|id| exact.get(*id));
    let largest = all.map(testing::largest).fold(0.0, f64::max);
    let mut differs = false;
    for id in ids {
        let (got, want) = (rounded.get(id).expect("one"), exact.get(id).expect("one"));
        testing::assert_within(got, want, 0.03 * largest);
        differs |= got.to_data() != want.to_data();
    }
    assert!(differs, "bfloat16 rounds");
}

#[test]
fn the_gated_segment_is_autodiffs() {
    let device = testing::device();
    let random = |shape: [usize; 3]| Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let state = State::hidden(random([2, 5, 12])).with_stream(FEATURES, random([2, 4, 8]));
    let segment = GatedCross::new(&device);
    assert!(is_trainable(&segment.gate) && segment.attention.needs_input());
    let wants = [HIDDEN, FEATURES].into_iter().collect();
    let call = Call::new(Seed::new(2), &wants);
    check::check_segment(&segment, &state, &call, 5e-6);
}
