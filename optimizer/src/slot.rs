//! A parameter that trains, as an optimizer knows it.

use burn::module::ParamId;
use precision::Format;

/// One parameter that trains. A tied weight has one slot, that of its first place.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// The path of its first place: see [`checkpointing::parameters`].
    pub path: String,
    /// What it is known by.
    pub id: ParamId,
    /// Its shape.
    pub shape: Vec<usize>,
    /// At how many places of the module it is; a tied weight has several.
    pub places: usize,
    /// How fast it learns.
    pub group: Group,
    /// The rank that holds its state and updates it: 0, as long as a run has one.
    pub owner: usize,
    /// The format of its state.
    pub format: Format,
}

impl Slot {
    /// How many elements it has.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What parameters of one group have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Group {
    /// A factor on the learning rate.
    pub rate: f64,
    /// The share of a parameter that is taken off it in each step, times the learning rate.
    pub weight_decay: f64,
}
