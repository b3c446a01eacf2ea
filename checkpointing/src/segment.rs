//! One segment of a chain, and how it is differentiated.

use std::{any::Any, collections::BTreeSet};

use precision::Format;

use crate::{Cost, Gradients, HIDDEN, Outline, Parameter, Seed, State, Streams};

/// Which cotangents of a segment's input somebody reads, by the names of the streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wants(BTreeSet<&'static str>);

impl Wants {
    /// None.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// That of the hidden states alone.
    pub fn hidden() -> Self {
        [HIDDEN].into_iter().collect()
    }

    /// Whether the cotangent of this stream is wanted.
    pub fn has(&self, stream: &str) -> bool {
        self.0.contains(stream)
    }
}

impl FromIterator<&'static str> for Wants {
    fn from_iter<I: IntoIterator<Item = &'static str>>(streams: I) -> Self {
        Self(streams.into_iter().collect())
    }
}

/// With what a segment is recorded and pulled back: the same for both.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// All randomness comes from it.
    pub seed: Seed,
    /// The cotangents that the pullback is to give.
    pub wants: &'a Wants,
    /// The number format of what is kept. Anything but float32 is an approximation: the pullback starts from rounded values.
    pub keep: Format,
}

impl<'a> Call<'a> {
    /// A call that keeps what it keeps in float32.
    pub fn new(seed: Seed, wants: &'a Wants) -> Self {
        Self {
            seed,
            wants,
            keep: Format::F32,
        }
    }
}

/// What a segment runs, and which streams it runs on.
pub trait Forward: Sync {
    /// Runs the segment. All randomness must come from `seed`.
    fn forward(&self, input: State, seed: Seed) -> State;

    /// The streams whose values it reads.
    fn reads(&self) -> &'static [&'static str] {
        &[HIDDEN]
    }

    /// The streams that it replaces or makes. One that it replaces without reading passes no cotangent on.
    fn writes(&self) -> &'static [&'static str] {
        &[HIDDEN]
    }
}

/// What a segment keeps between forward and pullback, in the number format of its [`Call`]. It owns no weights, and can be
/// dropped.
pub trait Saved: Send + 'static {
    /// The bytes of its tensors. Passengers belong to whoever runs the chain and are not counted.
    fn bytes(&self) -> usize;
}

impl Saved for () {
    fn bytes(&self) -> usize {
        0
    }
}

/// A piece of a model between two cuts, which knows its pullback in closed form and what it costs.
///
/// [`Autodiff`](crate::Autodiff) makes one of whatever has a [`Forward`] alone.
pub trait Segment: Forward {
    /// What is kept between forward and pullback.
    type Saved: Saved;

    /// Its parameters, in a fixed order.
    fn parameters(&self) -> Vec<Parameter>;

    /// Runs the segment and keeps what its pullback needs, and nothing for a gradient that nobody reads: that of a frozen
    /// parameter, or of a stream that `call` does not want.
    fn record(&self, input: State, call: &Call<'_>) -> (State, Self::Saved);

    /// The cotangents of the streams it reads, as far as they are wanted, for those of the streams it writes. Gradients of
    /// the parameters that train are added to `gradients`.
    ///
    /// A stream that is read and not written receives what other segments give it, too: the chain adds them up.
    fn pull(
        &self,
        saved: Self::Saved,
        cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams;

    /// What it costs for an input of these shapes.
    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost;
}

impl<S: Forward + ?Sized> Forward for &S {
    fn forward(&self, input: State, seed: Seed) -> State {
        (**self).forward(input, seed)
    }

    fn reads(&self) -> &'static [&'static str] {
        (**self).reads()
    }

    fn writes(&self) -> &'static [&'static str] {
        (**self).writes()
    }
}

impl<S: Segment> Segment for &S {
    type Saved = S::Saved;

    fn parameters(&self) -> Vec<Parameter> {
        (**self).parameters()
    }

    fn record(&self, input: State, call: &Call<'_>) -> (State, Self::Saved) {
        (**self).record(input, call)
    }

    fn pull(
        &self,
        saved: Self::Saved,
        cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams {
        (**self).pull(saved, cotangents, call, gradients)
    }

    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost {
        (**self).cost(input, call)
    }
}

/// What a segment of any type keeps.
pub(crate) trait Held: Send {
    fn bytes(&self) -> usize;
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

impl<S: Saved> Held for S {
    fn bytes(&self) -> usize {
        Saved::bytes(self)
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// A [`Segment`] of any type, as a chain holds it.
pub(crate) trait Link: Forward {
    fn parameters(&self) -> Vec<Parameter>;
    fn record(&self, input: State, call: &Call<'_>) -> (State, Box<dyn Held>);
    fn pull(
        &self,
        held: Box<dyn Held>,
        cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams;
    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost;
}

impl<S: Segment> Link for S {
    fn parameters(&self) -> Vec<Parameter> {
        Segment::parameters(self)
    }

    fn record(&self, input: State, call: &Call<'_>) -> (State, Box<dyn Held>) {
        let (output, saved) = Segment::record(self, input, call);
        (output, Box::new(saved))
    }

    fn pull(
        &self,
        held: Box<dyn Held>,
        cotangents: Streams,
        call: &Call<'_>,
        gradients: &mut Gradients,
    ) -> Streams {
        let saved = held.into_any().downcast::<S::Saved>();
        let saved = saved.unwrap_or_else(|_| panic!("the chain is another than was recorded"));
        Segment::pull(self, *saved, cotangents, call, gradients)
    }

    fn cost(&self, input: &Outline, call: &Call<'_>) -> Cost {
        Segment::cost(self, input, call)
    }
}
