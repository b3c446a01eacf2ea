//! What a base is known by, whatever files it came from.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};
use sha2::{Digest, Sha256};

/// The SHA-256 of the parameters of a model: of path, shape and float32 values, in the order of the paths.
pub(crate) fn identity<M: Module>(model: &M) -> String {
    let mut visitor = Sums::default();
    model.visit(&mut visitor);
    let mut all = Sha256::new();
    for (path, sum) in visitor.sums {
        all.update(path);
        all.update([0]);
        all.update(sum);
    }
    let digest = all.finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[derive(Default)]
struct Sums {
    path: Vec<String>,
    sums: BTreeMap<String, Vec<u8>>,
}

impl ModuleVisitor for Sums {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data();
        let mut sum = Sha256::new();
        for size in data.shape().to_vec() {
            sum.update((size as u64).to_le_bytes());
        }
        for value in data.iter::<f32>() {
            sum.update(value.to_le_bytes());
        }
        self.sums
            .insert(self.path.join("."), sum.finalize().to_vec());
    }
}
