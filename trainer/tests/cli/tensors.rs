//! Files of weights as wrappers and libraries leave them.

use std::{collections::HashMap, fs};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::json;

use crate::{
    folder::{Folder, text},
    weights::{cases, copy, embed, refuses, trains, with},
};

/// The tensors of the weights, changed by `change` and written again.
fn rewrite(
    folder: &Folder,
    change: impl Fn(&str) -> String,
    more: &[(&str, Dtype, Vec<usize>, Vec<u8>)],
) {
    let path = folder.path("weights/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut all: HashMap<String, TensorView> = tensors
        .iter()
        .map(|(key, view)| (change(key), view))
        .collect();
    for (key, dtype, shape, data) in more {
        let view = TensorView::new(*dtype, shape.clone(), data).unwrap();
        all.insert((*key).to_owned(), view);
    }
    fs::write(path, safetensors::serialize(all, None).unwrap()).unwrap();
}

#[test]
fn prefixes_of_wrappers_are_taken_off_and_buffers_of_any_type_passed_over() {
    for prefix in ["module.", "_orig_mod.", "model.", "module._orig_mod."] {
        let folder = with("clip");
        let before = embed(&folder, "weights", "t.csv", &[]);
        let ids: Vec<u8> = (0..16_i32).flat_map(i32::to_le_bytes).collect();
        let buffer = (
            "text_model.embeddings.position_ids",
            Dtype::I32,
            vec![1, 16],
            ids,
        );
        rewrite(&folder, |key| format!("{prefix}{key}"), &[]);
        assert_eq!(embed(&folder, "weights", "t.csv", &[]), before, "{prefix}");
        rewrite(&folder, |key| key[prefix.len()..].to_owned(), &[buffer]);
        assert_eq!(embed(&folder, "weights", "t.csv", &[]), before, "{prefix}");
    }
}

#[test]
fn shards_are_read_by_their_index_and_a_missing_one_is_named() {
    let folder = with("clip");
    let before = embed(&folder, "weights", "t.csv", &[]);
    let path = folder.path("weights/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut map = serde_json::Map::new();
    for shard in 0..3 {
        let name = format!("model-0000{}-of-00003.safetensors", shard + 1);
        let part = tensors.iter().enumerate().filter(|(i, _)| i % 3 == shard);
        let part: HashMap<String, TensorView> = part
            .map(|(_, (key, view))| (key.to_owned(), view))
            .collect();
        map.extend(part.keys().map(|key| (key.clone(), json!(name))));
        let bytes = safetensors::serialize(part, None).unwrap();
        fs::write(folder.path("weights").join(name), bytes).unwrap();
    }
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    fs::write(
        folder.path("weights/model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
    fs::remove_file(path).unwrap();
    assert_eq!(embed(&folder, "weights", "t.csv", &[]), before);
    fs::remove_file(folder.path("weights/model-00002-of-00003.safetensors")).unwrap();
    refuses(&folder, &["model-00002-of-00003.safetensors"]);
}

#[test]
fn known_names_go_before_other_files_and_a_scale_may_have_an_axis() {
    let folder = with("clip");
    fs::remove_file(folder.path("weights/model.safetensors")).unwrap();
    copy(&cases().join("pytorch"), &folder.path("weights"));
    trains(&folder);
    let folder = with("clip");
    fs::remove_file(folder.path("weights/model.safetensors")).unwrap();
    fs::remove_file(folder.path("weights/config.json")).unwrap();
    copy(&cases().join("open-clip"), &folder.path("weights"));
    trains(&folder);
}

#[test]
fn weights_with_numbers_that_are_not_finite_are_told() {
    let folder = with("clip");
    let nan = [f32::NAN.to_le_bytes(), [0; 4]].concat();
    let bytes = fs::read(folder.path("weights/model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let key = "visual_projection.weight";
    let view = tensors.tensor(key).unwrap();
    let mut data = view.data().to_vec();
    data[..8].copy_from_slice(&nan);
    rewrite(
        &folder,
        str::to_owned,
        &[(key, view.dtype(), view.shape().to_vec(), data)],
    );
    let output = folder.run(&["export", "--run", "weights", "--out", "again"]);
    let said = text(&output);
    assert!(
        output.status.success() && said.contains(key) && said.contains("diverged"),
        "{said}"
    );
}
