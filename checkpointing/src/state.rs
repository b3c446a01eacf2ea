//! What crosses a cut.

use std::collections::BTreeMap;

use burn::tensor::{Bool, Int, Tensor};

/// A tensor that travels along a chain and needs no gradient: pixels, token ids, masks.
#[derive(Clone, Debug)]
pub enum Passenger {
    /// Pictures, `[batch, channels, height, width]`.
    Pixels(Tensor<4>),
    /// Token ids, segment ids or positions, `[batch, tokens]`.
    Ids(Tensor<2, Int>),
    /// True where a token counts, `[batch, tokens]`.
    Mask(Tensor<2, Bool>),
}

/// What crosses a cut: differentiable tensors and the passengers that travel with them.
///
/// Cloning is cheap, tensors are shared. Features `[batch, d_joint]` travel as `[batch, 1, d_joint]`.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Differentiable tensors, usually one: the hidden states `[batch, tokens, d_model]`.
    pub tensors: Vec<Tensor<3>>,
    passengers: BTreeMap<&'static str, Passenger>,
}

impl State {
    /// A state of one differentiable tensor, `[batch, tokens, d_model]`.
    pub fn hidden(hidden: Tensor<3>) -> Self {
        Self {
            tensors: vec![hidden],
            passengers: BTreeMap::new(),
        }
    }

    /// Adds a passenger under a name.
    pub fn with(mut self, name: &'static str, passenger: Passenger) -> Self {
        self.passengers.insert(name, passenger);
        self
    }

    /// Drops a passenger that no later segment reads, so that later cuts do not hold it.
    pub fn without(mut self, name: &'static str) -> Self {
        self.passengers.remove(name);
        self
    }

    /// The pictures under `name`.
    ///
    /// # Panics
    ///
    /// Panics if the state carries none: the chain was given the wrong input.
    pub fn pixels(&self, name: &str) -> Tensor<4> {
        match self.passengers.get(name) {
            Some(Passenger::Pixels(pixels)) => pixels.clone(),
            other => panic!("the chain needs pixels `{name}`, the state holds {other:?}"),
        }
    }

    /// The ids under `name`, if the state carries them.
    pub fn ids(&self, name: &str) -> Option<Tensor<2, Int>> {
        match self.passengers.get(name) {
            Some(Passenger::Ids(ids)) => Some(ids.clone()),
            _ => None,
        }
    }

    /// The mask under `name`, if the state carries one.
    pub fn mask(&self, name: &str) -> Option<Tensor<2, Bool>> {
        match self.passengers.get(name) {
            Some(Passenger::Mask(mask)) => Some(mask.clone()),
            _ => None,
        }
    }

    /// The first differentiable tensor.
    ///
    /// # Panics
    ///
    /// Panics if there is none: no segment has produced hidden states yet.
    pub fn into_hidden(mut self) -> Tensor<3> {
        assert!(
            !self.tensors.is_empty(),
            "the state holds no hidden states yet"
        );
        self.tensors.swap_remove(0)
    }

    /// Replaces the first differentiable tensor by `f` of it.
    pub fn map_hidden(mut self, f: impl FnOnce(Tensor<3>) -> Tensor<3>) -> Self {
        assert!(
            !self.tensors.is_empty(),
            "the state holds no hidden states yet"
        );
        let hidden = self.tensors.remove(0);
        self.tensors.insert(0, f(hidden));
        self
    }

    /// The same passengers with other differentiable tensors.
    pub fn with_tensors(mut self, tensors: Vec<Tensor<3>>) -> Self {
        self.tensors = tensors;
        self
    }

    /// Moves float passengers onto the autodiff device, so that they may meet tracked parameters.
    pub(crate) fn lift_passengers(mut self) -> Self {
        for passenger in self.passengers.values_mut() {
            *passenger = match passenger.clone() {
                Passenger::Pixels(pixels) => Passenger::Pixels(pixels.autodiff()),
                Passenger::Ids(ids) => Passenger::Ids(ids.autodiff()),
                Passenger::Mask(mask) => Passenger::Mask(mask.autodiff()),
            };
        }
        self
    }

    /// The opposite of [`State::lift_passengers`]: everything off the graph.
    pub(crate) fn inner(mut self) -> Self {
        self.tensors = self.tensors.into_iter().map(Tensor::inner).collect();
        for passenger in self.passengers.values_mut() {
            *passenger = match passenger.clone() {
                Passenger::Pixels(pixels) => Passenger::Pixels(pixels.inner()),
                Passenger::Ids(ids) => Passenger::Ids(ids.inner()),
                Passenger::Mask(mask) => Passenger::Mask(mask.inner()),
            };
        }
        self
    }
}
