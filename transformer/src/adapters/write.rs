//! From a model with adapters to their files.

use std::collections::{BTreeMap, BTreeSet};

use burn::{module::Module, tensor::TensorData};
use peft::{
    Adaptable, BiasTraining, HfConfig, Kind, LoraConfig, Method, Names, PREFIX, Place, Targets,
    bottleneck_tensors, embedding_tensors, for_places, tensors,
};

use super::{AdapterNames, TrainedPaths, module_of};
use crate::{Layout, Weights, WeightsError, save};

impl AdapterNames {
    /// The tensors of a model's adapters and of its own parameters that are trained, by the names of HF PEFT.
    ///
    /// # Errors
    ///
    /// If the model is another than the names are of.
    pub fn save<M: Module + Adaptable>(
        &self,
        model: &M,
        trained: &TrainedPaths,
    ) -> Result<Weights, WeightsError> {
        let mut weights = Weights::default();
        let mut bare = model.clone();
        let mut adapted = BTreeSet::new();
        for_places(&mut bare, |path, place| {
            let patches = self.patches(path);
            let mut put = |end: &str, data: TensorData| {
                let data = match patches {
                    Some(patches) => as_convolution(end, data, patches),
                    None => data,
                };
                weights.insert(format!("{PREFIX}{}.{end}", self.name(path)), data);
            };
            match place {
                Place::Linear(map) => {
                    for attached in map.adapters.drain(..) {
                        adapted.insert(path.to_owned());
                        for (end, data) in tensors(&attached) {
                            put(end, data);
                        }
                    }
                }
                Place::Embedding { place, .. } => {
                    if let Some(lora) = place.take() {
                        for (end, data) in embedding_tensors(&lora) {
                            put(end, data);
                        }
                    }
                }
                Place::Beside { place, .. } => {
                    if let Some(bottleneck) = place.take() {
                        for (end, data) in bottleneck_tensors(&bottleneck) {
                            put(end, data);
                        }
                    }
                }
            }
        });
        if trained.is_empty() {
            return Ok(weights);
        }
        let own = save(&bare, &self.bindings)?;
        let bindings = self.bindings.iter();
        for binding in bindings.filter(|binding| trained.contains(&binding.path)) {
            if let Some(data) = own.get(&binding.key) {
                let key = self.key(&binding.path, &binding.key, &adapted);
                weights.insert(key, data.clone());
            }
        }
        Ok(weights)
    }

    /// Channels and side of the patches that a module maps, if it is a convolution on disk.
    fn patches(&self, path: &str) -> Option<[usize; 2]> {
        let weight = format!("{path}.weight");
        let binding = self.bindings.iter().find(|other| other.path == weight)?;
        match binding.layout {
            Layout::Patches { channels, size } => Some([channels, size]),
            _ => None,
        }
    }

    /// The key of a model's own parameter in an adapter's file.
    fn key(&self, path: &str, key: &str, adapted: &BTreeSet<String>) -> String {
        let module = module_of(path);
        let parameter = &key[module_of(key).len()..];
        if adapted.contains(module) {
            return format!("{PREFIX}{}.base_layer{parameter}", self.name(module));
        }
        match self.modules.of(module).get(1..) {
            Some([.., name]) => format!("{PREFIX}{name}{parameter}"),
            _ => format!("{PREFIX}{key}"),
        }
    }

    /// The config to be written of a model: its modules as transformers names them, so that PEFT attaches to these and no
    /// other, each with its rank.
    pub fn config<M: Module + Adaptable>(
        &self,
        mut config: HfConfig,
        model: &M,
        trained: &TrainedPaths,
    ) -> HfConfig {
        let name = |path: &str| self.name(path);
        let model = &mut model.clone();
        let (mut targets, mut on_input) = (Vec::new(), Vec::new());
        let mut sizes: BTreeMap<String, (usize, f64)> = BTreeMap::new();
        for_places(model, |path, place| match place {
            Place::Linear(map) => {
                let Some(attached) = map.adapters.first() else {
                    return;
                };
                targets.push(name(path));
                match &attached.method {
                    Method::Lora(lora) => {
                        sizes.insert(name(path), (lora.rank(), lora.scale()));
                    }
                    Method::Dora(dora) => {
                        sizes.insert(name(path), (dora.lora.rank(), dora.lora.scale()));
                    }
                    Method::Ia3(ia3) if ia3.is_on_input() => on_input.push(name(path)),
                    Method::Ia3(_) | Method::Bottleneck(_) => {}
                }
            }
            Place::Embedding { place, .. } => {
                if let Some(lora) = place {
                    targets.push(name(path));
                    sizes.insert(name(path), (lora.rank(), lora.scale()));
                }
            }
            Place::Beside { place, .. } => targets.extend(place.is_some().then(|| name(path))),
        });
        config.plan.targets = Targets {
            names: Names::List(targets),
            ..Targets::default()
        };
        match &mut config.plan.kind {
            Kind::Lora {
                config,
                ranks,
                alphas,
                ..
            } => {
                ranks.clear();
                alphas.clear();
                for (module, (rank, scale)) in sizes {
                    let own = LoraConfig { rank, ..*config };
                    // What `scale` was made of.
                    let alpha = scale * own.alpha / own.scale();
                    let pattern = module.replace('.', r"\.");
                    if rank != config.rank {
                        ranks.insert(pattern.clone(), rank);
                    }
                    if (alpha - config.alpha).abs() > 1e-9 * config.alpha {
                        alphas.insert(pattern, alpha);
                    }
                }
            }
            Kind::Ia3 { feedforward } => *feedforward = Names::List(on_input),
            Kind::Bottleneck { .. } => {}
        }
        // Only what is a module there; a lone parameter, such as the scale, stands in the file alone.
        let bindings = self.bindings.iter().filter(|binding| {
            trained.contains(&binding.path) && module_of(&binding.key) != binding.key
        });
        let is_full = |module: &str| {
            let weights = [module.to_owned(), format!("{module}.weight")];
            config.bias == BiasTraining::None || weights.iter().any(|path| trained.contains(path))
        };
        let mut full: Vec<String> = bindings
            .map(|binding| module_of(&binding.path))
            .filter(|module| is_full(module))
            .map(name)
            .collect();
        full.dedup();
        config.modules_to_save = full;
        config
    }
}

/// The tensors of LoRA on a convolution: `[rank, channels, size, size]` and `[d_output, rank, 1, 1]`.
fn as_convolution(end: &str, data: TensorData, [channels, size]: [usize; 2]) -> TensorData {
    let shape = data.shape().to_vec();
    let wanted = match end {
        "lora_A.weight" => vec![shape[0], channels, size, size],
        "lora_B.weight" => vec![shape[0], shape[1], 1, 1],
        _ => return data,
    };
    let values: Vec<f32> = data.iter::<f32>().collect();
    TensorData::new(values, wanted)
}
