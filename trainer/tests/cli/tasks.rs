//! Every saver in every task.

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::SafeTensors;
use serde_json::Value;

use crate::folder::{Folder, RECIPE, metrics, text};

/// A task, what its recipe says, and what of its tensors stands still where its body is locked.
struct Kind {
    name: &'static str,
    options: &'static [&'static str],
    body: &'static str,
    /// The tensors that train, where the body is locked, all begin so.
    head: &'static [&'static str],
    /// The key under which its evaluations stand in the metrics.
    measured: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "contrastive",
        options: &["task=contrastive"],
        body: "image-body",
        head: &["visual_projection", "text_", "logit_scale"],
        measured: "retrieval",
    },
    Kind {
        name: "classify",
        options: &["task.kind=classify", "task.column=class"],
        body: "image-body",
        head: &["classifier"],
        measured: "accuracy",
    },
    Kind {
        name: "mlm",
        options: &["task.kind=mlm", "tokens.kind=wordpiece", "tokens.vocab=200"],
        body: "text-body",
        head: &["cls."],
        measured: "masked_words",
    },
];

/// A table of 40 pictures with captions and classes; of two the picture is broken, and of two others the caption holds no
/// word.
fn folder() -> Folder {
    let folder = Folder::new();
    let recipe = RECIPE.replace("n_layers = 1", "n_layers = 3") + "[data]\nmax_bad = 0.3\n";
    fs::write(folder.path("recipe.toml"), recipe).unwrap();
    let mut rows = String::from("filepath\ttitle\tclass\n");
    for number in 0..40 {
        let name = format!("{number}.png");
        folder.picture(&name);
        let caption = match number {
            5 | 17 => "\u{200b}".to_owned(),
            number => format!("a picture of number {number} among {} others", number % 7),
        };
        rows += &format!("{name}\t{caption}\t{}\n", ["odd", "even"][number % 2]);
    }
    for broken in ["3.png", "20.png"] {
        fs::write(folder.path(broken), "no picture").unwrap();
    }
    folder.table("t.csv", &rows);
    folder
}

/// A run of so many steps under some settings, and its folder.
fn train(folder: &Folder, kind: &Kind, name: &str, settings: &[&str]) -> std::path::PathBuf {
    let name = format!("name={}-{name}", kind.name);
    let mut arguments = vec!["train", "recipe.toml", "--train", "t.csv", "--val", "t.csv"];
    for setting in kind.options.iter().chain(settings).chain([&&*name]) {
        arguments.extend(["--set", setting]);
    }
    let output = folder.run(&arguments);
    assert!(
        output.status.success(),
        "{name} {settings:?}: {}",
        text(&output)
    );
    folder.path(&format!("runs/{}-1", name.trim_start_matches("name=")))
}

fn tensors(run: &Path, step: u64) -> BTreeMap<String, Vec<u8>> {
    let record = run.join(format!("records/step-{step:08}/model.safetensors"));
    let bytes = fs::read(record).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.iter();
    tensors
        .map(|(key, view)| (key.to_owned(), view.data().to_vec()))
        .collect()
}

fn losses(run: &Path) -> Vec<f64> {
    let lines = metrics(run);
    lines
        .iter()
        .filter_map(|line| line["loss"].as_f64())
        .collect()
}

#[test]
fn recomputing_changes_no_bit_and_micro_batches_no_digit_that_is_seen() {
    let folder = folder();
    for kind in &KINDS {
        let plain = train(&folder, kind, "plain", &[]);
        let want = losses(&plain);
        assert_eq!(want.len(), 4, "{}", kind.name);
        let dropped = train(&folder, kind, "dropped", &["train.dropout=0.2"]);
        let again = ["train.dropout=0.2", "train.checkpointing=every-cut"];
        let again = train(&folder, kind, "dropped-again", &again);
        assert!(tensors(&dropped, 4) != tensors(&plain, 4), "{}", kind.name);
        assert!(
            tensors(&again, 4) == tensors(&dropped, 4),
            "{} with dropout",
            kind.name
        );
        for (number, policy) in ["every-cut", "every(2)", "nested(2,1)"].iter().enumerate() {
            let set = format!("train.checkpointing={policy}");
            let run = train(&folder, kind, &format!("recompute{number}"), &[&set]);
            assert!(
                tensors(&run, 4) == tensors(&plain, 4),
                "{} {policy}",
                kind.name
            );
        }
        let run = train(
            &folder,
            kind,
            "micro",
            &["train.micro_batch=4", "train.checkpointing=every-cut"],
        );
        for (got, want) in losses(&run).iter().zip(&want) {
            assert!(
                (got - want).abs() <= 1e-4 * want.abs(),
                "{}: {got}, not {want}",
                kind.name
            );
        }
        let evaluated = metrics(&plain);
        let found = evaluated
            .iter()
            .find(|line| line.get(kind.measured).is_some());
        assert!(found.is_some(), "{}: {evaluated:?}", kind.name);
    }
}

#[test]
fn what_is_locked_stands_still_and_the_rest_trains() {
    let folder = folder();
    for kind in &KINDS {
        let lock = format!("model.lock=[\"{}\"]", kind.body);
        let run = train(
            &folder,
            kind,
            "locked",
            &[&lock, "run.save_every=1 steps", "run.keep_last=9"],
        );
        let (before, after) = (tensors(&run, 1), tensors(&run, 4));
        for (key, bytes) in &before {
            let trains = kind.head.iter().any(|head| key.starts_with(head));
            // The decoder of masked words is the word embedding: it stands still with it.
            assert_eq!(bytes != &after[key], trains, "{}: {key}", kind.name);
        }
        let blocks = kind.body.replace("body", "blocks(2)");
        let lock = format!("model.lock=[\"{blocks}\"]");
        let run = train(
            &folder,
            kind,
            "blocks",
            &[&lock, "run.save_every=1 steps", "run.keep_last=9"],
        );
        let (before, after) = (tensors(&run, 1), tensors(&run, 4));
        let tower = if kind.body.starts_with("image") {
            "vi"
        } else {
            "bert"
        };
        for (key, bytes) in before.iter().filter(|(key, _)| key.starts_with(tower)) {
            let locked = key.contains("embeddings")
                || key.contains("layers.0.")
                || key.contains("layers.1.")
                || key.contains("layer.0.")
                || key.contains("layer.1.")
                || key.contains("pre_layrnorm");
            assert_eq!(bytes == &after[key], locked, "{}: {key}", kind.name);
        }
    }
}

#[test]
fn a_run_goes_on_as_the_uninterrupted_one_and_bad_samples_are_told() {
    let folder = folder();
    for kind in &KINDS {
        let settings = [
            "run.save_every=2 steps",
            "train.steps=5",
            "train.dropout=0.1",
            "train.micro_batch=8",
        ];
        let run = train(&folder, kind, "whole", &settings);
        let record = |step: u64| run.join(format!("records/step-{step:08}"));
        let whole = tensors(&run, 5);
        let moments = fs::read(record(5).join("optimizer.safetensors")).unwrap();
        fs::remove_dir_all(record(5)).unwrap();
        // The recipe again, which says nothing of what the run found out: classes, and how captions are read.
        let mut resume = vec!["train", "recipe.toml", "--resume", run.to_str().unwrap()];
        resume.extend(["--train", "t.csv", "--val", "t.csv"]);
        let name = format!("name={}-whole", kind.name);
        for setting in kind.options.iter().chain(&settings).chain([&&*name]) {
            resume.extend(["--set", setting]);
        }
        let output = folder.run(&resume);
        assert!(output.status.success(), "{}", text(&output));
        assert!(
            text(&output).contains("going on after step 4"),
            "{}",
            text(&output)
        );
        assert!(tensors(&run, 5) == whole, "{}", kind.name);
        assert!(fs::read(record(5).join("optimizer.safetensors")).unwrap() == moments);

        let bad = fs::read_to_string(run.join("bad-samples.jsonl")).unwrap();
        let bad: Vec<Value> = bad
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let (shown, words) = match kind.name {
            "mlm" => (["5.png", "17.png"], "no word"),
            _ => (["3.png", "20.png"], "picture"),
        };
        assert!(!bad.is_empty(), "{}", kind.name);
        for line in &bad {
            let line = line.to_string();
            assert!(
                shown.iter().any(|name| line.contains(name)) && line.contains(words),
                "{line}"
            );
        }

        let eval = folder.run(&["eval", run.to_str().unwrap()]);
        assert!(eval.status.success(), "{}", text(&eval));
        let last = metrics(&run);
        let last = last
            .iter()
            .rev()
            .find(|line| line.get(kind.measured).is_some())
            .unwrap();
        let said = text(&eval);
        let number = match kind.name {
            "contrastive" => last["retrieval"]["recall"][0]["image_to_text"].as_f64(),
            "classify" => last["accuracy"]["top_1"].as_f64(),
            _ => last["masked_words"]["accuracy"].as_f64(),
        };
        let shown = format!("{:.1} %", 100.0 * number.unwrap());
        assert!(said.contains(&shown), "{shown} in {said}");
    }
}

#[test]
fn what_a_task_cannot_do_is_refused_by_its_key() {
    let folder = folder();
    let refuses = |settings: &[&str], words: &[&str]| {
        let mut arguments = vec!["train", "recipe.toml", "--train", "t.csv", "--val", "t.csv"];
        for setting in settings {
            arguments.extend(["--set", setting]);
        }
        folder.refuses(&arguments, words);
    };
    refuses(&["task.kind=mlm"], &["[MASK]", "tokens.kind=wordpiece"]);
    refuses(&["task.kind=classify"], &["label", "t.csv"]);
    refuses(
        &[
            "task.kind=classify",
            "task.column=class",
            "task.classes=[\"odd\", \"prime\"]",
        ],
        &["\"even\"", "task.classes"],
    );
    refuses(
        &[
            "task.kind=classify",
            "task.column=class",
            "model.lock=[\"image\"]",
        ],
        &["model.lock", "image-body"],
    );
    refuses(
        &[
            "task.kind=classify",
            "task.column=class",
            "model.lock=[\"text\"]",
        ],
        &["model.lock", "text tower"],
    );
    refuses(&["task.kind=mlm", "task.mask=0"], &["task.mask", "0.15"]);
    refuses(&["task.kind=learn"], &["task.kind", "contrastive"]);
    refuses(
        &[
            "task.kind=classify",
            "task.column=class",
            "task.label_smoothing=1",
        ],
        &["task.label_smoothing"],
    );
}

#[test]
fn classes_that_training_does_not_show_are_told_before_the_first_step() {
    let folder = folder();
    folder.table("v.csv", "filepath\ttitle\tclass\n1.png\tone\tprime\n");
    folder.refuses(
        &[
            "train",
            "recipe.toml",
            "--train",
            "t.csv",
            "--val",
            "v.csv",
            "--set",
            "task.kind=classify",
            "--set",
            "task.column=class",
        ],
        &["v.csv", "\"prime\""],
    );
    assert!(!folder.path("runs").exists());
}
