//! A run's folder: whose it is, what happens when it moves, what a full disk leaves, and who may read it.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use nix::sys::signal::Signal;

use crate::{
    folder::{Folder, RECIPE, text},
    signals::{ENDLESS, has_steps, send, spawn, until},
};

#[test]
fn one_process_at_a_time_trains_in_a_folder() {
    let folder = Folder::new();
    let mut child = spawn(&folder, &ENDLESS);
    let run = folder.path("runs/small-1");
    until("a step", || has_steps(&run));
    let id = child.id().to_string();
    folder.refuses(
        &["train", "--resume", "runs/small-1"],
        &["runs/small-1", &id],
    );
    send(&child, Signal::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // Nothing is left of the lock, and what only reads takes none.
    let mut child = spawn(&folder, &["train", "--resume", "runs/small-1"]);
    let before = fs::metadata(run.join("metrics.jsonl")).unwrap().len();
    until("another step", || {
        fs::metadata(run.join("metrics.jsonl")).is_ok_and(|file| file.len() > before)
    });
    let eval = folder.run(&["eval", "runs/small-1"]);
    assert!(eval.status.success(), "{}", text(&eval));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_folder_that_is_moved_or_deleted_ends_the_run_with_an_error() {
    let folder = Folder::new();
    let arguments = [&ENDLESS[..4], &["--set", "run.save_every=1 steps"]].concat();
    let start = |arguments: &[&str]| {
        let mut command = folder.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let child = start(&arguments);
    let run = folder.path("runs/small-1");
    until("a record", || run.join("records/step-00000003").exists());
    let moved = folder.path("runs/moved");
    fs::rename(&run, &moved).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("runs/small-1: was moved to "), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(!run.exists(), "it came back");
    // The command that goes on from there does.
    let resume = said.split("--resume ").nth(1).unwrap();
    let resumed = resume.split_whitespace().next().unwrap();
    assert_eq!(
        Path::new(resumed).canonicalize().unwrap(),
        moved.canonicalize().unwrap()
    );
    let mut child = spawn(&folder, &["train", "--resume", resumed]);
    let before = fs::metadata(moved.join("metrics.jsonl")).unwrap().len();
    until("another step", || {
        fs::metadata(moved.join("metrics.jsonl")).is_ok_and(|file| file.len() > before)
    });
    child.kill().unwrap();
    child.wait().unwrap();

    let child = start(&ENDLESS);
    until("a step", || has_steps(&run));
    // It is not to see the folder between the two.
    send(&child, Signal::SIGSTOP);
    fs::rename(&run, folder.path("gone")).unwrap();
    fs::remove_dir_all(folder.path("gone")).unwrap();
    send(&child, Signal::SIGCONT);
    let output = child.wait_with_output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("runs/small-1: was deleted"), "{said}");

    let child = start(&ENDLESS);
    until("a step", || has_steps(&run));
    fs::remove_file(run.join("metrics.jsonl")).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("metrics.jsonl: was deleted"), "{said}");
}

#[test]
fn records_that_do_not_fit_on_the_disk_end_the_run_with_their_name() {
    let folder = Folder::new();
    // A file of more than 64 KiB does not fit, as those of tensors are.
    let script = "ulimit -f 128; trap '' XFSZ; exec \"$@\"";
    let shoestring = folder.command(&["train", "recipe.toml"]);
    let output = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(shoestring.get_program())
        .args(shoestring.get_args())
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("safetensors") && !said.contains("panicked"),
        "{said}"
    );
    let left = fs::read_dir(folder.path("runs/small-1/records")).unwrap();
    assert_eq!(left.count(), 0, "half a record is left");
}

/// The modes of all files under a folder, and of all folders.
fn modes(path: &Path, files: &mut Vec<u32>, folders: &mut Vec<u32>) {
    folders.push(fs::metadata(path).unwrap().mode() & 0o777);
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            modes(&path, files, folders);
        } else {
            files.push(fs::metadata(&path).unwrap().mode() & 0o777);
        }
    }
}

#[test]
fn what_is_written_has_the_modes_that_the_umask_leaves() {
    let folder = Folder::new();
    folder.picture("good.png");
    folder.table("t.csv", "filepath\ttitle\ngood.png\tone\ngood.png\ttwo\n");
    let program = env!("CARGO_BIN_EXE_shoestring");
    let script = format!(
        "umask 027; S={program}; $S train recipe.toml && $S export --run runs/small-1 --out runs/hf \
         && mkdir runs/e && $S embed --run runs/small-1 --data t.csv --out runs/e/e \
         && $S data check t.csv --ledger runs/e/ledger"
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    modes(&folder.path("runs"), &mut files, &mut folders);
    assert!(files.len() > 20 && folders.len() > 4);
    assert!(files.iter().all(|mode| *mode == 0o640), "{files:?}");
    assert!(folders.iter().all(|mode| *mode == 0o750), "{folders:?}");
}

#[test]
fn an_output_goes_into_streams_and_never_over_its_input() {
    let folder = Folder::new();
    folder.picture("good.png");
    let table = "filepath\ttitle\ngood.png\tone\nnone.png\ttwo\n";
    folder.table("t.csv", table);
    let check = |ledger: &str| folder.run(&["data", "check", "t.csv", "--ledger", ledger]);
    symlink("t.csv", folder.path("link")).unwrap();
    let picture = fs::read(folder.path("good.png")).unwrap();
    for own in ["t.csv", "./t.csv", "link", "good.png"] {
        folder.refuses(&["data", "check", "t.csv", "--ledger", own], &[own]);
    }
    assert_eq!(fs::read_to_string(folder.path("t.csv")).unwrap(), table);
    assert_eq!(fs::read(folder.path("good.png")).unwrap(), picture);
    for stream in ["/dev/stdout", "/dev/stderr", "/dev/fd/1"] {
        let output = check(stream);
        assert!(output.status.success(), "{}", text(&output));
        assert!(text(&output).contains("{\"file\""), "{}", text(&output));
    }
    assert!(check("/dev/null").status.success());
    // A file on standard output keeps both, in their order.
    let both = fs::File::create(folder.path("both")).unwrap();
    let mut command = folder.command(&["data", "check", "t.csv", "--ledger", "/dev/stdout"]);
    assert!(command.stdout(both).status().unwrap().success());
    let both = fs::read_to_string(folder.path("both")).unwrap();
    assert!(
        both.starts_with("{\"file\"") && both.contains("1 samples usable"),
        "{both}"
    );
    assert!(
        Command::new("mkfifo")
            .arg(folder.path("pipe"))
            .status()
            .unwrap()
            .success()
    );
    let mut reader = Command::new("cat");
    let reader = reader
        .arg(folder.path("pipe"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert!(check("pipe").status.success());
    let read = reader.wait_with_output().unwrap();
    assert!(read.stdout.starts_with(b"{\"file\""));
    assert_eq!(check("/dev/full").status.code(), Some(1));
}

#[test]
fn an_error_before_the_first_step_leaves_no_folder() {
    let folder = Folder::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/cases/clip");
    fs::create_dir(folder.path("cut")).unwrap();
    for entry in fs::read_dir(&source).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path("cut").join(entry.file_name())).unwrap();
    }
    let weights = fs::read(source.join("model.safetensors")).unwrap();
    let half = &weights[..weights.len() / 2];
    fs::write(folder.path("cut/model.safetensors"), half).unwrap();
    let base = RECIPE.split("[tokens]").next().unwrap();
    let rest = "[model]\npretrained = \"cut\"\n[train]\nsteps = 2\nbatch = 8\n";
    fs::write(folder.path("p.toml"), format!("{base}{rest}")).unwrap();
    folder.refuses(&["train", "p.toml"], &["model.safetensors"]);
    folder.refuses(
        &["train", "recipe.toml", "--set", "train.batch=100000"],
        &["train.batch"],
    );
    assert!(!folder.path("runs").exists());
}

#[test]
fn a_run_that_diverges_keeps_its_record() {
    let folder = Folder::new();
    let arguments = [
        "train",
        "recipe.toml",
        "--set",
        "train.lr=1e38",
        "--set",
        "train.warmup=0",
    ];
    let output = folder.run(&arguments);
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("`train.lr`") && said.contains("the record is in runs/small-1"),
        "{said}"
    );
    let records = fs::read_dir(folder.path("runs/small-1/records")).unwrap();
    assert_eq!(records.count(), 1);
}

#[test]
fn a_run_that_diverged_is_exported_with_a_warning() {
    let folder = Folder::new();
    for (lr, status, is_told) in [("1e-3", 0, false), ("1e38", 1, true)] {
        let run = format!("runs-{lr}/small-1");
        let keys = [
            &format!("run.dir=runs-{lr}"),
            &format!("train.lr={lr}"),
            "train.warmup=0",
        ];
        let keys = keys.into_iter().flat_map(|key| ["--set", key]);
        let arguments: Vec<_> = ["train", "recipe.toml"].into_iter().chain(keys).collect();
        let output = folder.run(&arguments);
        assert_eq!(output.status.code(), Some(status), "{}", text(&output));
        let out = format!("export-{lr}");
        let output = folder.run(&["export", "--run", &run, "--out", &out]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let warning = said.lines().find(|line| line.starts_with("warning:"));
        assert_eq!(warning.is_some(), is_told, "{said}");
        if let Some(warning) = warning {
            assert!(
                warning.contains("_embedding.weight` ") && warning.contains("diverged"),
                "{said}"
            );
        }
        assert!(folder.path(&out).join("model.safetensors").exists());
    }
}

/// The commands that a run's last lines give.
fn commands(said: &str) -> Vec<String> {
    let program = env!("CARGO_BIN_EXE_shoestring");
    let lines = said
        .lines()
        .filter_map(|line| line.split_once(&format!(": {program} ")));
    lines.map(|(_, rest)| format!("{program} {rest}")).collect()
}

#[test]
fn the_last_lines_of_a_run_are_commands_that_work() {
    let folder = Folder::new();
    folder.picture("good.png");
    folder.table("TABLE", "filepath\ttitle\ngood.png\tone\ngood.png\ttwo\n");
    let unevaluated = RECIPE.replace("[[data.val]]\nkind = \"shapes\"\nsplit = \"val\"\n", "");
    fs::write(folder.path("unevaluated.toml"), unevaluated).unwrap();
    for (recipe, dir, words) in [
        ("recipe.toml", "a folder", &["export", "train"][..]),
        ("unevaluated.toml", "runs", &["eval", "export", "train"]),
    ] {
        let output = folder.run(&["train", recipe, "--set", &format!("run.dir={dir}")]);
        assert!(output.status.success(), "{}", text(&output));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let commands = commands(&said);
        let second = |command: &String| command.split(' ').nth(1).map(str::to_owned);
        let found: Vec<_> = commands.iter().filter_map(second).collect();
        assert_eq!(found, words, "{said}");
        for command in commands {
            let mut shell = Command::new("sh");
            shell.args(["-c", &command]).current_dir(folder.path(""));
            let output = shell.output().unwrap();
            assert!(output.status.success(), "{command}: {}", text(&output));
        }
    }
    let steps = fs::read_to_string(folder.path("runs/small-1/metrics.jsonl")).unwrap();
    assert_eq!(
        steps.matches("grad_norm").count(),
        8,
        "the run that went on"
    );
}
