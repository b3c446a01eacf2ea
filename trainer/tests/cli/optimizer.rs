//! What a recipe says of the optimizer: another one, groups, steps that are skipped.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{
    folder::{Folder, RECIPE, metrics, text},
    resume::change,
};

/// The bytes of a file in a record.
fn file(run: &Path, step: u64, name: &str) -> Vec<u8> {
    fs::read(run.join(format!("records/step-{step:08}")).join(name)).unwrap()
}

fn trained(folder: &Folder, arguments: &[&str]) -> PathBuf {
    let output = folder.run(arguments);
    assert!(output.status.success(), "{}", text(&output));
    let run = fs::read_dir(folder.path("runs")).unwrap().count();
    folder.path(&format!("runs/small-{run}"))
}

#[test]
fn a_run_with_groups_goes_on_as_the_uninterrupted_one() {
    let folder = Folder::new();
    let train = "steps = 4\noptimizer = \"stable-adamw\"\nlayer_decay = 0.75\n";
    let groups = "[[train.groups]]\npattern = \"*.bias\"\nrate = 0.5\nweight_decay = 0.1\n";
    let recipe = RECIPE.replace("steps = 4\n", train)
        + groups
        + "[run]\nkeep_last = 9\nsave_every = \"2 steps\"\n";
    fs::write(folder.path("recipe.toml"), recipe).unwrap();
    let run = trained(&folder, &["train", "recipe.toml"]);
    let ended = || {
        let names = ["model.safetensors", "optimizer.safetensors"];
        (names.map(|name| file(&run, 4, name)), metrics(&run))
    };
    let whole = ended();
    fs::remove_dir_all(run.join("records/step-00000004")).unwrap();
    let output = folder.run(&["train", "--resume", "runs/small-1"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(ended() == whole);
}

#[test]
fn the_state_goes_on_with_its_own_optimizer_and_number_of_updates() {
    let folder = Folder::new();
    let run = trained(
        &folder,
        &[
            "train",
            "recipe.toml",
            "--set",
            "run.save_every=\"2 steps\"",
            "--set",
            "run.keep_last=9",
        ],
    );
    let whole = file(&run, 4, "model.safetensors");
    fs::remove_dir_all(run.join("records/step-00000004")).unwrap();
    folder.refuses(
        &[
            "train",
            "--resume",
            "runs/small-1",
            "--set",
            "train.optimizer=stable-adamw",
            "--allow-changes",
        ],
        &["`train.optimizer` is stable-adamw", "that of adamw"],
    );
    // One of the two steps was skipped: the moments are corrected for one update, and not for two.
    change(&run.join("records/step-00000002"), |state| {
        assert_eq!(state["optimizer_steps"], 2);
        state["optimizer_steps"] = 1.into();
    });
    let output = folder.run(&["train", "--resume", "runs/small-1"]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(file(&run, 4, "model.safetensors") != whole);
    let state: Value = serde_json::from_slice(&file(&run, 4, "state.json")).unwrap();
    assert_eq!(state["optimizer_steps"], 3);
}

#[test]
fn each_of_the_keys_changes_what_is_learnt() {
    let folder = Folder::new();
    let mut seen = vec![file(
        &trained(&folder, &["train", "recipe.toml"]),
        4,
        "model.safetensors",
    )];
    for set in [
        "train.optimizer=stable-adamw",
        "train.layer_decay=0.5",
        "train.groups=[{pattern=\"text.*\", rate=0.1}]",
        "train.groups=[{pattern=\"vision.*\", weight_decay=0.9}]",
    ] {
        let run = trained(&folder, &["train", "recipe.toml", "--set", set]);
        let weights = file(&run, 4, "model.safetensors");
        assert!(!seen.contains(&weights), "{set}");
        seen.push(weights);
    }
    // What has no effect changes no bit.
    for set in [
        "train.optimizer=adamw",
        "train.layer_decay=1",
        "train.groups=[{pattern=\"*\", rate=1}]",
        "train.skip_nonfinite=true",
    ] {
        let run = trained(&folder, &["train", "recipe.toml", "--set", set]);
        assert!(file(&run, 4, "model.safetensors") == seen[0], "{set}");
    }
}

#[test]
fn a_step_without_finite_gradients_ends_the_run_or_is_skipped_and_told() {
    let folder = Folder::new();
    let diverges = ["train", "recipe.toml", "--set", "train.lr=1e30"];
    folder.refuses(&diverges, &["at step 2", "train.skip_nonfinite"]);
    let skips = [&diverges[..], &["--set", "train.skip_nonfinite=true"]].concat();
    let output = folder.run(&skips);
    assert!(output.status.success(), "{}", text(&output));
    for step in 2..=4 {
        let skipped = format!("step {step} was skipped: the loss is NaN");
        assert!(text(&output).contains(&skipped), "{}", text(&output));
    }
    let run = folder.path("runs/small-2");
    let skipped = metrics(&run).into_iter();
    let skipped = skipped.filter(|line| line["skipped"] == Value::Bool(true));
    assert_eq!(skipped.count(), 3);
    let state: Value = serde_json::from_slice(&file(&run, 4, "state.json")).unwrap();
    assert_eq!(
        (&state["step"], &state["optimizer_steps"]),
        (&4.into(), &1.into())
    );
    // What the failed run saved after its only step is what the other ends with.
    for name in ["model.safetensors", "optimizer.safetensors"] {
        let failed = file(&folder.path("runs/small-1"), 1, name);
        assert!(file(&run, 4, name) == failed, "{name}");
    }
}

#[test]
fn a_group_of_no_parameter_is_refused_before_there_is_a_run() {
    let folder = Folder::new();
    let set = "train.groups=[{pattern=\"visoin.*\"}]";
    folder.refuses(
        &["train", "recipe.toml", "--set", set],
        &["train.groups", "`visoin.*`"],
    );
    assert!(!folder.path("runs/small-1").exists());
}
