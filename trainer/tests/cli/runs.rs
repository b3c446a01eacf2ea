//! Whole runs, an interrupted one, and bad input.

use std::{collections::BTreeMap, fs, path::Path};

use nix::sys::signal::Signal;
use parquet::{
    file::reader::{FileReader, SerializedFileReader},
    record::{ListAccessor, RowAccessor},
};

use crate::{
    folder::{Folder, RECIPE, text},
    signals::{ENDLESS, has_steps, send, spawn, until},
    weights::npy,
};

#[test]
fn a_run_ends_with_a_table_that_eval_repeats_and_the_seed_decides_all() {
    let folder = Folder::new();
    let first = folder.run(&["train", "recipe.toml"]);
    assert!(first.status.success(), "{}", text(&first));
    let said = String::from_utf8_lossy(&first.stdout).into_owned();
    assert!(
        said.contains("R@1") && said.contains("shapes/val"),
        "{said}"
    );
    for file in [
        "recipe.toml",
        "tokenizer.json",
        "metrics.jsonl",
        "bad-samples.jsonl",
        "records/step-00000004/config.json",
    ] {
        assert!(folder.path("runs/small-1").join(file).exists(), "{file}");
    }
    let metrics = fs::read_to_string(folder.path("runs/small-1/metrics.jsonl")).unwrap();
    let steps = metrics
        .lines()
        .filter(|line| line.contains("\"grad_norm\""))
        .count();
    assert_eq!(steps, 4);

    let eval = folder.run(&["eval", "runs/small-1"]);
    assert!(eval.status.success(), "{}", text(&eval));
    let table = String::from_utf8_lossy(&eval.stdout);
    assert!(said.contains(table.trim_end()), "{said}\n{table}");

    let second = folder.run(&["train", "recipe.toml"]);
    assert!(second.status.success());
    let weights = |run: &str| {
        fs::read(
            folder
                .path(run)
                .join("records/step-00000004/model.safetensors"),
        )
        .unwrap()
    };
    assert!(
        weights("runs/small-1") == weights("runs/small-2"),
        "the same seed, other weights"
    );
}

#[test]
fn a_finished_run_is_a_start_for_another() {
    let folder = Folder::new();
    assert!(folder.run(&["train", "recipe.toml"]).status.success());
    let recipe = RECIPE.split("[model]").next().unwrap().replace(
        "kind = \"bpe\"\nvocab = 600",
        "kind = \"file\"\npath = \"runs/small-1/tokenizer.json\"",
    );
    let more = "[model]\nfamily = \"clip\"\npretrained = \"runs/small-1\"\n\
                lock = [\"image\"]\n[train]\nsteps = 2\nbatch = 8\nmicro_batch = 4\nwarmup = 1\n";
    fs::write(folder.path("more.toml"), format!("{recipe}{more}")).unwrap();
    let output = folder.run(&["train", "more.toml"]);
    assert!(output.status.success(), "{}", text(&output));
    let before = weights(&folder.path("runs/small-1/records/step-00000004"));
    let after = weights(&folder.path("runs/small-2/records/step-00000002"));
    assert_eq!(before.len(), after.len());
    let (mut locked, mut trained) = (0, 0);
    for (key, before) in &before {
        let after = &after[key];
        if key.starts_with("vision_model.") || key.starts_with("visual_projection.") {
            assert!(before == after, "{key} is locked, and moved");
            locked += 1;
            continue;
        }
        // Two steps of AdamW move a weight by little more than two rates: the run started from these very weights.
        let moved = before.iter().zip(after).map(|(old, new)| (old - new).abs());
        let furthest = moved.fold(0.0, f32::max);
        assert!(furthest < 3.0 * 5e-4, "{key} moved by {furthest}");
        trained += usize::from(furthest > 0.0);
    }
    assert!(
        locked > 15 && trained > 15,
        "{locked} locked, {trained} trained"
    );
}

/// The tensors of a record.
fn weights(record: &Path) -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(record.join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter().map(|(key, view)| {
        let numbers = view.data().chunks_exact(4);
        let numbers = numbers.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        (key.to_owned(), numbers.collect())
    });
    tensors.collect()
}

#[test]
fn an_interrupt_saves_a_record_and_exits_cleanly() {
    let folder = Folder::new();
    let mut child = spawn(&folder, &ENDLESS);
    let run = folder.path("runs/small-1");
    until("a step", || has_steps(&run));
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let eval = folder.run(&["eval", "runs/small-1"]);
    assert!(eval.status.success(), "{}", text(&eval));
}

#[test]
fn one_bad_picture_is_skipped_and_counted() {
    let folder = Folder::new();
    folder.picture("good.png");
    fs::write(folder.path("broken.png"), b"not a picture").unwrap();
    let mut rows = String::from("filepath\ttitle\n");
    (0..20).for_each(|i| rows += &format!("good.png\tpicture number {i}\n"));
    rows += "broken.png\ta broken one\n";
    folder.table("t.csv", &rows);
    let arguments = ["train", "recipe.toml", "--train", "t.csv", "--val", "t.csv"];
    let batch = ["--set", "train.batch=10", "--set", "train.steps=4"];
    let output = folder.run(&[&arguments[..], &batch[..]].concat());
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("skipped: ") && said.contains("broken.png"),
        "{said}"
    );
    assert!(said.contains("1 pictures could not be read"), "{said}");
    let bad = fs::read_to_string(folder.path("runs/small-1/bad-samples.jsonl")).unwrap();
    assert!(
        bad.lines().count() > 0 && bad.contains("broken.png") && bad.contains("line 22"),
        "{bad}"
    );
    let refused = |more: &[&str], words: &[&str]| {
        folder.refuses(&[&arguments[..], &batch[..], more].concat(), words);
    };
    refused(&["--strict"], &["broken.png", "strict"]);
    refused(
        &["--set", "data.max_bad=0.01"],
        &["broken.png", "data.max_bad"],
    );
}

#[test]
fn tables_that_cannot_work_are_refused_by_name() {
    let folder = Folder::new();
    folder.picture("good.png");
    let train = |table| ["train", "recipe.toml", "--train", table, "--val", table];
    folder.refuses(&train("nowhere.csv"), &["nowhere.csv"]);
    folder.table("columns.csv", "pic\twords\ngood.png\ta picture\n");
    folder.refuses(&train("columns.csv"), &["columns.csv", "filepath"]);
    let row = |i: usize| format!("missing-{i}.png\tpicture {i}\n");
    let rows: String = (0..20).map(row).collect();
    folder.table("all-bad.csv", &format!("filepath\ttitle\n{rows}"));
    folder.refuses(&train("all-bad.csv"), &["all-bad.csv"]);
}

#[test]
fn recipes_that_cannot_work_are_refused_by_key() {
    let folder = Folder::new();
    let set = |value| ["train", "recipe.toml", "--set", value];
    folder.refuses(&set("train.wamup=3"), &["train.wamup", "train.warmup"]);
    folder.refuses(&set("train.batch=0"), &["train.batch"]);
    folder.refuses(&set("train.batch=100000"), &["train.batch"]);
    folder.refuses(&set("model.vision.patch_size=7"), &["patch_size"]);
    folder.refuses(&["train", "nowhere.toml"], &["nowhere.toml"]);
    folder.refuses(&["eval", "nowhere"], &["nowhere"]);
    let usage = folder.run(&["train", "--no-such-flag"]);
    assert_eq!(usage.status.code(), Some(2));
}

#[test]
fn a_siglip_trains_with_patch_dropout_and_is_asked_for_classes() {
    let folder = Folder::new();
    let mut rows = String::from("filepath\ttitle\tkind\n");
    for number in 0..12 {
        let name = format!("{number}.png");
        folder.picture(&name);
        let kind = if number % 2 == 0 { "cat" } else { "dog" };
        rows += &format!("{name}\ta {kind}, number {number}\t{kind}\n");
    }
    folder.table("t.csv", &rows);
    let zero_shot = "[eval.zero_shot]\ncolumn = \"kind\"\nclasses = [\"cat\", \"dog\"]\n\
                     templates = [\"a {}\", \"a photo of a {}\"]\n";
    let recipe = RECIPE.replace("family = \"clip\"", "family = \"siglip\"") + zero_shot;
    fs::write(folder.path("recipe.toml"), recipe).unwrap();
    let output = folder.run(&[
        "train",
        "recipe.toml",
        "--train",
        "t.csv",
        "--val",
        "t.csv",
        "--set",
        "train.batch=4",
        "--set",
        "train.patch_dropout=0.5",
        "--set",
        "train.checkpointing=every(2)",
    ]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("zero-shot accuracy"), "{said}");
    let config = fs::read_to_string(folder.path("runs/small-1/records/step-00000004/config.json"));
    assert!(config.unwrap().contains("siglip"));
}

#[test]
fn an_export_of_either_format_is_a_start_that_finds_the_same() {
    let folder = Folder::new();
    assert!(folder.run(&["train", "recipe.toml"]).status.success());
    let retrieval = |run: &str| {
        let metrics = fs::read_to_string(folder.path(run).join("metrics.jsonl")).unwrap();
        let last: serde_json::Value =
            serde_json::from_str(metrics.lines().last().unwrap()).unwrap();
        last["retrieval"]["recall"].clone()
    };
    for (number, format) in [(2, "hf"), (3, "open_clip")] {
        let export = [
            "export",
            "--run",
            "runs/small-1",
            "--out",
            format,
            "--format",
            format,
        ];
        let output = folder.run(&export);
        assert!(output.status.success(), "{}", text(&output));
        folder.refuses(&export, &[format, "not empty"]);
        let tokens = format!("kind = \"file\"\npath = \"{format}/tokenizer.json\"");
        let base = RECIPE.split("[model]").next().unwrap();
        let base = base.replace("kind = \"bpe\"\nvocab = 600", &tokens);
        let model = format!("[model]\nfamily = \"clip\"\npretrained = \"{format}\"\n");
        let train = "[train]\nsteps = 1\nbatch = 16\nlr = 1e-12\n";
        fs::write(folder.path("again.toml"), format!("{base}{model}{train}")).unwrap();
        let output = folder.run(&["train", "again.toml"]);
        assert!(output.status.success(), "{format}: {}", text(&output));
        assert_eq!(
            retrieval("runs/small-1"),
            retrieval(&format!("runs/small-{number}"))
        );
    }
    folder.picture("good.png");
    folder.table(
        "t.csv",
        "filepath\ttitle\ngood.png\tone\nnone.png\ttwo\ngood.png\tthree\n",
    );
    let embed = [
        "embed",
        "--run",
        "runs/small-1",
        "--data",
        "t.csv",
        "--out",
        "e",
    ];
    let output = folder.run(&[&embed[..], &["--set", "data.max_bad=0.5"]].concat());
    assert!(
        text(&output).contains("2 pairs of 32 numbers; 1 skipped"),
        "{}",
        text(&output)
    );
    let [images, texts] = ["e.images.npy", "e.texts.npy"].map(|name| npy(&folder.path(name)));
    assert_eq!((images.len(), texts.len()), (2, 2));
    for vector in images.iter().chain(&texts) {
        let length: f32 = vector.iter().map(|x| x * x).sum();
        assert!((length - 1.0).abs() < 1e-5, "{length}");
    }
    // One picture with two captions.
    assert!(images[0] == images[1] && texts[0] != texts[1]);
    let rows = rows(&folder.path("e.parquet"));
    assert_eq!(rows.len(), 2);
    for (row, caption) in ["one", "three"].iter().enumerate() {
        let found = &rows[row];
        assert!(found.picture.ends_with("good.png"), "{}", found.picture);
        assert_eq!(found.caption, *caption);
        assert!(found.image == images[row] && found.text == texts[row]);
    }
}

/// A row of a file of embeddings.
struct Row {
    picture: String,
    caption: String,
    image: Vec<f32>,
    text: Vec<f32>,
}

fn rows(path: &Path) -> Vec<Row> {
    let file = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
    let rows = file.get_row_iter(None).unwrap().map(|row| {
        let row = row.unwrap();
        let numbers = |column: usize| {
            let list = row.get_list(column).unwrap();
            (0..list.len())
                .map(|i| list.get_float(i).unwrap())
                .collect()
        };
        Row {
            picture: row.get_string(1).unwrap().clone(),
            caption: row.get_string(2).unwrap().clone(),
            image: numbers(3),
            text: numbers(4),
        }
    });
    rows.collect()
}
