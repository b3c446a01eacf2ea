//! Signals, terminals that close, readers that have gone and disks that are full, with real processes.

use std::{
    fs::{self, OpenOptions},
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use nix::{
    pty::openpty,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::folder::{Folder, RECIPE, metrics, steps_done, text};

/// Waits until something holds, for two minutes at most.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "{what}: not in two minutes"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn send(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).unwrap();
}

/// Arguments of a run that goes on until it is told to stop, and saves nothing before.
pub(crate) const ENDLESS: [&str; 6] = [
    "train",
    "recipe.toml",
    "--set",
    "train.steps=100000",
    "--set",
    "run.save_every=end",
];

pub(crate) fn spawn(folder: &Folder, arguments: &[&str]) -> Child {
    let mut command = folder.command(arguments);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

pub(crate) fn has_steps(run: &Path) -> bool {
    fs::metadata(run.join("metrics.jsonl")).is_ok_and(|file| file.len() > 0)
}

fn records(run: &Path) -> usize {
    fs::read_dir(run.join("records")).map_or(0, Iterator::count)
}

/// A recipe whose evaluations take far longer than its steps.
fn slow_evaluation() -> Folder {
    let folder = Folder::new();
    let source = "[[data.val]]\nkind = \"shapes\"\nsplit = \"val\"\n";
    let recipe = RECIPE
        .replace("\nval = 32", "\nval = 3000")
        .replace(source, &source.repeat(3))
        .replace("steps = 4", "steps = 20\neval_every = 1");
    fs::write(folder.path("recipe.toml"), recipe).unwrap();
    folder
}

#[test]
fn a_signal_stops_an_evaluation_which_is_done_when_the_run_goes_on() {
    let folder = slow_evaluation();
    let whole = folder.run(&["train", "recipe.toml"]);
    assert!(whole.status.success(), "{}", text(&whole));
    let run = folder.path("runs/small-2");
    // An epoch has 16 steps: one evaluation is in the middle, one at the end.
    for (step, arguments) in [
        (16, &["train", "recipe.toml"][..]),
        (20, &["train", "--resume", "runs/small-2"]),
    ] {
        let mut child = spawn(&folder, arguments);
        until("a step before an evaluation", || steps_done(&run) >= step);
        send(&child, Signal::SIGINT);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let scores = fs::read_to_string(run.join("scores.json")).unwrap_or_default();
        assert!(!scores.contains(&format!("\"step\": {step}")), "{scores}");
        let record = run.join(format!("records/step-{step:08}"));
        assert!(record.exists());
    }
    let eval = folder.run(&["eval", "runs/small-2", "--set", "data.shapes.val=32"]);
    assert!(eval.status.success(), "{}", text(&eval));
    let rest = folder.run(&["train", "--resume", "runs/small-2"]);
    assert!(rest.status.success(), "{}", text(&rest));
    assert_eq!(metrics(&folder.path("runs/small-1")), metrics(&run));
    let again = folder.run(&["train", "--resume", "runs/small-2"]);
    assert!(text(&again).contains("complete"), "{}", text(&again));
}

#[test]
fn an_evaluation_that_was_killed_costs_no_weights() {
    let folder = slow_evaluation();
    let mut child = spawn(&folder, &["train", "recipe.toml"]);
    let run = folder.path("runs/small-1");
    let record = run.join("records/step-00000020");
    until("the last record", || record.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    folder.picture("good.png");
    folder.table("t.csv", "filepath\ttitle\ngood.png\tone\ngood.png\ttwo\n");
    let rest = folder.run(&["train", "--resume", "runs/small-1", "--val", "t.csv"]);
    assert!(rest.status.success(), "{}", text(&rest));
    assert!(
        text(&rest).contains("going on after step 20"),
        "{}",
        text(&rest)
    );
    let evaluated = metrics(&run);
    let evaluated = evaluated
        .iter()
        .filter(|line| line.get("retrieval").is_some());
    assert_eq!(evaluated.count(), 3 + 1);
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let folder = Folder::new();
    let mut child = spawn(&folder, &ENDLESS);
    let run = folder.path("runs/small-1");
    until("a step", || has_steps(&run));
    // Both wait until it goes on, and come before another step ends.
    for signal in [
        Signal::SIGSTOP,
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGCONT,
    ] {
        send(&child, signal);
    }
    // Which of the two is handled first is the system's choice.
    let ends = [Signal::SIGINT, Signal::SIGTERM].map(|signal| Some(128 + signal as i32));
    let code = child.wait().unwrap().code();
    assert!(ends.contains(&code), "{code:?}");
    assert_eq!(records(&run), 0);
}

#[test]
fn a_terminal_that_closes_lets_the_run_save_and_stop() {
    let folder = Folder::new();
    let terminal = openpty(None, None).unwrap();
    // Copies, which no child gets: those of `openpty` are inherited.
    let (master, slave) = (
        terminal.master.try_clone().unwrap(),
        terminal.slave.try_clone().unwrap(),
    );
    drop(terminal);
    let stream = || Stdio::from(slave.try_clone().unwrap());
    let shoestring = folder.command(&ENDLESS);
    let mut child = std::process::Command::new("setsid")
        .arg("--ctty")
        .arg(shoestring.get_program())
        .args(shoestring.get_args())
        .current_dir(folder.path(""))
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .spawn()
        .unwrap();
    drop(slave);
    let run = folder.path("runs/small-1");
    until("a step", || has_steps(&run));
    drop(master);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(records(&run), 1);
}

#[test]
fn a_run_that_is_to_outlive_its_terminal_does() {
    let folder = Folder::new();
    let script = "trap '' HUP; exec \"$@\"";
    let shoestring = folder.command(&ENDLESS);
    let mut child = std::process::Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(shoestring.get_program())
        .args(shoestring.get_args())
        .current_dir(folder.path(""))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let run = folder.path("runs/small-1");
    until("a step", || has_steps(&run));
    send(&child, Signal::SIGHUP);
    let before = fs::metadata(run.join("metrics.jsonl")).unwrap().len();
    until("steps after it", || {
        fs::metadata(run.join("metrics.jsonl")).unwrap().len() > 4 * before
    });
    send(&child, Signal::SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn messages_that_nobody_can_read_end_no_run() {
    let folder = Folder::new();
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = folder.command(&["train", "recipe.toml"]);
    let status = command.stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    let mut command = folder.command(&["train", "recipe.toml"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let lines = metrics(&folder.path("runs/small-1"));
    assert!(lines.len() > 4);
    assert_eq!(lines, metrics(&folder.path("runs/small-2")));
    // What has no other product than its words fails without them, but not where the reader wanted no more.
    let mut command = folder.command(&["eval", "runs/small-1"]);
    assert_eq!(command.stdout(full()).status().unwrap().code(), Some(1));
    let mut child = folder
        .command(&["eval", "runs/small-1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
