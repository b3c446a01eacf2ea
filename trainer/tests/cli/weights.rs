//! Folders of weights: what their files say counts, and what is not understood is refused by name.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::folder::{Folder, text};

pub(crate) fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/cases")
}

const RECIPE: &str = r#"
name = "r"
[[data.train]]
kind = "table"
path = "t.csv"
[[data.val]]
kind = "table"
path = "t.csv"
[model]
pretrained = "weights"
[train]
steps = 1
batch = 2
lr = 1e-30
weight_decay = 0.0
"#;

/// A folder with four pictures, their table, a recipe, and `weights/` of a case.
pub(crate) fn with(weights: &str) -> Folder {
    let folder = Folder::new();
    copy(&cases().join("pictures"), &folder.path(""));
    fs::create_dir(folder.path("weights")).unwrap();
    copy(&cases().join(weights), &folder.path("weights"));
    fs::write(folder.path("recipe.toml"), RECIPE).unwrap();
    folder
}

pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Changes a JSON file of the weights.
fn edit(folder: &Folder, name: &str, change: impl FnOnce(&mut Value)) {
    let path = folder.path("weights").join(name);
    let mut json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

/// Trains a step that changes nothing, and gives what was said.
pub(crate) fn trains(folder: &Folder) -> String {
    let output = folder.run(&["train", "recipe.toml"]);
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

/// The same from the weights of a run, which brings its preprocessing and the reading of captions.
fn trains_from(folder: &Folder, run: &str) {
    let set = format!("model.pretrained={run}");
    let output = folder.run(&["train", "recipe.toml", "--set", &set]);
    assert!(output.status.success(), "{}", text(&output));
}

pub(crate) fn refuses(folder: &Folder, words: &[&str]) {
    folder.refuses(&["train", "recipe.toml"], words);
    assert!(
        !folder.path("runs").exists(),
        "a folder for a run that cannot start"
    );
}

/// The embeddings of a table by a run or a folder of weights: pictures and captions, row by row.
pub(crate) fn embed(folder: &Folder, run: &str, table: &str, more: &[&str]) -> [Vec<Vec<f32>>; 2] {
    let arguments = ["embed", "--run", run, "--data", table, "--out", "e"];
    let output = folder.run(&[&arguments[..], more].concat());
    assert!(output.status.success(), "{}", text(&output));
    ["e.images.npy", "e.texts.npy"].map(|name| npy(&folder.path(name)))
}

pub(crate) fn npy(path: &Path) -> Vec<Vec<f32>> {
    let bytes = fs::read(path).unwrap();
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = String::from_utf8_lossy(&bytes[10..start]).into_owned();
    let shape = header
        .split("'shape': (")
        .nth(1)
        .unwrap()
        .split(')')
        .next()
        .unwrap();
    let width: usize = shape.split(',').nth(1).unwrap().trim().parse().unwrap();
    let values = bytes[start..]
        .chunks(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()));
    values
        .collect::<Vec<_>>()
        .chunks(width)
        .map(<[f32]>::to_vec)
        .collect()
}

#[track_caller]
fn assert_near(got: &[Vec<f32>], want: &[&[f32]]) {
    assert_eq!(got.len(), want.len());
    for (got, want) in got.iter().flatten().zip(want.iter().copied().flatten()) {
        assert!((got - want).abs() < 1e-4, "{got} is not {want}");
    }
}

#[test]
fn the_preprocessing_of_a_folder_is_used_in_training_and_out_of_it_and_a_recipe_overrules_it() {
    let folder = with("clip");
    let config = json!({"feature_extractor_type": "CLIPFeatureExtractor", "size": 32, "crop_size": 32, "resample": 3,
        "do_center_crop": true, "do_resize": true, "do_normalize": true, "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5]});
    fs::write(
        folder.path("weights/preprocessor_config.json"),
        config.to_string(),
    )
    .unwrap();
    let said = trains(&folder);
    assert!(said.contains("weights/preprocessor_config.json"), "{said}");
    // transformers
    let want: [&[f32]; 4] = [
        &[
            -0.0956, 0.1044, -0.6070, -0.6477, 0.3284, -0.1983, -0.2113, -0.0088,
        ],
        &[
            -0.1209, 0.1770, -0.5258, -0.6247, 0.4410, -0.1754, -0.2381, 0.0732,
        ],
        &[
            -0.1051, 0.0928, -0.6408, -0.6609, 0.3072, -0.1269, -0.1490, -0.0184,
        ],
        &[
            -0.1036, 0.1793, -0.5632, -0.6592, 0.3968, -0.1334, -0.1601, 0.0667,
        ],
    ];
    trains_from(&folder, "runs/r-1");
    for run in ["weights", "runs/r-1", "runs/r-2"] {
        assert_near(&embed(&folder, run, "t.csv", &[])[0], &want);
    }
    let export = folder.run(&["export", "--run", "runs/r-1", "--out", "again"]);
    assert!(export.status.success(), "{}", text(&export));
    assert_near(&embed(&folder, "again", "t.csv", &[])[0], &want);
    fs::remove_file(folder.path("weights/preprocessor_config.json")).unwrap();
    let set = [
        "--set",
        "image.mean=[0.5, 0.5, 0.5]",
        "--set",
        "image.std=[0.5, 0.5, 0.5]",
    ];
    assert_near(&embed(&folder, "weights", "t.csv", &set)[0], &want);
    let wrong = [
        "embed",
        "--run",
        "weights",
        "--data",
        "t.csv",
        "--out",
        "e",
        "--set",
        "image.size=24",
    ];
    folder.refuses(&wrong, &["image.size", "32"]);
}

#[test]
fn preprocessing_that_is_not_understood_is_refused_by_its_key() {
    let folder = with("clip");
    let write = |json: Value| {
        fs::write(
            folder.path("weights/preprocessor_config.json"),
            json.to_string(),
        )
        .unwrap();
    };
    write(json!({"image_processor_type": "FuyuImageProcessor"}));
    refuses(&folder, &["preprocessor_config.json", "FuyuImageProcessor"]);
    write(json!({"image_processor_type": "CLIPImageProcessor", "size": 224, "crop_size": 224}));
    refuses(&folder, &["224", "32", "image.size"]);
}

#[test]
fn vision_config_dict_wins_as_in_transformers() {
    let folder = with("clip");
    copy(&cases().join("vision-config-dict"), &folder.path("weights"));
    let want: [&[f32]; 4] = [
        &[
            -0.3700, -0.3541, 0.2660, 0.4858, -0.4962, 0.1124, 0.4059, -0.0854,
        ],
        &[
            -0.3243, -0.2888, 0.2379, 0.5355, -0.5283, 0.0487, 0.4280, -0.0595,
        ],
        &[
            -0.3850, -0.3221, 0.2266, 0.4959, -0.5340, 0.0997, 0.3872, -0.0760,
        ],
        &[
            -0.3795, -0.2589, 0.2588, 0.5281, -0.5269, 0.0863, 0.3940, -0.0524,
        ],
    ];
    assert_near(&embed(&folder, "weights", "t.csv", &[])[0], &want);
}

#[test]
fn a_siglip_pads_and_cleans_as_its_folder_says() {
    let folder = with("siglip");
    let want: [&[f32]; 2] = [
        &[
            -0.1752, -0.2258, -0.0535, -0.3179, -0.4549, 0.1119, 0.3264, 0.1914, -0.3468, 0.1265,
            0.3287, 0.2532, -0.2412, 0.0091, -0.1873, 0.2236,
        ],
        &[
            -0.1741, -0.1511, 0.0826, -0.2531, -0.4127, 0.2149, 0.2608, 0.2991, -0.1993, 0.2893,
            0.1890, 0.2076, -0.1084, 0.2868, -0.2958, 0.3437,
        ],
    ];
    trains(&folder);
    for run in ["weights", "runs/r-1"] {
        assert_near(&embed(&folder, run, "t.csv", &[])[1][..2], &want);
    }
    let export = folder.run(&["export", "--run", "weights", "--out", "again"]);
    assert!(
        text(&export).contains("SiglipModel.from_pretrained"),
        "{}",
        text(&export)
    );
    assert_near(&embed(&folder, "again", "t.csv", &[])[1][..2], &want);
    edit(&folder, "tokenizer_config.json", |json| {
        json["tokenizer_class"] = json!("SiglipTokenizer")
    });
    folder.table("c.csv", "filepath,title\n0.png,\"A Dog!\"\n1.png,a dog\n");
    trains(&folder);
    trains_from(&folder, "runs/r-2");
    for run in ["weights", "runs/r-3"] {
        let [_, texts] = embed(&folder, run, "c.csv", &[]);
        assert_eq!(texts[0], texts[1], "{run}");
    }
    let [_, texts] = embed(
        &folder,
        "weights",
        "c.csv",
        &["--set", "tokens.cleaning=as-is"],
    );
    assert_ne!(texts[0], texts[1]);
}

#[test]
fn a_vocabulary_learnt_from_captions_does_not_go_with_weights() {
    let folder = with("siglip");
    let recipe = format!("{RECIPE}[tokens]\nkind = \"bpe\"\nvocab = 600\n");
    fs::write(folder.path("recipe.toml"), recipe).unwrap();
    refuses(
        &folder,
        &["tokens.kind", "bpe", "tokenizer of these weights"],
    );
}

#[test]
fn another_family_is_refused_with_the_right_one() {
    let folder = with("siglip");
    fs::write(
        folder.path("recipe.toml"),
        RECIPE.replace("[model]", "[model]\nfamily = \"clip\""),
    )
    .unwrap();
    refuses(&folder, &["model.family", "siglip"]);
    let output = folder.run(&["train", "recipe.toml", "--set", "model.family=siglip"]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn tokenizers_that_do_not_fit_are_refused_by_file_and_number() {
    for (tokenizer, words) in [
        ("emptyvocab2", &["tokenizer.json"][..]),
        ("padid700", &["tokenizer.json", "700"]),
        ("pp-missing", &["tokenizer.json"]),
        ("precompiled-short", &["tokenizer.json"]),
        (
            "padding-id",
            &["pads with token 9999", "514", "tokens.path"],
        ),
    ] {
        let folder = with("clip");
        fs::remove_file(folder.path("weights/tokenizer_config.json")).unwrap();
        copy(
            &cases().join("tokenizers").join(tokenizer),
            &folder.path("weights"),
        );
        let output = folder.run(&["train", "recipe.toml"]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{tokenizer}: {said}");
        let errors = said
            .lines()
            .filter(|line| line.starts_with("error: "))
            .count();
        assert_eq!(errors, 1, "{tokenizer}: {said}");
        let fits = words.iter().all(|word| said.contains(word));
        assert!(fits && !said.contains("panicked"), "{tokenizer}: {said}");
    }
}

#[test]
fn a_token_after_the_end_token_is_told_with_the_key_that_mends_it() {
    let folder = with("clip");
    copy(
        &cases().join("tokenizers/added-token"),
        &folder.path("weights"),
    );
    edit(&folder, "config.json", |json| {
        json["text_config"]["vocab_size"] = json!(515);
        json["text_config"]["eos_token_id"] = json!(2);
    });
    refuses(&folder, &["eos_token_id", "513", "config.json"]);
    let said = text(&folder.run(&["train", "recipe.toml"]));
    assert!(!said.contains("Some("), "{said}");
}

#[test]
fn numbers_of_a_config_are_refused_by_their_key() {
    for (part, key, value) in [
        ("vision_config", "image_size", json!([32, 32])),
        ("vision_config", "num_channels", json!(1)),
        ("vision_config", "num_hidden_layers", json!(0)),
        ("text_config", "num_hidden_layers", json!(0)),
        ("text_config", "num_attention_heads", json!(0)),
        ("vision_config", "patch_size", json!(1000)),
        ("text_config", "vocab_size", json!(-3)),
        ("text_config", "hidden_size", json!(1_u64 << 40)),
        ("text_config", "max_position_embeddings", json!("many")),
    ] {
        let folder = with("clip");
        edit(&folder, "config.json", |json| {
            json[part][key] = value.clone()
        });
        refuses(&folder, &["config.json", key]);
        let said = text(&folder.run(&["train", "recipe.toml"]));
        assert_eq!(said.matches(key).count(), 1, "{said}");
    }
}

#[test]
fn weight_files_that_do_not_fit_are_refused_by_key() {
    for (part, key, value, word) in [
        ("", "projection_dim", json!(12), "projection"),
        ("vision_config", "num_hidden_layers", json!(2), "layers.1"),
        ("vision_config", "hidden_size", json!(24), "vision_model"),
        ("", "model_type", json!("blip"), "blip"),
    ] {
        let folder = with("clip");
        edit(&folder, "config.json", |json| {
            let table = if part.is_empty() {
                json
            } else {
                &mut json[part]
            };
            table[key] = value.clone();
        });
        refuses(&folder, &["weights", word]);
    }
    let folder = with("clip");
    let path = folder.path("weights/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    refuses(&folder, &["model.safetensors"]);
}

#[test]
fn weights_are_evaluated_and_what_is_no_model_is_told_what_it_lacks() {
    let folder = with("clip");
    let output = folder.run(&["eval", "weights", "--val", "t.csv"]);
    assert!(
        output.status.success() && text(&output).contains("R@1"),
        "{}",
        text(&output)
    );
    folder.refuses(&["eval", "weights"], &["weights", "--val"]);
    fs::create_dir(folder.path("empty")).unwrap();
    folder.refuses(&["eval", "empty"], &["empty", "recipe.toml", "config.json"]);
    folder.refuses(&["eval", "nowhere"], &["nowhere", "no such folder"]);
}

#[test]
fn captions_that_are_the_same_tokens_are_one_caption() {
    let folder = with("clip");
    folder.table(
        "v.csv",
        "filepath,title\n0.png,a red house\n1.png,A red house\n",
    );
    let said = text(&folder.run(&["eval", "weights", "--val", "v.csv"]));
    assert!(said.contains("2 pictures, 1 captions"), "{said}");
    assert!(
        said.contains("R@1          100.0 %         100.0 %"),
        "{said}"
    );
}

#[test]
fn zero_shot_works_on_json_lines_and_is_checked_before_the_first_step() {
    let folder = with("clip");
    let titles = [
        "a red house",
        "two dogs in the snow",
        "blue sky",
        "an old bicycle",
    ];
    let lines: Vec<String> = titles
        .iter()
        .enumerate()
        .map(|(i, title)| json!({"filepath": format!("{i}.png"), "title": title}).to_string())
        .collect();
    folder.table("t.jsonl", &lines.join("\n"));
    let zero_shot = |classes: &[&str]| {
        [
            "--set".to_owned(),
            "eval.zero_shot.column=title".to_owned(),
            "--set".to_owned(),
            format!("eval.zero_shot.classes={}", json!(classes)),
            "--set".to_owned(),
            "eval.zero_shot.templates=[\"{}\"]".to_owned(),
        ]
    };
    let right = zero_shot(&titles);
    let right: Vec<&str> = right.iter().map(String::as_str).collect();
    let output = folder.run(&[&["eval", "weights", "--val", "t.jsonl"], &right[..]].concat());
    assert!(
        text(&output).contains("t.jsonl: zero-shot accuracy"),
        "{}",
        text(&output)
    );
    let wrong = zero_shot(&titles[..3]);
    let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
    let train = [
        "train",
        "recipe.toml",
        "--val",
        "t.jsonl",
        "--train",
        "t.csv",
    ];
    folder.refuses(
        &[&train[..], &wrong].concat(),
        &["an old bicycle", "eval.zero_shot.classes"],
    );
    assert!(!folder.path("runs").exists());
}

#[test]
fn pictures_that_are_urls_end_the_run_before_it_begins() {
    let folder = with("clip");
    let rows: String = (0..4)
        .map(|i| format!("https://example.org/{i}.jpg,row {i}\n"))
        .collect();
    folder.table("t.csv", &format!("filepath,title\n{rows}"));
    refuses(&folder, &["t.csv", "URL", "download"]);
    let said = text(&folder.run(&["train", "recipe.toml"]));
    assert!(!said.contains("record"), "{said}");
}
