//! Folders of weights as people have them.

use std::{fs, path::Path};

use burn::tensor::{Device, TensorData};
use fusion::{DualConfig, DualKeys};
use serde_json::{Value, json};
use tempfile::TempDir;
use transformer::{Weights, save};

use super::*;
use crate::{
    input::model::parameter_count,
    task::contrastive::{Model, namings},
};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(path)
}

/// The CLIP of a fixture, in transformers' or open_clip's naming, and a folder to put its weights into.
struct Case {
    folder: TempDir,
    config: DualConfig,
    keys: DualKeys,
    weights: Weights,
}

impl Case {
    fn hf() -> Self {
        let json = fs::read(fixture("clip/gelu/config.json")).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        let (config, keys) = DualConfig::from_hf(&json).unwrap();
        Self::new(config, keys, "clip/gelu/model.safetensors")
    }

    fn open_clip(name: &str) -> Self {
        let json = fs::read(fixture(&format!("open_clip/{name}/open_clip_config.json"))).unwrap();
        let json: Value = serde_json::from_slice(&json).unwrap();
        let (config, keys) = DualConfig::from_open_clip(&json).unwrap();
        let weights = format!("open_clip/{name}/open_clip_model.safetensors");
        Self::new(config, keys, &weights)
    }

    fn new(config: DualConfig, keys: DualKeys, weights: &str) -> Self {
        let bytes = fs::read(fixture(weights)).unwrap();
        Self {
            folder: TempDir::new().unwrap(),
            config,
            keys,
            weights: Weights::from_safetensors(&bytes).unwrap(),
        }
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.folder.path().join(name), bytes).unwrap();
    }

    /// Writes the weights with their keys changed.
    fn put_renamed(&self, rename: impl Fn(String) -> String) {
        let weights = self.weights.clone().rename(rename);
        self.put("model.safetensors", &weights.to_safetensors().unwrap());
    }

    fn load(&self) -> anyhow::Result<Loaded<Model>> {
        let names: &[&str] = match self.keys {
            DualKeys::OpenClip | DualKeys::OpenClipCustom => &OPEN_CLIP,
            _ => &HF,
        };
        let module = self.config.init(&Device::default());
        let bindings = namings(&self.config, self.keys);
        load(self.folder.path(), names, module, &bindings)
    }

    /// Whether the folder gives the weights, whatever lies in it.
    fn gives_the_weights(&self) -> Vec<String> {
        let loaded = self.load().unwrap();
        let again = save(&loaded.module, &self.config.bindings(self.keys)).unwrap();
        for key in again.keys() {
            let (want, got) = (self.weights.get(key).unwrap(), again.get(key).unwrap());
            let values = |data: &TensorData| data.iter::<f32>().collect::<Vec<_>>();
            assert_eq!(values(want), values(got), "{key}");
        }
        loaded.notes
    }

    fn error(&self) -> String {
        format!("{:#}", self.load().unwrap_err())
    }
}

/// The bytes of a safetensors file of other tensors: key, type, shape, bytes.
fn safetensors(tensors: &[(&str, &str, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (key, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        let info = json!({ "dtype": dtype, "shape": shape, "data_offsets": offsets });
        header.insert((*key).into(), info);
        data.extend_from_slice(bytes);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// All tensors of some weights with others beside them, as a safetensors file.
fn with_others(weights: &Weights, others: &[(&str, &str, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let mut tensors: Vec<_> = weights
        .keys()
        .filter(|key| others.iter().all(|other| other.0 != *key))
        .map(|key| {
            let data = weights.get(key).unwrap();
            let shape: Vec<usize> = data.shape().iter().copied().collect();
            (key, "F32", shape, data.as_bytes().to_vec())
        })
        .collect();
    tensors.extend_from_slice(others);
    safetensors(&tensors)
}

/// Spreads the weights over files and writes their index.
fn shard(case: &Case, files: usize) -> Value {
    let keys: Vec<&str> = case.weights.keys().collect();
    let mut map = serde_json::Map::new();
    for (number, part) in keys.chunks(keys.len().div_ceil(files)).enumerate() {
        let name = format!("model-{:05}-of-{files:05}.safetensors", number + 1);
        let mut weights = Weights::default();
        for key in part {
            weights.insert(*key, case.weights.get(key).unwrap().clone());
            map.insert((*key).into(), json!(name));
        }
        case.put(&name, &weights.to_safetensors().unwrap());
    }
    json!({ "metadata": { "total_size": 1 }, "weight_map": map })
}

#[test]
fn several_files_are_read_by_their_index_and_each_must_be_there() {
    let case = Case::hf();
    let index = shard(&case, 4);
    let name = "model.safetensors.index.json";
    case.put(name, &serde_json::to_vec(&index).unwrap());
    assert!(case.gives_the_weights().is_empty());
    // An index of another name is found, too: its files are no other candidates.
    let path = |name: &str| case.folder.path().join(name);
    fs::rename(path(name), path("clip.safetensors.index.json")).unwrap();
    assert!(case.gives_the_weights().is_empty());
    let gone = "model-00003-of-00004.safetensors";
    fs::remove_file(path(gone)).unwrap();
    let error = case.error();
    assert!(
        error.contains(gone) && error.contains("clip.safetensors.index.json"),
        "{error}"
    );
}

#[test]
fn a_tensor_that_lies_in_two_files_is_that_of_the_one_that_the_index_names() {
    let case = Case::hf();
    let mut index = shard(&case, 2);
    let second = "model-00002-of-00002.safetensors";
    case.put(second, &case.weights.to_safetensors().unwrap());
    let put = |index: &Value| {
        let text = serde_json::to_vec(index).unwrap();
        case.put("model.safetensors.index.json", &text);
    };
    put(&index);
    assert!(case.gives_the_weights().is_empty());
    let map = index["weight_map"].as_object_mut().unwrap();
    map.remove("logit_scale").unwrap();
    put(&index);
    let error = case.error();
    assert!(
        error.contains(second) && error.contains("`logit_scale`"),
        "{error}"
    );
}

#[test]
fn an_index_stays_in_its_folder_and_says_the_truth() {
    let case = Case::hf();
    let mut index = shard(&case, 2);
    let put = |index: &Value| {
        let text = serde_json::to_vec(index).unwrap();
        case.put("model.safetensors.index.json", &text);
        case.error()
    };
    index["weight_map"]["logit_scale"] = json!("../model-00001-of-00002.safetensors");
    assert!(put(&index).contains("../model"));
    index["weight_map"]["logit_scale"] = json!("model-00002-of-00002.safetensors");
    assert!(put(&index).contains("`logit_scale`"));
    for (broken, word) in [
        (json!({ "weight_map": {} }), "weight_map"),
        (json!({ "weight_map": { "a": 3 } }), "weight_map"),
        (json!([]), "weight_map"),
    ] {
        let error = put(&broken);
        assert!(
            error.contains(word) && error.contains("index.json"),
            "{error}"
        );
    }
}

#[test]
fn what_wrappers_put_into_keys_is_taken_off_where_the_model_has_it_not() {
    for prefix in [
        "module.",
        "_orig_mod.",
        "model.",
        "module._orig_mod.",
        "model.module.",
        "clip.",
    ] {
        let case = Case::hf();
        case.put_renamed(|key| format!("{prefix}{key}"));
        let notes = case.gives_the_weights();
        assert_eq!(
            notes.len(),
            usize::from(!["_orig_mod."].contains(&prefix)),
            "{notes:?}"
        );
    }
    let case = Case::hf();
    let inside = "_orig_mod.encoder._checkpoint_wrapped_module.layers";
    case.put_renamed(|key| key.replace("encoder.layers", inside));
    case.gives_the_weights();
    // Some keys have it and some have not: no wrapper does that.
    let case = Case::hf();
    case.put_renamed(|key| match key.as_str() {
        "logit_scale" => key,
        _ => format!("module.{key}"),
    });
    assert!(case.error().contains("logit_scale"));
    // A tensor that is missing is named as the file would have it.
    let case = Case::hf();
    case.put_renamed(|key| match key.as_str() {
        "logit_scale" => "module.other".into(),
        _ => format!("module.{key}"),
    });
    let error = case.error();
    assert!(error.contains("`module.logit_scale`"), "{error}");
}

#[test]
fn known_names_go_before_others_and_others_are_taken_where_there_is_no_choice() {
    let case = Case::hf();
    let pytorch = fs::read(fixture("pytorch/clip_gelu.bin")).unwrap();
    case.put("training_args.bin", b"no weights");
    case.put("optimizer.pt", b"no weights");
    let none = case.error();
    assert!(none.contains("pytorch_model.bin"), "{none}");
    case.put("weights.pt", &pytorch);
    case.gives_the_weights();
    case.put("other.safetensors", b"no weights");
    let both = case.error();
    assert!(
        both.contains("weights.pt") && both.contains("other.safetensors"),
        "{both}"
    );
    case.put("pytorch_model.bin", &pytorch);
    case.gives_the_weights();
    case.put(
        "model.safetensors",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    );
    let pointer = case.error();
    assert!(pointer.contains("git lfs pull"), "{pointer}");
}

#[test]
fn a_training_checkpoint_of_several_types_is_unwrapped() {
    let case = Case::open_clip("gelu");
    let bytes = fs::read(fixture("pytorch/open_clip_gelu.pt")).unwrap();
    case.put("epoch_3.pt", &bytes);
    let loaded = case.load().unwrap();
    assert!(
        loaded.notes[0].contains("`state_dict.module.`"),
        "{:?}",
        loaded.notes
    );
    let again = save(&loaded.module, &case.config.bindings(case.keys)).unwrap();
    for key in again.keys() {
        // Its matrices are in half precision.
        let half = burn::tensor::Tolerance::<f32>::absolute(2e-3);
        let (want, got) = (case.weights.get(key).unwrap(), again.get(key).unwrap());
        got.assert_approx_eq::<f32>(want, half);
    }
}

#[test]
fn buffers_of_any_type_are_passed_over_and_weights_of_integers_are_not() {
    for dtype in ["I32", "U8", "F8_E4M3", "BOOL", "I64"] {
        let case = Case::hf();
        let size = if dtype == "I32" { 4 } else { 1 };
        let size = if dtype == "I64" { 8 } else { size };
        let tensor = |key| (key, dtype, vec![1, 7], vec![1; 7 * size]);
        let buffers = [
            tensor("text_model.embeddings.position_ids"),
            tensor("vision_model.embeddings.position_ids"),
        ];
        case.put("model.safetensors", &with_others(&case.weights, &buffers));
        case.gives_the_weights();
        let scale = [("logit_scale", dtype, Vec::new(), vec![1; size])];
        case.put("model.safetensors", &with_others(&case.weights, &scale));
        let error = case.error();
        assert!(
            error.contains("`logit_scale`") && error.contains(dtype),
            "{error}"
        );
        let extra = [tensor("text_model.embeddings.other")];
        case.put("model.safetensors", &with_others(&case.weights, &extra));
        assert!(case.error().contains("`text_model.embeddings.other`"));
    }
}

#[test]
fn a_scale_has_an_axis_or_none_in_every_naming() {
    for (case, file) in [
        (Case::hf(), "model.safetensors"),
        (Case::open_clip("gelu"), "open_clip_model.safetensors"),
        (
            Case::open_clip("custom_text_siglip"),
            "open_clip_model.safetensors",
        ),
    ] {
        for shape in [vec![], vec![1]] {
            let scalar = |key: &'static str| {
                let data = case.weights.get(key)?;
                Some((key, "F32", shape.clone(), data.as_bytes().to_vec()))
            };
            let scalars: Vec<_> = ["logit_scale", "logit_bias"]
                .into_iter()
                .filter_map(scalar)
                .collect();
            case.put(file, &with_others(&case.weights, &scalars));
            case.gives_the_weights();
        }
        let two = [("logit_scale", "F32", vec![2], vec![0; 8])];
        case.put(file, &with_others(&case.weights, &two));
        assert!(case.error().contains("`logit_scale`"));
    }
}

#[test]
fn open_clip_files_from_before_the_text_tower_stood_apart_are_read() {
    let case = Case::open_clip("custom_text_siglip");
    case.put_renamed(|key| {
        key.strip_prefix("text.")
            .map_or(key.clone(), str::to_string)
    });
    case.gives_the_weights();
    // One that goes on as a SigLIP has no bias yet.
    let mut weights = Weights::default();
    for key in case.weights.keys().filter(|key| *key != "logit_bias") {
        weights.insert(key, case.weights.get(key).unwrap().clone());
    }
    case.put("model.safetensors", &weights.to_safetensors().unwrap());
    let loaded = case.load().unwrap();
    assert_eq!(loaded.module.bias(), Some(0.0));
    assert!(loaded.notes[0].contains("logit_bias"), "{:?}", loaded.notes);
}

#[test]
fn a_config_of_one_library_takes_weights_that_the_other_names() {
    let case = Case::open_clip("gelu");
    let module = case.config.init(&Device::default());
    let module =
        transformer::load(module, &case.config.bindings(case.keys), &case.weights).unwrap();
    let (_, hf) = case.config.to_hf().unwrap();
    let named = save(&module, &case.config.bindings(hf)).unwrap();
    case.put("model.safetensors", &named.to_safetensors().unwrap());
    case.gives_the_weights();
}

#[test]
fn values_that_are_no_numbers_are_told() {
    let case = Case::hf();
    let nan = [(
        "logit_scale",
        "F32",
        Vec::new(),
        f32::NAN.to_le_bytes().to_vec(),
    )];
    case.put("model.safetensors", &with_others(&case.weights, &nan));
    let loaded = case.load().unwrap();
    assert!(
        loaded.notes[0].contains("`logit_scale`"),
        "{:?}",
        loaded.notes
    );
}

#[test]
fn a_number_in_a_header_is_not_believed() {
    let case = Case::hf();
    let whole = case.weights.to_safetensors().unwrap();
    let with_length = |length: u64| [&length.to_le_bytes()[..], &whole[8..]].concat();
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap());
    for bytes in [
        Vec::new(),
        vec![1, 2, 3],
        whole[..whole.len() - 4].to_vec(),
        [&whole[..], &[0; 4]].concat(),
        with_length(u64::MAX),
        with_length(header - 1),
        with_length(1 << 40),
        safetensors(&[("logit_scale", "F32", vec![1 << 40, 1 << 40], vec![0; 4])]),
    ] {
        case.put("model.safetensors", &bytes);
        let error = case.error();
        assert!(error.contains("model.safetensors"), "{error}");
    }
}

#[test]
fn the_closed_form_counts_what_is_built() {
    for case in [
        Case::hf(),
        Case::open_clip("gelu"),
        Case::open_clip("custom_text_siglip"),
    ] {
        let model = case.config.init(&Device::default());
        assert_eq!(case.config.parameters(), parameter_count(&model) as u64);
    }
}
