//! Gradients by parameter, and which parameters want one.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use burn::{
    module::{Module, Param, ParamId},
    tensor::{Device, Tensor},
};

use crate::parameters;

/// Gradients by parameter, each flattened to `[elements]`, off any graph.
#[derive(Debug, Default)]
pub struct Gradients {
    by_id: HashMap<ParamId, Tensor<1>>,
}

impl Gradients {
    /// Adds `gradient` to what the parameter has already received (tied weights, micro-batches).
    pub fn add<const D: usize>(&mut self, id: ParamId, gradient: Tensor<D>) {
        let gradient = gradient.flatten::<1>(0, D - 1);
        let sum = match self.by_id.remove(&id) {
            Some(sum) => sum + gradient,
            None => gradient,
        };
        self.by_id.insert(id, sum);
    }

    /// Adds the gradient of a parameter that trains; of any other it is not computed.
    pub fn give<const D: usize>(
        &mut self,
        param: &Param<Tensor<D>>,
        gradient: impl FnOnce() -> Tensor<D>,
    ) {
        if is_trainable(param) {
            self.add(param.id, gradient());
        }
    }

    /// Adds every gradient of `other`.
    pub fn merge(&mut self, other: Gradients) {
        if self.by_id.is_empty() {
            self.by_id = other.by_id;
            return;
        }
        for (id, gradient) in other.by_id {
            self.add(id, gradient);
        }
    }

    /// The gradient of a parameter, `[elements]`.
    pub fn get(&self, id: ParamId) -> Option<&Tensor<1>> {
        self.by_id.get(&id)
    }

    /// Takes the gradient of a parameter out, `[elements]`.
    pub fn take(&mut self, id: ParamId) -> Option<Tensor<1>> {
        self.by_id.remove(&id)
    }

    /// How many parameters have a gradient.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether no parameter has a gradient.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

/// Whether a parameter trains. The answer is the same on and off the autodiff device.
pub fn is_trainable<const D: usize>(param: &Param<Tensor<D>>) -> bool {
    is_known(param.id).unwrap_or_else(|| {
        let answer = ask(param);
        forget_graphs(&param.val().device());
        answer
    })
}

/// Which parameters train.
pub(crate) type Trainable = HashMap<ParamId, bool>;

thread_local! {
    /// What [`knowing`] says of parameters.
    static KNOWN: RefCell<Option<Arc<Trainable>>> = const { RefCell::new(None) };
}

/// Runs `f`, in which [`is_trainable`] answers from what is known, where it knows. Burn 0.22 tells whether a parameter
/// trains only by making a graph of it, whose nodes stay until somebody goes back through a graph: a chain asks once.
pub(crate) fn knowing<T>(trainable: &Arc<Trainable>, f: impl FnOnce() -> T) -> T {
    struct Restore(Option<Arc<Trainable>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            KNOWN.set(self.0.take());
        }
    }
    let _restore = Restore(KNOWN.replace(Some(trainable.clone())));
    f()
}

/// What is known of a parameter.
pub(crate) fn is_known(id: ParamId) -> Option<bool> {
    KNOWN.with_borrow(|known| known.as_ref()?.get(&id).copied())
}

thread_local! {
    /// Within [`forget_once`], where a graph was left behind.
    static LATER: RefCell<Option<Option<Device>>> = const { RefCell::new(None) };
}

/// Runs `f`, and forgets the graphs that it leaves behind all at once.
pub(crate) fn forget_once<T>(f: impl FnOnce() -> T) -> T {
    struct Forget(Option<Option<Device>>);
    impl Drop for Forget {
        fn drop(&mut self) {
            if let Some(device) = LATER.replace(self.0.take()).flatten() {
                forget_graphs(&device);
            }
        }
    }
    let _forget = Forget(LATER.replace(Some(None)));
    f()
}

/// As [`is_trainable`], by a graph that is left behind.
pub(crate) fn ask<const D: usize>(param: &Param<Tensor<D>>) -> bool {
    param.clone().train().is_require_grad()
}

/// Goes back through the smallest of graphs, at which the framework drops the nodes of all that nothing holds.
pub(crate) fn forget_graphs(device: &Device) {
    let is_later = LATER.with_borrow_mut(|later| {
        let later = later.as_mut();
        later.map(|later| *later = Some(device.clone())).is_some()
    });
    if is_later {
        return;
    }
    let zero = Tensor::<1>::zeros([1], &device.clone().inner());
    drop(Tensor::from_inner(zero).require_grad().backward());
}

/// The ids of the parameters of `module` that train, in visiting order.
pub fn trainable_parameters<M: Module>(module: &M) -> Vec<ParamId> {
    let parameters = parameters(module).into_iter();
    let trained = parameters.filter(|parameter| parameter.trains);
    trained.map(|parameter| parameter.id).collect()
}
