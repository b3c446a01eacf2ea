//! The parameters of a module by path.

use std::collections::HashSet;

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    tensor::{Device, Tensor},
};

use crate::trains::{ask, forget_graphs, is_known};

/// One place of a parameter in a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The names of the modules around it and its own, joined by dots.
    pub path: String,
    /// What it is known by. Two places of one id are one tied weight.
    pub id: ParamId,
    /// Whether it trains; a tied weight does if any place of it does.
    pub trains: bool,
    /// Its shape.
    pub shape: Vec<usize>,
}

impl Parameter {
    /// How many elements it has.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// The float parameters of `module`, in an order that is the same in every process. A tied weight has an entry for each of
/// its places.
pub fn parameters<M: Module>(module: &M) -> Vec<Parameter> {
    let mut visitor = Visitor::default();
    module.visit(&mut visitor);
    if let Some(device) = visitor.asked_on {
        forget_graphs(&device);
    }
    let trained = visitor.found.iter().filter(|found| found.trains);
    let trained: HashSet<ParamId> = trained.map(|found| found.id).collect();
    for found in &mut visitor.found {
        found.trains = trained.contains(&found.id);
    }
    visitor.found
}

/// The ids of the parameters of `module` that train, in visiting order.
pub fn trainable_parameters<M: Module>(module: &M) -> Vec<ParamId> {
    let parameters = parameters(module).into_iter();
    let trained = parameters.filter(|parameter| parameter.trains);
    trained.map(|parameter| parameter.id).collect()
}

#[derive(Default)]
struct Visitor {
    path: Vec<String>,
    found: Vec<Parameter>,
    /// Where a graph was left behind.
    asked_on: Option<Device>,
}

impl ModuleVisitor for Visitor {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let known = is_known(param.id);
        if known.is_none() {
            self.asked_on = Some(param.val().device());
        }
        self.found.push(Parameter {
            path: self.path.join("."),
            id: param.id,
            trains: known.unwrap_or_else(|| ask(param)),
            shape: param.lazy_shape().to_vec(),
        });
    }
}

#[cfg(test)]
mod tests {
    use burn::{nn::LinearConfig, tensor::Device};

    use super::*;

    #[test]
    fn paths_name_the_place_and_a_tied_weight_has_two() {
        let device = Device::default();
        let linear = LinearConfig::new(2, 3).init(&device);
        let frozen = linear.clone().no_grad();
        let found = parameters(&vec![linear, frozen]);
        let paths: Vec<&str> = found.iter().map(|found| found.path.as_str()).collect();
        assert_eq!(paths, ["0.weight", "0.bias", "1.weight", "1.bias"]);
        assert_eq!(found[0].id, found[2].id);
        assert_eq!([found[0].trains, found[2].trains], [true, true]);
        assert_eq!(
            (found[0].shape.as_slice(), found[0].elements()),
            (&[2, 3][..], 6)
        );
    }
}
