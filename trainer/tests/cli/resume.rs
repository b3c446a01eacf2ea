//! Runs that are killed, damaged and changed, and go on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    folder::{Folder, RECIPE, metrics, steps_done, text},
    signals::send,
};

/// Augmentation, dropout, micro-batches and several epochs: everything random takes part.
fn recipe(steps: u64) -> String {
    let train = format!("steps = {steps}\nmicro_batch = 8\ndropout = 0.1\neval_every = 1");
    let image = "[image.augmentation]\nkind = \"random-resized-crop\"\nscale = [0.5, 1.0]\n";
    let run = "[run]\nsave_every = \"3 steps\"\n";
    RECIPE
        .replace("steps = 4", &train)
        .replace("[tokens]", &format!("{image}[tokens]"))
        + run
}

fn folder(steps: u64) -> Folder {
    let folder = Folder::new();
    fs::write(folder.path("recipe.toml"), recipe(steps)).unwrap();
    folder
}

fn record(run: &Path, step: u64) -> PathBuf {
    run.join(format!("records/step-{step:08}"))
}

/// Whether two runs ended alike: weights and optimizer byte for byte, metrics, place in the data.
fn assert_same(run: &Path, other: &Path, step: u64) {
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let bytes = |run: &Path| fs::read(record(run, step).join(file)).unwrap();
        assert!(bytes(run) == bytes(other), "{file} differs");
    }
    assert_eq!(metrics(run), metrics(other));
    let position = |run: &Path| {
        let text = fs::read_to_string(record(run, step).join("state.json")).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["position"].clone()
    };
    assert_eq!(position(run), position(other));
}

fn is_saving(run: &Path) -> bool {
    let Ok(entries) = fs::read_dir(run.join("records")) else {
        return false;
    };
    let mut names = entries.flatten().map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().starts_with(".new-"))
}

#[test]
fn a_run_killed_at_ten_points_ends_as_the_uninterrupted_one() {
    const STEPS: u64 = 90;
    const KILLS: usize = 10;
    let folder = folder(STEPS);
    let output = folder.run(&["train", "recipe.toml"]);
    assert!(output.status.success(), "{}", text(&output));
    let (whole, run) = (folder.path("runs/small-1"), folder.path("runs/small-2"));

    let mut killed_while_saving = 0;
    for number in 0..KILLS {
        let arguments: &[&str] = match number {
            0 => &["train", "recipe.toml"],
            _ => &["train", "--resume", "runs/small-2"],
        };
        // Other threads, too: they must change nothing.
        let workers = format!("data.workers={}", 1 + number % 3);
        let mut child = folder
            .command(arguments)
            .args(["--set", &workers])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (start, wanted) = (Instant::now(), 1 + number * 6);
        let while_saving = number % 2 == 1;
        loop {
            assert!(
                start.elapsed() < Duration::from_secs(120),
                "kill {number}: too slow"
            );
            assert!(
                child.try_wait().unwrap().is_none(),
                "kill {number}: the run ended first"
            );
            if steps_done(&run) < wanted || while_saving && !is_saving(&run) {
                continue;
            }
            // What stands still is still saving when it is killed.
            send(&child, Signal::SIGSTOP);
            if !while_saving || is_saving(&run) {
                break;
            }
            send(&child, Signal::SIGCONT);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed_while_saving += usize::from(is_saving(&run));
    }
    assert!(
        killed_while_saving >= KILLS / 2,
        "{killed_while_saving} kills came in the middle of saving"
    );
    let output = folder.run(&["train", "--resume", "runs/small-2"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_same(&whole, &run, STEPS);
    assert!(!is_saving(&run), "a half-written record was left behind");
    let records = fs::read_dir(run.join("records")).unwrap().count();
    assert!(
        records <= 3,
        "{records} records, not the last 2 and the best"
    );
    let again = folder.run(&["train", "--resume", "runs/small-2"]);
    assert!(text(&again).contains("complete"), "{}", text(&again));
}

/// Writes the list of a record's checksums anew.
fn seal(record: &Path) {
    let mut sums = String::new();
    for entry in fs::read_dir(record).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name != "SHA256SUMS" {
            let digest = Sha256::digest(fs::read(record.join(&name)).unwrap());
            let sum: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            sums += &format!("{sum}  {name}\n");
        }
    }
    fs::write(record.join("SHA256SUMS"), sums).unwrap();
}

/// Changes the state of a record.
pub(crate) fn change(record: &Path, change: impl FnOnce(&mut Value)) {
    let path = record.join("state.json");
    let mut state = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut state);
    fs::write(path, state.to_string()).unwrap();
    seal(record);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (
            entry.as_ref().unwrap().path(),
            to.join(entry.unwrap().file_name()),
        );
        if path.is_dir() {
            copy(&path, &to)
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

#[test]
fn a_damaged_record_is_passed_over_for_the_one_before_it() {
    let folder = folder(6);
    assert!(folder.run(&["train", "recipe.toml"]).status.success());
    let whole = folder.path("runs/small-1");
    let names: Vec<_> = fs::read_dir(record(&whole, 6))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 12, "{names:?}");
    for name in names {
        let run = folder.path("damaged");
        copy(&whole, &run);
        let file = record(&run, 6).join(&name);
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        match bytes.get_mut(middle) {
            Some(byte) => *byte ^= 1,
            None => bytes.push(b'x'),
        }
        fs::write(&file, bytes).unwrap();
        let output = folder.run(&["train", "--resume", "damaged"]);
        let said = text(&output);
        assert!(output.status.success(), "{name}: {said}");
        assert!(
            said.contains("damaged record")
                && said.contains(&name)
                && said.contains("after step 3"),
            "{name}: {said}"
        );
        assert_same(&whole, &run, 6);
        fs::remove_dir_all(&run).unwrap();
    }
    for step in [3, 6] {
        fs::remove_file(record(&whole, step).join("state.json")).unwrap();
    }
    folder.refuses(
        &["train", "--resume", "runs/small-1"],
        &["every record is damaged"],
    );
}

#[test]
fn a_changed_recipe_is_refused_unless_told_otherwise() {
    let folder = folder(6);
    assert!(folder.run(&["train", "recipe.toml"]).status.success());
    let run = folder.path("runs/small-1");
    fs::remove_dir_all(record(&run, 6)).unwrap();
    let resume = |more: &[&'static str]| [&["train", "--resume", "runs/small-1"], more].concat();
    folder.refuses(
        &resume(&["--set", "train.lr=0.5", "--set", "run.keep_last=5"]),
        &[
            "train.lr = 0.5",
            "run.keep_last = 5",
            "under another train.lr ",
            "--allow-changes",
        ],
    );
    folder.refuses(
        &["train", "--resume", "nowhere"],
        &["nowhere", "recipe.toml"],
    );
    let free = folder.run(&resume(&["--set", "run.keep_last=5"]));
    assert!(free.status.success(), "{}", text(&free));
    fs::remove_dir_all(record(&run, 6)).unwrap();
    let output = folder.run(&resume(&["--set", "train.lr=0.1", "--allow-changes"]));
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_record_whose_state_cannot_be_is_passed_over() {
    let folder = folder(6);
    assert!(folder.run(&["train", "recipe.toml"]).status.success());
    let whole = folder.path("runs/small-1");
    let run = folder.path("damaged");
    copy(&whole, &run);
    change(&record(&run, 6), |state| state["seconds"] = json!(-3.0));
    let eval = folder.run(&["eval", "damaged"]);
    assert!(text(&eval).contains("`seconds` is -3"), "{}", text(&eval));
    assert!(eval.status.success(), "{}", text(&eval));
    // A pipe is not waited for.
    copy(&record(&whole, 6), &record(&run, 9));
    fs::remove_file(record(&run, 9).join("recipe.toml")).unwrap();
    let pipe = record(&run, 9).join("recipe.toml");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(pipe)
            .status()
            .unwrap()
            .success()
    );
    let output = folder.run(&["train", "--resume", "damaged"]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for words in ["`seconds` is -3", "recipe.toml: is a pipe", "after step 3"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_same(&whole, &run, 6);
}

#[test]
fn a_record_of_format_1_is_gone_on_from() {
    let folder = folder(6);
    assert!(folder.run(&["train", "recipe.toml"]).status.success());
    let whole = folder.path("runs/small-1");
    let run = folder.path("old");
    copy(&whole, &run);
    fs::remove_file(run.join("scores.json")).unwrap();
    for step in [3, 6] {
        let record = record(&run, step);
        fs::remove_file(record.join("sizes.bin")).unwrap();
        change(&record, |state| {
            let state = state.as_object_mut().unwrap();
            state.insert("format".to_owned(), json!(1));
            state.insert("score".to_owned(), json!(0.5));
            state.insert("complete".to_owned(), json!(step == 6));
            state.remove("digests");
            state.remove("evaluation_due");
        });
    }
    let again = folder.run(&["train", "--resume", "old"]);
    assert!(text(&again).contains("complete"), "{}", text(&again));
    fs::remove_dir_all(record(&run, 6)).unwrap();
    let output = folder.run(&["train", "--resume", "old"]);
    assert!(output.status.success(), "{}", text(&output));
    assert_same(&whole, &run, 6);
}

#[test]
fn changed_data_is_refused_by_name_unless_it_may_change() {
    let folder = Folder::new();
    let mut rows = String::from("filepath\ttitle\n");
    for number in 0..32 {
        folder.picture(&format!("{number}.png"));
        rows += &format!("{number}.png\tpicture {number}\n");
    }
    folder.table("t.csv", &rows);
    let options = ["--set", "train.steps=6", "--set", "run.save_every=3 steps"];
    let train = ["train", "recipe.toml", "--train", "t.csv", "--val", "t.csv"];
    let output = folder.run(&[&train[..], &options].concat());
    assert!(output.status.success(), "{}", text(&output));
    let whole = folder.path("runs/small-1");
    let resume = |more: &[&'static str]| {
        let run = folder.path("again");
        if run.exists() {
            fs::remove_dir_all(&run).unwrap();
        }
        copy(&whole, &run);
        fs::remove_dir_all(record(&run, 6)).unwrap();
        [&["train", "--resume", "again"], more].concat()
    };
    let output = folder.run(&resume(&[]));
    assert!(output.status.success(), "{}", text(&output));
    assert_same(&whole, &folder.path("again"), 6);

    folder.table("t.csv", &rows.replace("picture 7\n", "picture seven\n"));
    folder.refuses(
        &resume(&[]),
        &["t.csv has other paths or captions", "--allow-changes"],
    );
    assert!(folder.run(&resume(&["--allow-changes"])).status.success());
    folder.table("t.csv", &rows.replace("7.png\tpicture 7\n", ""));
    folder.refuses(&resume(&[]), &["t.csv has ", ", was 32", "--allow-changes"]);

    folder.table("t.csv", &rows);
    let other = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/bad/images/good.png");
    fs::copy(other, folder.path("7.png")).unwrap();
    folder.refuses(
        &resume(&[]),
        &["7.png", "--allow-changes", "the record is in again"],
    );
    assert!(folder.run(&resume(&["--allow-changes"])).status.success());
    fs::remove_file(folder.path("7.png")).unwrap();
    folder.refuses(&resume(&[]), &["7.png: had ", "--allow-changes"]);
    let record = ["train", "--resume", "again/records/step-00000003"];
    folder.refuses(&record, &["again/records/step-00000003", "its run"]);
}
