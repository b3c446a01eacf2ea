//! What a segment costs, in closed form, for shapes that need not be there yet.

use std::collections::BTreeMap;

use crate::{HIDDEN, Scope, Slot};

/// The shapes of a state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// Of the streams, `[batch, tokens, width]`.
    pub streams: BTreeMap<Slot, [usize; 3]>,
    /// Of the passengers.
    pub passengers: BTreeMap<Slot, Vec<usize>>,
}

impl Outline {
    /// That of hidden states alone.
    pub fn hidden(shape: [usize; 3]) -> Self {
        Self::default().with_stream(HIDDEN, shape)
    }

    /// The same with a stream of this shape.
    pub fn with_stream(mut self, slot: impl Into<Slot>, shape: [usize; 3]) -> Self {
        self.streams.insert(slot.into(), shape);
        self
    }

    /// The same with a passenger of this shape.
    pub fn with(mut self, slot: impl Into<Slot>, shape: &[usize]) -> Self {
        self.passengers.insert(slot.into(), shape.to_vec());
        self
    }

    /// The same without a passenger.
    pub fn without(mut self, slot: impl Into<Slot>) -> Self {
        self.passengers.remove(&slot.into());
        self
    }

    /// The shape of a stream.
    ///
    /// # Panics
    ///
    /// Panics if there is none: the chain was given the wrong outline.
    pub fn stream(&self, slot: impl Into<Slot>) -> [usize; 3] {
        let slot = slot.into();
        let shape = self.streams.get(&slot);
        *shape.unwrap_or_else(|| panic!("the outline has no stream `{slot}`"))
    }

    /// The shape of a passenger, if there is one.
    pub fn passenger(&self, slot: impl Into<Slot>) -> Option<&[usize]> {
        self.passengers.get(&slot.into()).map(Vec::as_slice)
    }
}

/// What a segment costs for one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cost {
    /// The shapes it gives.
    pub output: Outline,
    /// Floating-point operations of its products forward, `2 m n k` each.
    pub forward_flops: u64,
    /// Those of its pullback, without a forward pass that a recomputation adds.
    pub backward_flops: u64,
    /// Bytes of what it keeps between the two, in the format of the call. Passengers belong to the caller and are not
    /// counted.
    pub saved_bytes: usize,
}

impl Cost {
    /// A segment without products that keeps nothing.
    pub fn free(output: Outline) -> Self {
        Self {
            output,
            forward_flops: 0,
            backward_flops: 0,
            saved_bytes: 0,
        }
    }
}

/// `2 m k n`: the floating-point operations of a product of `[m, k]` and `[k, n]`.
pub fn product_flops([m, k, n]: [usize; 3]) -> u64 {
    2 * [m, k, n].map(|size| size as u64).iter().product::<u64>()
}

impl Outline {
    /// As `State::enter`.
    pub(crate) fn enter(&mut self, scope: &Scope) -> Self {
        Self {
            streams: scope.enter(&mut self.streams),
            passengers: scope.enter(&mut self.passengers),
        }
    }

    /// As `State::leave`.
    pub(crate) fn leave(&mut self, scope: &Scope, local: Self) {
        scope.leave(&mut self.streams, local.streams);
        scope.leave(&mut self.passengers, local.passengers);
    }
}
