//! Whether a parameter trains.

use std::{cell::RefCell, collections::HashMap, sync::Arc};

use burn::{
    module::{Module, Param, ParamId},
    tensor::{Device, Tensor},
};

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
