//! What crosses a cut.

use std::{collections::BTreeMap, fmt};

use burn::tensor::{Bool, Int, Shape, Tensor};

use crate::{Outline, Scope};

/// The stream that most segments read and write: the hidden states.
pub const HIDDEN: &str = "hidden";

/// A named place in a state: the mask of a text is another slot than the mask of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The part of the model it belongs to; empty in a chain of one part.
    pub scope: &'static str,
    /// The name by which the segments of that part know it.
    pub name: &'static str,
}

impl From<&'static str> for Slot {
    fn from(name: &'static str) -> Self {
        Self { scope: "", name }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scope.is_empty() {
            f.write_str(self.name)
        } else {
            write!(f, "{}/{}", self.scope, self.name)
        }
    }
}

/// A tensor that travels along a chain and needs no gradient.
#[derive(Clone, Debug)]
pub enum Passenger {
    /// Pictures, `[batch, channels, height, width]`.
    Pixels(Tensor<4>),
    /// Token ids, segment ids or positions, `[batch, tokens]`.
    Ids(Tensor<2, Int>),
    /// True where a token counts, `[batch, tokens]`.
    Mask(Tensor<2, Bool>),
    /// Features of something frozen, `[batch, tokens, width]`.
    Features(Tensor<3>),
}

impl Passenger {
    /// Its shape.
    pub fn shape(&self) -> Shape {
        match self {
            Self::Pixels(pixels) => pixels.shape(),
            Self::Ids(ids) => ids.shape(),
            Self::Mask(mask) => mask.shape(),
            Self::Features(features) => features.shape(),
        }
    }

    fn map_device(self, lift: bool) -> Self {
        match (self, lift) {
            (Self::Pixels(pixels), true) => Self::Pixels(pixels.autodiff()),
            (Self::Pixels(pixels), false) => Self::Pixels(pixels.inner()),
            (Self::Ids(ids), true) => Self::Ids(ids.autodiff()),
            (Self::Ids(ids), false) => Self::Ids(ids.inner()),
            (Self::Mask(mask), true) => Self::Mask(mask.autodiff()),
            (Self::Mask(mask), false) => Self::Mask(mask.inner()),
            (Self::Features(features), true) => Self::Features(features.autodiff()),
            (Self::Features(features), false) => Self::Features(features.inner()),
        }
    }
}

/// Differentiable tensors `[batch, tokens, width]` by slot: the streams of a state, or their cotangents.
#[derive(Clone, Debug, Default)]
pub struct Streams(BTreeMap<Slot, Tensor<3>>);

impl Streams {
    /// The hidden states alone.
    pub fn hidden(hidden: Tensor<3>) -> Self {
        Self::default().with(HIDDEN, hidden)
    }

    /// The same with one more.
    pub fn with(mut self, slot: impl Into<Slot>, tensor: Tensor<3>) -> Self {
        self.0.insert(slot.into(), tensor);
        self
    }

    /// One of them.
    pub fn get(&self, slot: impl Into<Slot>) -> Option<&Tensor<3>> {
        self.0.get(&slot.into())
    }

    /// Takes one out.
    pub fn take(&mut self, slot: impl Into<Slot>) -> Option<Tensor<3>> {
        self.0.remove(&slot.into())
    }

    /// Adds to what is there.
    pub fn add(&mut self, slot: impl Into<Slot>, tensor: Tensor<3>) {
        let slot = slot.into();
        let sum = match self.0.remove(&slot) {
            None => tensor,
            Some(sum) => sum + tensor,
        };
        self.0.insert(slot, sum);
    }

    /// Those that are there, in the order of their slots.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Tensor<3>)> {
        self.0.iter().map(|(slot, tensor)| (*slot, tensor))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn map(self, f: impl Fn(Tensor<3>) -> Tensor<3>) -> Self {
        let mapped = self.0.into_iter();
        Self(mapped.map(|(slot, tensor)| (slot, f(tensor))).collect())
    }
}

impl FromIterator<(Slot, Tensor<3>)> for Streams {
    fn from_iter<I: IntoIterator<Item = (Slot, Tensor<3>)>>(streams: I) -> Self {
        Self(streams.into_iter().collect())
    }
}

impl IntoIterator for Streams {
    type Item = (Slot, Tensor<3>);
    type IntoIter = std::collections::btree_map::IntoIter<Slot, Tensor<3>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// The bytes of a tensor's elements.
pub fn bytes_of<const D: usize>(tensor: &Tensor<D>) -> usize {
    tensor.shape().num_elements() * tensor.dtype().size()
}

/// What crosses a cut: differentiable streams and the passengers that travel with them.
///
/// Cloning is cheap, tensors are shared. Features `[batch, d_joint]` travel as `[batch, 1, d_joint]`. A state is taken
/// apart and put together again by its two fields.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Differentiable tensors, often one: the hidden states `[batch, tokens, d_model]`.
    pub streams: Streams,
    /// What needs no gradient.
    pub passengers: BTreeMap<Slot, Passenger>,
}

impl State {
    /// A state of hidden states alone, `[batch, tokens, d_model]`.
    pub fn hidden(hidden: Tensor<3>) -> Self {
        Self::default().with_stream(HIDDEN, hidden)
    }

    /// Adds a passenger.
    pub fn with(mut self, slot: impl Into<Slot>, passenger: Passenger) -> Self {
        self.passengers.insert(slot.into(), passenger);
        self
    }

    /// Adds or replaces a stream, `[batch, tokens, width]`.
    pub fn with_stream(mut self, slot: impl Into<Slot>, stream: Tensor<3>) -> Self {
        self.streams = self.streams.with(slot, stream);
        self
    }

    /// Drops a passenger that no later segment reads, so that later cuts do not hold it.
    pub fn without(mut self, slot: impl Into<Slot>) -> Self {
        self.passengers.remove(&slot.into());
        self
    }

    /// Every slot of the state in another scope.
    pub fn within(self, scope: &'static str) -> Self {
        let moved = |slot: Slot| Slot { scope, ..slot };
        let streams = self.streams.into_iter();
        let passengers = self.passengers.into_iter();
        Self {
            streams: Streams(streams.map(|(slot, x)| (moved(slot), x)).collect()),
            passengers: passengers.map(|(slot, x)| (moved(slot), x)).collect(),
        }
    }

    /// The same with all slots of another state.
    pub fn and(mut self, other: State) -> Self {
        self.streams.0.extend(other.streams);
        self.passengers.extend(other.passengers);
        self
    }

    /// The pictures under `slot`.
    ///
    /// # Panics
    ///
    /// Panics if the state carries none: the chain was given the wrong input.
    pub fn pixels(&self, slot: impl Into<Slot>) -> Tensor<4> {
        let slot = slot.into();
        match self.passengers.get(&slot) {
            Some(Passenger::Pixels(pixels)) => pixels.clone(),
            other => panic!("the chain needs pixels `{slot}`, the state holds {other:?}"),
        }
    }

    /// The ids under `slot`, if the state carries them.
    pub fn ids(&self, slot: impl Into<Slot>) -> Option<Tensor<2, Int>> {
        match self.passengers.get(&slot.into()) {
            Some(Passenger::Ids(ids)) => Some(ids.clone()),
            _ => None,
        }
    }

    /// The mask under `slot`, if the state carries one.
    pub fn mask(&self, slot: impl Into<Slot>) -> Option<Tensor<2, Bool>> {
        match self.passengers.get(&slot.into()) {
            Some(Passenger::Mask(mask)) => Some(mask.clone()),
            _ => None,
        }
    }

    /// A stream, `[batch, tokens, width]`.
    ///
    /// # Panics
    ///
    /// Panics if there is none: no segment has produced it yet.
    pub fn stream(&self, slot: impl Into<Slot>) -> Tensor<3> {
        let slot = slot.into();
        let stream = self.streams.get(slot);
        let stream = stream.unwrap_or_else(|| panic!("the state holds no stream `{slot}` yet"));
        stream.clone()
    }

    /// The hidden states.
    ///
    /// # Panics
    ///
    /// Panics if there are none: no segment has produced them yet.
    pub fn into_hidden(mut self) -> Tensor<3> {
        self.take_hidden()
    }

    /// Takes the hidden states out.
    ///
    /// # Panics
    ///
    /// Panics if there are none: no segment has produced them yet.
    pub fn take_hidden(&mut self) -> Tensor<3> {
        let hidden = self.streams.take(HIDDEN);
        hidden.expect("the state holds no hidden states yet")
    }

    /// Replaces the hidden states by `f` of them.
    ///
    /// # Panics
    ///
    /// Panics if there are none.
    pub fn map_hidden(mut self, f: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Self {
        let hidden = self.take_hidden();
        self.with_stream(HIDDEN, f(hidden))
    }

    /// The shapes of everything in it.
    pub fn outline(&self) -> Outline {
        let mut outline = Outline::default();
        for (slot, stream) in self.streams.iter() {
            outline.streams.insert(slot, stream.dims());
        }
        for (slot, passenger) in &self.passengers {
            outline.passengers.insert(*slot, passenger.shape().to_vec());
        }
        outline
    }

    /// What a segment of `scope` sees.
    pub(crate) fn enter(&mut self, scope: &Scope) -> State {
        State {
            streams: Streams(scope.enter(&mut self.streams.0)),
            passengers: scope.enter(&mut self.passengers),
        }
    }

    /// Takes back what a segment of `scope` gives.
    pub(crate) fn leave(&mut self, scope: &Scope, local: State) {
        scope.leave(&mut self.streams.0, local.streams.0);
        scope.leave(&mut self.passengers, local.passengers);
    }

    /// Moves everything onto the autodiff device.
    pub fn lift(self) -> Self {
        self.map_device(true)
    }

    /// The opposite of [`State::lift`]: everything off the graph.
    pub(crate) fn inner(self) -> Self {
        self.map_device(false)
    }

    fn map_device(self, lift: bool) -> Self {
        let passengers = self.passengers.into_iter();
        Self {
            streams: self.streams.map(|x| {
                if lift {
                    Tensor::from_inner(x)
                } else {
                    x.inner()
                }
            }),
            passengers: passengers
                .map(|(slot, passenger)| (slot, passenger.map_device(lift)))
                .collect(),
        }
    }
}
