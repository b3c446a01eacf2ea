//! A folder of its own for each test, and the program run in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use tempfile::TempDir;

/// A recipe that trains in a second.
pub(crate) const RECIPE: &str = r#"
name = "small"
[data.shapes]
size = 32
train = 256
val = 32
held_out = 32
[[data.train]]
kind = "shapes"
split = "train"
[[data.val]]
kind = "shapes"
split = "val"
[tokens]
kind = "bpe"
vocab = 600
[model]
family = "clip"
embed_dim = 32
[model.vision]
image_size = 32
patch_size = 8
d_model = 32
n_layers = 1
n_heads = 2
[model.text]
context = 32
d_model = 32
n_layers = 1
n_heads = 2
[train]
steps = 4
batch = 16
warmup = 1
log_every = 1
"#;

pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = Self(TempDir::new().unwrap());
        fs::write(folder.path("recipe.toml"), RECIPE).unwrap();
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoestring"));
        command.current_dir(self.0.path()).args(arguments);
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs what must fail with status 1, saying all of `words`, without a panic.
    pub(crate) fn refuses(&self, arguments: &[&str], words: &[&str]) {
        let output = self.run(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
        for word in words {
            assert!(
                text.contains(word),
                "{arguments:?}: `{word}` is not in: {text}"
            );
        }
    }

    pub(crate) fn table(&self, name: &str, rows: &str) {
        fs::write(self.path(name), rows).unwrap();
    }

    /// A picture that can be read, and its name.
    pub(crate) fn picture(&self, name: &str) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fixtures/images/preprocess/files/small.png");
        fs::copy(source, self.path(name)).unwrap();
    }
}

/// All that a program said.
pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// The lines of the metrics without what depends on the machine.
pub(crate) fn metrics(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("machine");
        line
    });
    lines.collect()
}

/// Optimizer steps that a run has logged.
pub(crate) fn steps_done(run: &Path) -> usize {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap_or_default();
    text.lines()
        .filter(|line| line.contains("grad_norm"))
        .count()
}
