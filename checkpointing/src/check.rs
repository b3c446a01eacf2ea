//! What every segment has to hold to, for the tests of segments.

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Distribution, Tensor},
};
use kernels::flops_of;
use precision::Format;

use crate::{Autodiff, Call, Gradients, Saved, Segment, Slot, State, Streams, parameters};

/// The same module, of which only the parameters train whose path `trains` says so.
pub fn with_trainable<M: Module>(module: M, trains: impl Fn(&str) -> bool) -> M {
    struct Mapper<F>(Vec<String>, F);
    impl<F: Fn(&str) -> bool> ModuleMapper for Mapper<F> {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.0.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.0.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let trains = (self.1)(&self.0.join("."));
            param.set_require_grad(trains)
        }
    }
    module.map(&mut Mapper(Vec::new(), trains))
}

/// The same module with every parameter moved by a draw from N(0, 0.2): norms are not the identity, biases not zero.
pub fn shaken<M: Module>(module: M) -> M {
    struct Mapper;
    impl ModuleMapper for Mapper {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|x| x.clone() + x.random_like(Distribution::Normal(0.0, 0.2)))
        }
    }
    module.map(&mut Mapper)
}

/// The same module with only some of its parameters training: all, none, each alone, and all but each.
pub fn freezings<M: Module>(module: &M) -> Vec<(String, M)> {
    let frozen = |trains: &dyn Fn(&str) -> bool| with_trainable(module.clone(), trains);
    let mut all = vec![
        ("all train".to_owned(), frozen(&|_| true)),
        ("all are frozen".to_owned(), frozen(&|_| false)),
    ];
    for parameter in parameters(module) {
        let path = parameter.path;
        all.push((
            format!("only {path} trains"),
            frozen(&|other| other == path),
        ));
        all.push((format!("{path} is frozen"), frozen(&|other| other != path)));
    }
    all
}

/// Runs a segment forward and back and compares everything that is said of it with what it does: its output with that of
/// [`Forward::forward`](crate::Forward::forward), bit for bit; shapes, bytes and floating-point operations with its [`cost`](Segment::cost). Gives
/// the cotangents it was pulled back from, and what it gave.
///
/// # Panics
///
/// Panics where they differ.
pub fn check_costs<S: Segment>(
    segment: &S,
    input: &State,
    call: &Call<'_>,
) -> (Streams, Streams, Gradients) {
    let cost = segment.cost(&input.outline(), call);
    let ((output, saved), forward_flops) = flops_of(|| segment.record(input.clone(), call));
    let plain = segment.forward(input.clone(), call.seed);
    let mut cotangents = Streams::default();
    for name in segment.writes() {
        let (stream, plain) = (output.stream(*name), plain.stream(*name));
        assert_eq!(
            stream.to_data(),
            plain.to_data(),
            "`{name}` recorded and run"
        );
        let normal = Distribution::Normal(0.0, 1.0);
        cotangents = cotangents.with(*name, stream.random_like(normal));
    }
    assert_eq!(cost.output, output.outline(), "the shapes of the output");
    assert_eq!(cost.saved_bytes, saved.bytes(), "the bytes that are kept");
    assert_eq!(cost.forward_flops, forward_flops, "operations forward");
    drop((output, plain));

    let mut gradients = Gradients::default();
    let (pulled, backward_flops) =
        flops_of(|| segment.pull(saved, cotangents.clone(), call, &mut gradients));
    assert_eq!(cost.backward_flops, backward_flops, "operations back");
    for parameter in segment.parameters() {
        assert!(
            parameter.trains || gradients.get(parameter.id).is_none(),
            "{} is frozen and has a gradient",
            parameter.path
        );
    }
    (cotangents, pulled, gradients)
}

/// The share within which gradients stay of what is kept in bfloat16, whose values are off by one part in 256 at most.
const KEPT_IN_BF16: f64 = 0.03;

/// As [`check_costs`], and compares what the segment gives with the framework's autodiff: cotangents and gradients within
/// `share` of the largest of their kind, and within 3 % where it keeps what it keeps in bfloat16.
///
/// # Panics
///
/// Panics where they differ.
pub fn check_segment<S: Segment + Module + 'static>(
    segment: &S,
    input: &State,
    call: &Call<'_>,
    share: f64,
) {
    let given = check_costs(segment, input, call);
    compare(segment, input, call, share, given);
    let keep = Format::Bf16;
    let given = check_costs(segment, input, &Call { keep, ..*call });
    compare(segment, input, call, KEPT_IN_BF16, given);
}

/// Compares what a segment gave with the framework's autodiff.
fn compare<S: Segment + Module + 'static>(
    segment: &S,
    input: &State,
    call: &Call<'_>,
    share: f64,
    (cotangents, pulled, mut gradients): (Streams, Streams, Gradients),
) {
    let graph = Autodiff(segment.clone());
    let (_, saved) = graph.record(input.clone(), call);
    let mut wanted = Gradients::default();
    let want = graph.pull(saved, cotangents, call, &mut wanted);
    for (slot, want) in want.iter() {
        let got = pulled.get(slot);
        let got = got.unwrap_or_else(|| panic!("no cotangent of `{slot}`"));
        assert_within(&slot.to_string(), got, want, share * largest(want));
    }
    for name in segment.reads() {
        let is_there = pulled.get(Slot::from(*name)).is_some();
        assert!(
            !call.wants.has(name) || is_there || want.is_empty(),
            "no cotangent of `{name}`"
        );
    }
    let trained = segment.parameters().into_iter();
    let trained: Vec<_> = trained.filter(|parameter| parameter.trains).collect();
    // Of the largest gradient of all, or of the cotangents: that of a key's bias is zero but for rounding.
    let sizes = trained
        .iter()
        .filter_map(|parameter| wanted.get(parameter.id));
    let size = sizes.map(largest).fold(1.0, f64::max);
    for parameter in trained {
        let want = wanted.take(parameter.id);
        match (gradients.take(parameter.id), want) {
            (Some(got), Some(want)) => assert_within(&parameter.path, &got, &want, share * size),
            (None, None) => {}
            (got, want) => panic!(
                "{}: a gradient {}, by autodiff {}",
                parameter.path,
                got.is_some(),
                want.is_some()
            ),
        }
    }
}

fn largest<const D: usize>(values: &Tensor<D>) -> f64 {
    let values = values.to_data();
    let sizes = values.iter::<f64>().map(f64::abs);
    sizes.fold(0.0, f64::max)
}

fn assert_within<const D: usize>(name: &str, got: &Tensor<D>, want: &Tensor<D>, bound: f64) {
    assert_eq!(got.dims(), want.dims(), "{name}: shapes differ");
    let (got, want) = (got.to_data(), want.to_data());
    for (place, (got, want)) in got.iter::<f64>().zip(want.iter::<f64>()).enumerate() {
        assert!(
            (got - want).abs() <= bound,
            "{name}: at {place} {got} is not {want} within {bound:e}"
        );
    }
}
