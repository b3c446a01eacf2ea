//! Reading fixtures and comparing by the rule in their README.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use serde_json::Value;
use trainer::device::Backend;
use transformer::Weights;

/// How a backend is compared.
struct Comparison {
    backend: Backend,
    /// Its bounds, as a multiple of the fixtures', which are twenty times the distance of float32 from float64 on a
    /// processor.
    slack: f64,
    reason: &'static str,
}

const COMPARISONS: [Comparison; 4] = [
    Comparison {
        backend: Backend::Flex,
        slack: 1.0,
        reason: "float32 on a processor, as the fixtures",
    },
    Comparison {
        backend: Backend::Libtorch,
        slack: 1.0,
        reason: "the very library the fixtures were made with",
    },
    Comparison {
        backend: Backend::Wgpu,
        slack: 4.0,
        reason: "Vulkan allows division, square roots and exponentials a few units in the last place; Mesa's software \
                 renderer would pass at 1",
    },
    Comparison {
        backend: Backend::Cuda,
        slack: 4.0,
        reason: "kernels are tuned while running, so that the order of sums differs from one run to the next; products in \
                 TF32, which Burn 0.22 would make on tensor cores, are farther off and would fail",
    },
];

fn comparison() -> &'static Comparison {
    let backend = Backend::built();
    let found = COMPARISONS.iter().find(|row| row.backend == backend);
    found.expect("every backend has a row")
}

/// The fixture root: `SHOESTRING_FIXTURES`, or the copies in the repository.
pub(crate) fn root() -> PathBuf {
    match std::env::var_os("SHOESTRING_FIXTURES") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures"),
    }
}

/// Runs `check` on every folder of a family; a family without folders fails.
pub(crate) fn each(family: &str, check: impl Fn(&Fixture)) {
    let folder = root().join(family);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    assert!(!folders.is_empty(), "{} holds no fixture", folder.display());
    for path in folders {
        println!("fixture {}", path.display());
        check(&Fixture::open(path));
    }
}

pub(crate) struct Fixture {
    pub(crate) folder: PathBuf,
    meta: Value,
    compared: RefCell<BTreeSet<String>>,
}

impl Fixture {
    pub(crate) fn open(folder: PathBuf) -> Self {
        let meta = json_file(&folder.join("meta.json"));
        Self {
            folder,
            meta,
            compared: RefCell::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        self.folder.file_name().unwrap().to_str().unwrap()
    }

    /// The folder of the model this fixture starts from.
    pub(crate) fn base(&self) -> PathBuf {
        match self.meta["base"].as_str() {
            None => self.folder.clone(),
            Some(base) => root().join(base),
        }
    }

    pub(crate) fn json(&self, file: &str) -> Value {
        json_file(&self.folder.join(file))
    }

    pub(crate) fn weights(&self, file: &str) -> Weights {
        weights_file(&self.folder.join(file))
    }

    /// The inputs, here or where `meta.json` says.
    pub(crate) fn inputs(&self) -> Weights {
        match self.meta["inputs"].as_str() {
            None => self.weights("inputs.safetensors"),
            Some(path) => weights_file(&root().join(path)),
        }
    }

    /// Compares one tensor of `outputs.safetensors`.
    pub(crate) fn compare(&self, outputs: &Weights, name: &str, got: &TensorData) {
        let entry = &self.meta["files"]["outputs.safetensors"][name];
        let number = |key: &str| {
            entry["tolerance"][key]
                .as_f64()
                .unwrap_or_else(|| panic!("{name} has no tolerance {key} in meta.json"))
        };
        let Comparison { slack, reason, .. } = comparison();
        let (atol, rtol) = (slack * number("atol"), slack * number("rtol"));
        let want = outputs
            .get(name)
            .unwrap_or_else(|| panic!("no output {name}"));
        assert_eq!(
            want.num_elements(),
            got.num_elements(),
            "{name}: number of elements"
        );
        for (i, (got, want)) in got.iter::<f64>().zip(want.iter::<f64>()).enumerate() {
            let bound = atol + rtol * want.abs();
            assert!(
                (got - want).abs() <= bound,
                "{}: {name}[{i}] is {got}, not {want} within {bound} ({reason})",
                self.folder.display()
            );
        }
        self.compared.borrow_mut().insert(name.to_string());
    }

    pub(crate) fn compare_number(&self, outputs: &Weights, name: &str, got: f64) {
        self.compare(outputs, name, &TensorData::new(vec![got], [1]));
    }

    pub(crate) fn compare_tensor<const D: usize>(
        &self,
        outputs: &Weights,
        name: &str,
        got: Tensor<D>,
    ) {
        self.compare(outputs, name, &got.into_data());
    }

    /// Marks an output that is for orientation only.
    pub(crate) fn pass_over(&self, name: &str) {
        self.compared.borrow_mut().insert(name.to_string());
    }

    /// Every output in `meta.json` must have been compared.
    pub(crate) fn finish(&self) {
        let outputs = self.meta["files"]["outputs.safetensors"]
            .as_object()
            .unwrap();
        let compared = self.compared.borrow();
        let missed: Vec<&String> = outputs
            .keys()
            .filter(|name| !compared.contains(*name))
            .collect();
        assert!(
            missed.is_empty(),
            "{}: not compared: {missed:?}",
            self.folder.display()
        );
    }

    /// Compares every tensor of a file keyed by parameter name.
    pub(crate) fn compare_parameters(&self, file: &str, got: &Weights) {
        let want = self.weights(file);
        let entry = &self.meta["files"][file];
        let tolerance = |name: &str, key: &str| {
            let wider = entry["wider"][name][key].as_f64();
            wider.or(entry["tolerance"][key].as_f64()).unwrap()
        };
        for name in want.keys() {
            let values: Vec<f64> = want.get(name).unwrap().iter::<f64>().collect();
            let largest = values.iter().fold(0.0f64, |max, x| max.max(x.abs()));
            let Comparison { slack, reason, .. } = comparison();
            let bound = tolerance(name, "atol") + tolerance(name, "rtol_of_max") * largest;
            let bound = slack * bound;
            let found = got
                .get(name)
                .unwrap_or_else(|| panic!("{file}: nothing for {name}"));
            assert_eq!(
                found.shape(),
                want.get(name).unwrap().shape(),
                "{file}: {name}"
            );
            for (i, (got, want)) in found.iter::<f64>().zip(values).enumerate() {
                assert!(
                    (got - want).abs() <= bound,
                    "{} {file}: {name}[{i}] is {got}, not {want} within {bound} ({reason})",
                    self.folder.display()
                );
            }
        }
        let extra: Vec<&str> = got.keys().filter(|key| want.get(key).is_none()).collect();
        assert!(
            extra.is_empty(),
            "{}: {file} has no {extra:?}",
            self.folder.display()
        );
    }
}

pub(crate) fn json_file(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn weights_file(path: &Path) -> Weights {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Weights::from_safetensors(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The device that the backend's feature, or `BURN_DEVICE`, chooses.
pub(crate) fn device() -> Device {
    trainer::device::open(None).unwrap()
}

pub(crate) fn tensor<const D: usize>(weights: &Weights, name: &str, device: &Device) -> Tensor<D> {
    Tensor::from_data(data(weights, name), device)
}

pub(crate) fn ids(weights: &Weights, name: &str, device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(data(weights, name), device)
}

pub(crate) fn mask(weights: &Weights, name: &str, device: &Device) -> Tensor<2, Bool> {
    ids(weights, name, device).equal_elem(1)
}

pub(crate) fn data(weights: &Weights, name: &str) -> TensorData {
    weights
        .get(name)
        .unwrap_or_else(|| panic!("no tensor {name}"))
        .clone()
}
