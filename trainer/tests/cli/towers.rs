//! Towers of folders that others have written, in every task.

use std::{fs, path::Path};

use safetensors::{SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

use crate::folder::{Folder, text};

/// A table of 24 pictures with captions and classes.
fn folder() -> Folder {
    let folder = Folder::new();
    let mut rows = String::from("filepath\ttitle\tclass\n");
    for number in 0..24 {
        let name = format!("{number}.png");
        folder.picture(&name);
        rows += &format!(
            "{name}\tthe red cat {number}\t{}\n",
            ["odd", "even"][number % 2]
        );
    }
    folder.table("t.csv", &rows);
    folder
}

/// A folder of the repository's fixtures, its tensors renamed and its config changed.
fn copy(
    folder: &Folder,
    fixture: &str,
    name: &str,
    rename: &dyn Fn(&str) -> String,
    change: &dyn Fn(&mut Value),
) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(fixture);
    let to = folder.path(name);
    fs::create_dir(&to).unwrap();
    let mut config: Value =
        serde_json::from_slice(&fs::read(from.join("config.json")).unwrap()).unwrap();
    change(&mut config);
    fs::write(to.join("config.json"), config.to_string()).unwrap();
    let bytes = fs::read(from.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let renamed: Vec<(String, TensorView<'_>)> = tensors
        .iter()
        .map(|(key, view)| (rename(key), view))
        .collect();
    let written = safetensors::serialize(renamed, None).unwrap();
    fs::write(to.join("model.safetensors"), written).unwrap();
}

/// A recipe for a folder of weights.
fn recipe(folder: &Folder, task: &str, more: &str) {
    let text = format!(
        "name = \"x\"\n[[data.train]]\nkind = \"table\"\npath = \"t.csv\"\n[[data.val]]\nkind = \"table\"\npath = \"t.csv\"\n\
         [data.table]\nseparator = \"tab\"\n[task]\n{task}\n[model]\npretrained = \"weights\"\n{more}\n[train]\nsteps = 2\n\
         batch = 8\nwarmup = 0\n"
    );
    fs::write(folder.path("recipe.toml"), text).unwrap();
}

/// Trains, evaluates and exports.
fn goes_through(folder: &Folder) -> String {
    let mut said = String::new();
    for arguments in [
        &["train", "recipe.toml"][..],
        &["eval", "runs/x-1"],
        &["export", "--run", "runs/x-1", "--out", "out"],
    ] {
        let output = folder.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        said += &text(&output);
    }
    said
}

fn same(key: &str) -> String {
    key.to_owned()
}

/// A vocabulary of as many pieces as a model has rows.
fn word_pieces(folder: &Folder, count: usize) {
    let special = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "red", "cat",
    ];
    let digits: Vec<String> = (0..10)
        .flat_map(|n| [n.to_string(), format!("##{n}")])
        .collect();
    let mut pieces: Vec<String> = special
        .map(str::to_owned)
        .into_iter()
        .chain(digits)
        .collect();
    while pieces.len() < count {
        pieces.push(format!("word{}", pieces.len()));
    }
    fs::write(folder.path("weights/vocab.txt"), pieces.join("\n")).unwrap();
}

#[test]
fn a_bert_with_a_pooler_and_names_of_old_says_words() {
    let folder = folder();
    let old = |key: &str| {
        let key = key.replace("LayerNorm.weight", "LayerNorm.gamma");
        key.replace("LayerNorm.bias", "LayerNorm.beta")
    };
    let mut rows = 0;
    copy(&folder, "bert/base", "weights", &old, &|_| {});
    let config: Value =
        serde_json::from_slice(&fs::read(folder.path("weights/config.json")).unwrap()).unwrap();
    rows += config["vocab_size"].as_u64().unwrap() as usize;
    word_pieces(&folder, rows);
    recipe(&folder, "kind = \"mlm\"", "");
    let said = goes_through(&folder);
    assert!(said.contains("hidden words"), "{said}");
    let bytes = fs::read(folder.path("out/model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert!(!tensors.names().iter().any(|name| name.contains("pooler")));
}

#[test]
fn a_vit_with_a_pooler_tells_classes() {
    let folder = folder();
    copy(&folder, "vit/hf", "weights", &same, &|config| {
        config["architectures"] = json!(["ViTModel"]);
        let object = config.as_object_mut().unwrap();
        object.remove("id2label");
        object.remove("label2id");
        object.remove("num_labels");
    });
    // The fixture's classifier becomes a tanh layer, whatever it says.
    let path = folder.path("weights/model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let query = "vit.encoder.layer.0.attention.output.dense";
    let mut all: Vec<(String, TensorView<'_>)> = tensors
        .iter()
        .filter(|(key, _)| !key.starts_with("classifier"))
        .map(|(key, view)| (key.trim_start_matches("vit.").to_owned(), view))
        .collect();
    for part in ["weight", "bias"] {
        let view = tensors.tensor(&format!("{query}.{part}")).unwrap();
        all.push((format!("pooler.dense.{part}"), view));
    }
    let written = safetensors::serialize(all, None).unwrap();
    fs::write(&path, written).unwrap();
    recipe(&folder, "kind = \"classify\"\ncolumn = \"class\"", "");
    let said = goes_through(&folder);
    assert!(said.contains("top-1"), "{said}");
    let bytes = fs::read(folder.path("out/model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert!(!tensors.names().iter().any(|name| name.contains("pooler")));
    // Classes of a record are its own.
    folder.refuses(
        &[
            "train",
            "--resume",
            "runs/x-1",
            "--allow-changes",
            "--set",
            "train.steps=4",
            "--set",
            "task.classes=[\"odd\", \"even\"]",
        ],
        &["task.classes", "another order"],
    );
}

#[test]
fn a_timm_folder_says_how_its_pictures_are_preprocessed() {
    let folder = folder();
    copy(&folder, "vit/timm_token", "weights", &same, &|config| {
        config["pretrained_cfg"] = json!({
            "input_size": [3, 24, 24],
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
        });
    });
    recipe(&folder, "kind = \"classify\"\ncolumn = \"class\"", "");
    let said = goes_through(&folder);
    assert!(said.contains("mean [0.485, 0.456, 0.406]"), "{said}");
    assert!(!said.contains("no file says otherwise"), "{said}");
}

#[test]
fn what_a_folder_cannot_give_is_refused_by_name() {
    let folder = folder();
    copy(&folder, "vit/timm_token", "weights", &same, &|config| {
        config["global_pool"] = json!("");
        if let Some(args) = config["model_args"].as_object_mut() {
            args.remove("global_pool");
        }
    });
    recipe(&folder, "kind = \"classify\"\ncolumn = \"class\"", "");
    folder.refuses(
        &["train", "recipe.toml"],
        &["weights", "global_pool", "token or avg"],
    );
    recipe(
        &folder,
        "kind = \"classify\"\ncolumn = \"class\"",
        "lock = [\"image-blocks(99)\"]",
    );
    copy(&folder, "vit/hf", "other", &same, &|_| {});
    folder.refuses(
        &["train", "recipe.toml", "--set", "model.pretrained=other"],
        &["model.lock", "image-blocks(99)", "the tower has"],
    );
    let letters: String = ('а'..='я')
        .flat_map(|letter| [letter, ' ', letter, letter])
        .collect();
    let rows = format!("filepath\ttitle\tclass\n0.png\t{letters}\todd\n");
    fs::write(folder.path("few.csv"), rows).unwrap();
    folder.refuses(
        &[
            "train",
            "towers/text",
            "--train",
            "few.csv",
            "--val",
            "few.csv",
            "--set",
            "tokens.vocab=64",
            "--set",
            "train.batch=1",
        ],
        &["a vocabulary of 64 is too small"],
    );
}

#[test]
fn classes_of_one_name_are_told_from_each_other() {
    let folder = folder();
    copy(&folder, "vit/hf", "weights", &same, &|config| {
        let names: serde_json::Map<String, Value> = (0..7)
            .map(|n| {
                (
                    n.to_string(),
                    json!(["odd", "even", "odd", "a", "b", "c", "d"][n]),
                )
            })
            .collect();
        config["id2label"] = Value::Object(names);
    });
    recipe(&folder, "kind = \"classify\"\ncolumn = \"class\"", "");
    let said = goes_through(&folder);
    assert!(said.contains("\"odd (2)\""), "{said}");
}
