//! The parameters of a model, drawn and counted.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Tensor},
};

/// The module that `init` makes, drawn from `seed`.
pub fn drawn<M: Module>(seed: u64, device: &Device, init: impl FnOnce(&Device) -> M) -> M {
    device.seed(seed);
    let module = init(device);
    // Parameters are drawn when first read: read them all, in order, so that the seed decides.
    read_all(&module);
    module
}

fn read_all(module: &impl Module) {
    struct Touch;
    impl ModuleVisitor for Touch {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            drop(param.val());
        }
    }
    module.visit(&mut Touch);
}

/// Elements of all parameters of a module.
pub fn parameter_count<M: Module>(module: &M) -> usize {
    struct Count(usize);
    impl ModuleVisitor for Count {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0 += param.lazy_shape().num_elements();
        }
    }
    let mut count = Count(0);
    module.visit(&mut count);
    count.0
}
