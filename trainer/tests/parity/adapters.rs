//! Adapters of HF PEFT on the models they were made for.

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{Device, Tensor},
};
use checkpointing::{
    Execution, Gradients, Passenger, Policy, Seed, State, check::with_trainable, parameters,
};
use fusion::{Batch, DualConfig, DualEncoder, StepConfig, contrastive_step, normalise};
use kernels::{Activation, product};
use peft::{
    Adaptable, BiasTraining, BottleneckConfig, HfConfig, Place, for_places, set_bottleneck,
};
use text_encoder::TextTransformer;
use transformer::{AdapterNames, Bindings, Tokens, TrainedPaths, Weights, load, save};
use vision_encoder::{
    LabelledBatch, VisionConfig, VisionEncoder, VisionKeys, VisionTransformer, classify_step,
};

use crate::{
    clip::loss_of,
    fixture::{Fixture, data, device, each, ids, json_file, mask, tensor, weights_file},
    single::{MaskedBert, check_mlm},
};

const POLICIES: [Policy; 3] = [Policy::StoreAll, Policy::EveryCut, Policy::Nested(2, 1)];

#[test]
fn parity_peft() {
    each("peft", |fixture| match fixture.name() {
        "bottleneck" => bottleneck(fixture),
        name if name.starts_with("clip") => clip(fixture),
        name if name.starts_with("bert") => bert(fixture),
        name if name.starts_with("vit") => vit(fixture),
        // Decoders belong to later work.
        name => assert!(
            ["gpt2", "llama"]
                .iter()
                .any(|decoder| name.starts_with(decoder))
        ),
    });
}

/// A model with the adapter of a fixture, all else frozen.
pub(crate) struct Adapted<M> {
    pub(crate) model: M,
    pub(crate) names: AdapterNames,
    pub(crate) trained: TrainedPaths,
    pub(crate) config: HfConfig,
}

impl<M: Module + Adaptable> Adapted<M> {
    pub(crate) fn load(fixture: &Fixture, base: M, bindings: &Bindings) -> Self {
        let config = HfConfig::read(&fixture.json("adapter_config.json")).unwrap();
        assert!(config.unknown.is_empty(), "{:?}", config.unknown);
        let weights = fixture.weights("adapter_model.safetensors");
        let names = AdapterNames::new(bindings.clone());
        let (model, places) = names
            .load(base, "default", &config, &weights, &device())
            .unwrap();
        let saves = |path: &str| {
            let module = path.rsplit_once('.').map_or(path, |(module, _)| module);
            let all = names.modules().of(module);
            let full = config.modules_to_save.iter();
            let is_full = full
                .into_iter()
                .any(|end| all.iter().any(|name| name.ends_with(end)));
            let is_bias = config.bias == BiasTraining::Adapted
                && path.ends_with(".bias")
                && places.iter().any(|place| place == module);
            is_full || is_bias
        };
        let model = with_trainable(model, |path| path.contains(".adapters.") || saves(path));
        let found = parameters(&model).into_iter();
        let own = found.filter(|found| found.trains && !found.path.contains(".adapters."));
        Self {
            trained: own.map(|found| found.path).collect(),
            model,
            names,
            config,
        }
    }

    /// The files are written as they were read.
    fn check_files(&self, fixture: &Fixture) {
        let saved = self.names.save(&self.model, &self.trained).unwrap();
        let want = fixture.weights("adapter_model.safetensors");
        let keys = |weights: &Weights| {
            let mut keys: Vec<String> = weights.keys().map(str::to_owned).collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&saved), keys(&want));
        for key in want.keys() {
            assert_eq!(saved.get(key), want.get(key), "{key}");
        }
        let config = self
            .names
            .config(self.config.clone(), &self.model, &self.trained);
        let again = HfConfig::read(&config.write()).unwrap();
        assert_eq!(again, config);
        assert_eq!(again.bias, self.config.bias);
    }

    pub(crate) fn saved(&self, model: &M) -> Weights {
        self.names.save(model, &self.trained).unwrap()
    }

    /// The gradients by the names of the adapter's file.
    fn gradients(&self, gradients: &Gradients) -> Weights {
        struct Mapper<'a>(&'a Gradients);
        impl ModuleMapper for Mapper<'_> {
            fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
                let shape = param.dims();
                match self.0.get(param.id) {
                    None => param,
                    Some(gradient) => {
                        let gradient = gradient.clone().reshape(shape);
                        param.map(|_| gradient)
                    }
                }
            }
        }
        let found = parameters(&self.model);
        for found in &found {
            let has = gradients.get(found.id).is_some();
            assert_eq!(has, found.trains, "{}", found.path);
        }
        self.saved(&self.model.clone().map(&mut Mapper(gradients)))
    }

    /// How many numbers train.
    fn check_count(&self, fixture: &Fixture) {
        let meta = fixture.json("meta.json");
        let trained = parameters(&self.model).into_iter();
        let trained: usize = trained
            .filter(|found| found.trains)
            .map(|found| found.elements())
            .sum();
        assert_eq!(
            trained as u64,
            meta["trainable_parameters"].as_u64().unwrap()
        );
    }

    /// The model with its adapters folded in; compares the weights of the adapted modules.
    fn merged(&self, fixture: &Fixture, bindings: &Bindings) -> M {
        let mut merged = self.model.clone();
        for_places(&mut merged, |_, place| {
            if let Place::Linear(map) = place {
                map.merge().unwrap();
            }
        });
        let mut bare = merged.clone();
        for_places(&mut bare, |_, place| {
            if let Place::Linear(map) = place {
                map.adapters.clear();
            }
        });
        let all = save(&bare, bindings).unwrap();
        let want = fixture.weights("merged_weights.safetensors");
        let mut got = Weights::default();
        for binding in bindings.iter() {
            let (Some((module, _)), Some((_, parameter))) =
                (binding.path.rsplit_once('.'), binding.key.rsplit_once('.'))
            else {
                continue;
            };
            for name in self.names.modules().of(module) {
                let key = format!("{name}.{parameter}");
                if want.get(&key).is_some() {
                    got.insert(key, all.get(&binding.key).unwrap().clone());
                }
            }
        }
        fixture.compare_parameters("merged_weights.safetensors", &got);
        merged
    }
}

type Dual = DualEncoder<VisionTransformer, TextTransformer>;

fn clip(fixture: &Fixture) {
    let device = device();
    let base = fixture.base();
    let (config, keys) = DualConfig::from_hf(&json_file(&base.join("config.json"))).unwrap();
    let bindings = config.bindings(keys);
    let weights = weights_file(&base.join("model.safetensors"));
    let model: Dual = load(config.init(&device), &bindings, &weights).unwrap();
    let adapted = Adapted::load(fixture, model, &bindings);
    adapted.check_files(fixture);
    adapted.check_count(fixture);
    let inputs = weights_file(&base.join("inputs.safetensors"));
    let outputs = fixture.weights("outputs.safetensors");
    let batch = Batch {
        pixels: tensor(&inputs, "pixel_values", &device),
        ids: ids(&inputs, "input_ids", &device),
        mask: Some(mask(&inputs, "attention_mask", &device)),
    };
    let compare = |prefix: &str, model: &Dual| {
        let [image, text] = embeds(model, &batch);
        let name = |name: &str| format!("{prefix}{name}");
        fixture.compare_tensor(&outputs, &name("image_embeds"), image.clone());
        fixture.compare_tensor(&outputs, &name("text_embeds"), text.clone());
        if prefix.is_empty() {
            let logits = product(image, text.transpose()) * model.scale();
            fixture.compare_tensor(&outputs, "logits_per_image", logits);
        }
        for policy in POLICIES {
            let parts = 1;
            let step = StepConfig {
                loss: loss_of(&config),
                execution: Execution { policy, parts },
            };
            let out = contrastive_step(
                model,
                std::slice::from_ref(&batch),
                &step,
                Seed::evaluation(),
            );
            fixture.compare_number(&outputs, &name("loss"), out.loss);
            if prefix.is_empty() {
                let gradients = adapted.gradients(&out.gradients);
                fixture.compare_parameters("grads.safetensors", &gradients);
            }
        }
    };
    compare("", &adapted.model);
    compare("merged.", &adapted.merged(fixture, &bindings));
    fixture.finish();
}

/// The normalised features of pictures and captions.
fn embeds(model: &Dual, batch: &Batch) -> [Tensor<2>; 2] {
    use text_encoder::TextEncoder;
    let features = |chain: checkpointing::Chain<'_>, input: State| -> Tensor<2> {
        let output = chain.run(0..chain.len(), input, Seed::evaluation());
        normalise(output.into_hidden().squeeze_dim(1)).0
    };
    let image = State::default().with("pixels", Passenger::Pixels(batch.pixels.clone()));
    let text = State::default().with("ids", Passenger::Ids(batch.ids.clone()));
    let text = text.with("mask", Passenger::Mask(batch.mask.clone().unwrap()));
    [
        features(model.vision.chain(Tokens::All), image),
        features(model.text.chain(Tokens::All), text),
    ]
}

fn bert(fixture: &Fixture) {
    let base = MaskedBert::open(&fixture.base());
    let bindings = base.bindings.clone();
    let adapted = Adapted::load(fixture, base.model, &bindings);
    adapted.check_files(fixture);
    adapted.check_count(fixture);
    let inputs = weights_file(&fixture.base().join("inputs.safetensors"));
    check_mlm(fixture, &inputs, &adapted.model, "", |gradients| {
        let gradients = adapted.gradients(gradients);
        fixture.compare_parameters("grads.safetensors", &gradients);
    });
    let merged = adapted.merged(fixture, &bindings);
    check_mlm(fixture, &inputs, &merged, "merged.", |_| {});
    fixture.finish();
}

fn vit(fixture: &Fixture) {
    let device = device();
    let base = fixture.base();
    let config = VisionConfig::from_hf_vit(&json_file(&base.join("config.json"))).unwrap();
    let bindings = config.bindings(VisionKeys::HfVit);
    let weights = weights_file(&base.join("model.safetensors"));
    let model = load(config.init(&device), &bindings, &weights).unwrap();
    let adapted = Adapted::load(fixture, model, &bindings);
    adapted.check_files(fixture);
    adapted.check_count(fixture);
    let inputs = weights_file(&base.join("inputs.safetensors"));
    let outputs = fixture.weights("outputs.safetensors");
    let labels = data(&inputs, "labels");
    let batch = LabelledBatch {
        pixels: tensor(&inputs, "pixel_values", &device),
        labels: labels.iter::<i64>().map(|label| label as usize).collect(),
    };
    let merged = adapted.merged(fixture, &bindings);
    for (prefix, model) in [("", &adapted.model), ("merged.", &merged)] {
        if prefix.is_empty() {
            let input = State::default().with("pixels", Passenger::Pixels(batch.pixels.clone()));
            let chain = model.chain(Tokens::All);
            let logits = chain.run(0..chain.len(), input, Seed::evaluation());
            fixture.compare_tensor(&outputs, "logits", logits.into_hidden());
        }
        for policy in POLICIES {
            let execution = Execution { policy, parts: 1 };
            let out = classify_step(
                model,
                std::slice::from_ref(&batch),
                0.0,
                execution,
                Seed::evaluation(),
            );
            fixture.compare_number(&outputs, &format!("{prefix}loss"), out.loss);
            if prefix.is_empty() {
                let gradients = adapted.gradients(&out.gradients);
                fixture.compare_parameters("grads.safetensors", &gradients);
            }
        }
    }
    fixture.finish();
}

fn bottleneck(fixture: &Fixture) {
    let device: Device = device();
    let sizes = fixture.json("config.json");
    let weights = fixture.weights("model.safetensors");
    let width = sizes["bottleneck"].as_u64().unwrap() as usize;
    let dim = sizes["dim"].as_u64().unwrap() as usize;
    let make = |norm: Option<f64>| {
        let config = BottleneckConfig {
            width,
            scale: sizes["scale"].as_f64().unwrap(),
            activation: Activation::Gelu,
            norm,
        };
        let mut made = config.init(dim, &device);
        for key in weights
            .keys()
            .filter(|key| norm.is_some() || !key.starts_with("norm"))
        {
            let data = weights.get(key).unwrap().clone();
            let tensor = format!("bottleneck.{key}");
            set_bottleneck(&mut made, &tensor, data).unwrap();
        }
        made
    };
    let (inputs, outputs) = (fixture.inputs(), fixture.weights("outputs.safetensors"));
    let shaped = tensor::<3>(&inputs, "x", &device);
    let [batch, tokens, _] = shaped.dims();
    let x: Tensor<2> = shaped.reshape([batch * tokens, dim]);
    let target: Tensor<2> = tensor::<3>(&inputs, "target", &device).reshape([batch * tokens, dim]);
    let elements = (batch * tokens * dim) as f64;
    let mut loss = 0.0;
    let mut all = Weights::default();
    let mut sums: std::collections::BTreeMap<String, Tensor<1>> = Default::default();
    for (name, norm) in [("output", None), ("output_pre_norm", Some(1e-5))] {
        let adapter = make(norm);
        let output = x.clone() + adapter.update(x.clone());
        let shape = [batch, tokens, dim];
        fixture.compare_tensor(&outputs, name, output.clone().reshape(shape));
        let difference = output - target.clone();
        let square = (difference.clone() * difference.clone()).mean();
        loss += f64::from(square.into_scalar::<f32>());
        let mut gradients = Gradients::default();
        let cotangent = difference * (2.0 / elements);
        adapter.pull_update(x.clone(), cotangent, true, &mut gradients);
        let mut add = |key: &str, gradient: Option<Tensor<1>>| {
            let Some(gradient) = gradient else { return };
            let sum = match sums.remove(key) {
                None => gradient,
                Some(sum) => sum + gradient,
            };
            sums.insert(key.to_owned(), sum);
        };
        let turned = |gradient: Option<&Tensor<1>>, [rows, columns]: [usize; 2]| {
            let matrix: Tensor<2> = gradient?.clone().reshape([rows, columns]);
            Some(matrix.transpose().reshape([rows * columns]))
        };
        add(
            "down.weight",
            turned(gradients.get(adapter.down.id), [dim, width]),
        );
        add(
            "up.weight",
            turned(gradients.get(adapter.up.id), [width, dim]),
        );
        add("down.bias", gradients.get(adapter.down_bias.id).cloned());
        add("up.bias", gradients.get(adapter.up_bias.id).cloned());
        if let Some(norm) = &adapter.norm {
            add("norm.weight", gradients.get(norm.gamma.id).cloned());
            add("norm.bias", gradients.get(norm.beta.id).cloned());
        }
    }
    for (key, sum) in sums {
        let shape = weights.get(&key).unwrap().shape().to_vec();
        let data = sum.into_data();
        let values: Vec<f32> = data.iter::<f32>().collect();
        all.insert(key, burn::tensor::TensorData::new(values, shape));
    }
    fixture.compare_number(&outputs, "loss", loss);
    fixture.compare_parameters("grads.safetensors", &all);
    fixture.finish();
}
