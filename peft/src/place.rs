//! Where in a model adapters can stand.

use burn::{module::Param, tensor::Tensor};

use crate::{Bottleneck, EmbeddingLora, Linear};

/// A place for adapters.
#[derive(Debug)]
pub enum Place<'a> {
    /// A linear map.
    Linear(&'a mut Linear),
    /// A table whose rows are looked up.
    Embedding {
        /// The place.
        place: &'a mut Option<EmbeddingLora>,
        /// The table, `[rows, d_model]`.
        table: &'a mut Param<Tensor<2>>,
    },
    /// Beside a whole MLP of this width.
    Beside {
        /// The place.
        place: &'a mut Option<Bottleneck>,
        /// The width of what it reads.
        d_model: usize,
    },
}

/// A model whose places for adapters can be seen one after another.
pub trait Adaptable {
    /// Shows every place to `visit`, in an order that is always the same.
    fn places(&mut self, visit: &mut Visit<'_>);
}

/// A walk through the places of a model.
pub struct Visit<'a> {
    path: Vec<String>,
    visit: &'a mut dyn FnMut(&str, Place<'_>),
}

impl<'a> Visit<'a> {
    /// A walk that shows each place with its path, such as `vision.blocks.0.attention.query`.
    pub fn new(visit: &'a mut dyn FnMut(&str, Place<'_>)) -> Self {
        let path = Vec::new();
        Self { path, visit }
    }

    /// Goes into a part of the model.
    pub fn within(&mut self, name: impl Into<String>, part: &mut impl Adaptable) {
        self.path.push(name.into());
        part.places(self);
        self.path.pop();
    }

    /// Shows a linear map.
    pub fn linear(&mut self, name: &str, map: &mut Linear) {
        self.show(name, Place::Linear(map));
    }

    /// Shows a linear map, if there is one.
    pub fn optional(&mut self, name: &str, map: &mut Option<Linear>) {
        if let Some(map) = map {
            self.linear(name, map);
        }
    }

    /// Shows the place beside an MLP.
    pub fn beside(&mut self, name: &str, place: &mut Option<Bottleneck>, d_model: usize) {
        self.show(name, Place::Beside { place, d_model });
    }

    /// Shows the place of a table.
    pub fn embedding(
        &mut self,
        name: &str,
        place: &mut Option<EmbeddingLora>,
        table: &mut Param<Tensor<2>>,
    ) {
        self.show(name, Place::Embedding { place, table });
    }

    fn show(&mut self, name: &str, place: Place<'_>) {
        self.path.push(name.into());
        (self.visit)(&self.path.join("."), place);
        self.path.pop();
    }
}

impl<T: Adaptable> Adaptable for Vec<T> {
    fn places(&mut self, visit: &mut Visit<'_>) {
        for (at, part) in self.iter_mut().enumerate() {
            visit.within(at.to_string(), part);
        }
    }
}

/// Shows every place of a model.
pub fn for_places(model: &mut impl Adaptable, mut visit: impl FnMut(&str, Place<'_>)) {
    model.places(&mut Visit::new(&mut visit));
}
