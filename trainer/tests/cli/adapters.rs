//! Adapters through the program: trained, taken up again, folded in, refused.

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::folder::{Folder, RECIPE, metrics, text};

/// A folder with a trained base, `runs/base-1`, of the task that `options` name.
fn folder(options: &[&str]) -> Folder {
    let folder = Folder::new();
    let recipe = RECIPE.replace("n_layers = 1", "n_layers = 2");
    fs::write(folder.path("recipe.toml"), recipe).unwrap();
    let mut rows = String::from("filepath\ttitle\tclass\n");
    for number in 0..40 {
        let name = format!("{number}.png");
        folder.picture(&name);
        let class = ["odd", "even"][number % 2];
        rows += &format!("{name}\ta picture of number {number} among others\t{class}\n");
    }
    folder.table("t.csv", &rows);
    run(&folder, "base", options, &[]);
    folder
}

/// Trains under some settings; gives what was said.
fn run(folder: &Folder, name: &str, options: &[&str], settings: &[&str]) -> String {
    let name = format!("name={name}");
    let mut arguments = vec!["train", "recipe.toml", "--train", "t.csv", "--val", "t.csv"];
    for setting in options.iter().chain(settings).chain([&&*name]) {
        arguments.extend(["--set", setting]);
    }
    let output = folder.run(&arguments);
    assert!(output.status.success(), "{name}: {}", text(&output));
    text(&output)
}

/// A recipe for adapters on `runs/base-1`.
fn adapting(folder: &Folder, options: &[&str]) {
    let recipe = fs::read_to_string(folder.path("recipe.toml")).unwrap();
    let (start, _) = recipe.split_once("[model]").unwrap();
    let (_, train) = recipe.split_once("[train]").unwrap();
    let start = start.replace("[tokens]\nkind = \"bpe\"\nvocab = 600\n", "");
    let text = format!("{start}[model]\npretrained = \"runs/base-1\"\n[train]{train}");
    assert!(!options.is_empty() || !text.contains("[tokens]"), "{text}");
    fs::write(folder.path("recipe.toml"), text).unwrap();
}

fn tensors(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter();
    tensors
        .map(|(key, view)| (key.to_owned(), view.data().to_vec()))
        .collect()
}

fn measured(run: &Path) -> Vec<Value> {
    let lines = metrics(run).into_iter();
    lines.filter(|line| line["loss"].is_null()).collect()
}

const TASKS: [&[&str]; 3] = [
    &["task.kind=contrastive"],
    &["task.kind=classify", "task.column=class"],
    &["task.kind=mlm"],
];

/// Settings, and a key that the record must have.
const KINDS: [(&str, &[&str], &str); 8] = [
    ("lora", &["peft.kind=lora"], "lora_B.weight"),
    (
        "all",
        &[
            "peft.kind=lora",
            "peft.targets=[\"all-linear\"]",
            "peft.dropout=0.2",
            "peft.b_rate=4",
        ],
        "lora_A.weight",
    ),
    (
        "dora",
        &["peft.kind=dora", "peft.rank_stabilised=true"],
        "lora_magnitude_vector",
    ),
    ("ia3", &["peft.kind=ia3", "train.lr=0.01"], "ia3_l"),
    (
        "bottleneck",
        &["peft.kind=bottleneck", "peft.width=4", "peft.norm=true"],
        "bottleneck.norm.weight",
    ),
    (
        "parallel",
        &["peft.kind=bottleneck", "peft.width=4", "peft.parallel=true"],
        "bottleneck.up.bias",
    ),
    ("bitfit", &["peft.kind=none", "peft.bias=all"], "bias"),
    ("norms", &["peft.kind=none", "peft.norms=true"], "weight"),
];

#[test]
fn every_kind_is_trained_in_every_task_and_its_record_holds_it_alone() {
    for task in TASKS {
        let wordpiece = ["tokens.kind=wordpiece", "tokens.vocab=200"];
        let is_mlm = task[0].ends_with("mlm");
        let tokens = if is_mlm { &wordpiece[..] } else { &[] };
        let base: Vec<&str> = task.iter().chain(tokens).copied().collect();
        let folder = folder(&base);
        adapting(&folder, task);
        for (name, settings, key) in KINDS {
            let said = run(&folder, name, task, settings);
            assert!(said.contains("what trains"), "{name}: {said}");
            assert!(
                said.contains("frozen") || name == "bitfit" || name == "norms",
                "{said}"
            );
            let record = folder.path(&format!("runs/{name}-1/records/step-00000004"));
            assert!(!record.join("model.safetensors").exists());
            let tensors = tensors(&record.join("adapter_model.safetensors"));
            assert!(
                tensors.keys().any(|found| found.ends_with(key)),
                "{name}: {:?}",
                tensors.keys()
            );
            let described = folder.run(&["adapters", &format!("runs/{name}-1")]);
            assert!(described.status.success(), "{}", text(&described));
        }
    }
}

#[test]
fn a_run_of_adapters_goes_on_as_the_uninterrupted_one() {
    let folder = folder(&[]);
    adapting(&folder, &[]);
    let settings = [
        "peft.kind=dora",
        "peft.dropout=0.2",
        "peft.bias=adapted",
        "peft.modules_to_save=[\"logit_scale\"]",
    ];
    let end = |name: &str| folder.path(&format!("runs/{name}-1/records/step-00000008"));
    run(
        &folder,
        "whole",
        &[],
        &[&settings[..], &["train.steps=8"]].concat(),
    );
    run(
        &folder,
        "halved",
        &[],
        &[
            &settings[..],
            &["train.steps=8", "run.save_every=\"2 steps\""],
        ]
        .concat(),
    );
    fs::remove_dir_all(end("halved")).unwrap();
    fs::remove_dir_all(folder.path("runs/halved-1/records/step-00000006")).ok();
    let resumed = folder.run(&["train", "--resume", "runs/halved-1"]);
    assert!(resumed.status.success(), "{}", text(&resumed));
    for file in [
        "adapter_model.safetensors",
        "optimizer.safetensors",
        "adapter_config.json",
    ] {
        let read = |name: &str| fs::read(end(name).join(file)).unwrap();
        assert!(read("whole") == read("halved"), "{file}");
    }
}

#[test]
fn a_merged_adapter_measures_what_the_attached_one_does() {
    for settings in [
        &["peft.kind=lora"][..],
        &["peft.kind=dora"],
        &["peft.kind=ia3", "train.lr=0.05"],
    ] {
        let folder = folder(&[]);
        adapting(&folder, &[]);
        run(
            &folder,
            "adapted",
            &[],
            &[settings, &["train.lr=0.01"]].concat(),
        );
        let merged = folder.run(&["merge", "--run", "runs/adapted-1", "--out", "merged"]);
        assert!(merged.status.success(), "{}", text(&merged));
        let exported = folder.run(&["export", "--run", "runs/adapted-1", "--out", "adapter"]);
        assert!(exported.status.success(), "{}", text(&exported));
        let base = folder.run(&["export", "--run", "runs/base-1", "--out", "bare"]);
        assert!(base.status.success(), "{}", text(&base));
        let again = folder.run(&[
            "merge",
            "--run",
            "bare",
            "--adapter",
            "adapter",
            "--out",
            "again",
        ]);
        assert!(again.status.success(), "{}", text(&again));
        let weights = |name: &str| tensors(&folder.path(name).join("model.safetensors"));
        let (once, twice, before) = (weights("merged"), weights("again"), weights("bare"));
        assert!(once == twice, "{settings:?}");
        let changed = once.iter().filter(|(key, value)| before[*key] != **value);
        let changed: Vec<&String> = changed.map(|(key, _)| key).collect();
        assert!(!changed.is_empty(), "{settings:?}");
        let is_meant = |key: &String| {
            ["q_proj", "v_proj", "k_proj", "fc2"]
                .iter()
                .any(|name| key.contains(name))
        };
        assert!(changed.iter().all(|key| is_meant(key)), "{changed:?}");
        let table = |from: &str| {
            let output = folder.run(&["eval", from, "--val", "t.csv"]);
            assert!(output.status.success(), "{}", text(&output));
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        assert_eq!(table("runs/adapted-1"), table("merged"), "{settings:?}");
        let last = measured(&folder.path("runs/adapted-1"));
        assert!(!last.is_empty());
    }
}

#[test]
fn what_cannot_be_adapted_is_refused_by_name() {
    let folder = folder(&[]);
    let train = |settings: &[&str]| -> Vec<String> {
        let mut arguments: Vec<String> =
            ["train", "recipe.toml", "--train", "t.csv", "--val", "t.csv"]
                .map(str::to_owned)
                .to_vec();
        for setting in settings {
            arguments.extend(["--set".to_owned(), (*setting).to_owned()]);
        }
        arguments
    };
    let refuses = |settings: &[&str], words: &[&str]| {
        let arguments = train(settings);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        folder.refuses(&arguments, words);
    };
    refuses(
        &["peft.kind=lora"],
        &["peft", "drawn at random", "model.pretrained"],
    );
    adapting(&folder, &[]);
    refuses(
        &["peft.kind=lora", "peft.targets=[\"query_map\"]"],
        &["`query_map` means no module", "query"],
    );
    refuses(
        &["peft.kind=lora", "peft.pattern=.*nothing"],
        &["`.*nothing` means no module"],
    );
    refuses(
        &["peft.kind=lora", "peft.pattern=("],
        &["`(` cannot be read"],
    );
    refuses(
        &["peft.kind=lora", "model.lock=[\"image\"]"],
        &["model.lock", "leave it out"],
    );
    refuses(
        &["peft.kind=lora", "peft.modules_to_save=[\"proj\"]"],
        &["modules_to_save", "`proj`"],
    );
    refuses(&["peft.kind=none"], &["peft.kind` is none", "peft.bias"]);
    refuses(&["peft.rank=4"], &["one of `kind` and `adapter`"]);
    refuses(&["peft.kind=lora", "peft.rank=0"], &["peft.rank"]);
    run(&folder, "adapted", &[], &["peft.kind=bottleneck"]);
    folder.refuses(
        &["merge", "--run", "runs/adapted-1", "--out", "m"],
        &["attention.output", "not linear"],
    );
    folder.refuses(
        &["merge", "--run", "runs/base-1", "--out", "m"],
        &["no adapter", "--adapter"],
    );
    // Another base than the adapter's.
    let record = folder.path("runs/base-1/records/step-00000004");
    let path = record.join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(&path, &bytes).unwrap();
    fs::remove_file(record.join("SHA256SUMS")).unwrap();
    let copy = folder.path("other");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(&record).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
    }
    fs::remove_file(copy.join("state.json")).unwrap();
    folder.refuses(
        &[
            "train",
            "--resume",
            "runs/adapted-1",
            "--set",
            "train.steps=8",
            "--set",
            "model.pretrained=other",
            "--allow-changes",
        ],
        &["base.json", "another base"],
    );
}

#[test]
fn a_foreign_adapter_goes_on_and_what_nobody_knows_is_kept() {
    let folder = folder(&[]);
    adapting(&folder, &[]);
    run(&folder, "first", &[], &["peft.kind=lora", "peft.rank=4"]);
    let exported = folder.run(&["export", "--run", "runs/first-1", "--out", "adapter"]);
    assert!(exported.status.success(), "{}", text(&exported));
    let path = folder.path("adapter/adapter_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["of_tomorrow"] = 7.into();
    fs::write(&path, config.to_string()).unwrap();
    let said = run(
        &folder,
        "second",
        &[],
        &["peft.adapter=adapter", "train.steps=1", "train.lr=1e-9"],
    );
    assert!(said.contains("`of_tomorrow` is not known here"), "{said}");
    let config = folder.path("runs/second-1/records/step-00000001/adapter_config.json");
    let config: Value = serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
    assert_eq!(config["of_tomorrow"], 7);
    assert_eq!(config["r"], 4);
    let floats = |path: &str| {
        let tensors = tensors(&folder.path(path).join("adapter_model.safetensors"));
        let all = tensors.into_values().flatten().collect::<Vec<u8>>();
        let chunks = all.as_chunks::<4>().0.iter();
        chunks
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect::<Vec<_>>()
    };
    let (before, after) = (
        floats("adapter"),
        floats("runs/second-1/records/step-00000001"),
    );
    assert_eq!(before.len(), after.len());
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-6));
    config["peft_type"].as_str().unwrap();
    let mut refused: Value = config;
    refused["init_lora_weights"] = "pissa".into();
    fs::write(&path, refused.to_string()).unwrap();
    folder.refuses(
        &[
            "train",
            "recipe.toml",
            "--train",
            "t.csv",
            "--val",
            "t.csv",
            "--set",
            "peft.adapter=adapter",
        ],
        &["adapter_config.json", "`init_lora_weights` is \"pissa\""],
    );
}
