//! From what the user gives to one tree: preset, recipe, command line, each laid over the one before.

use std::path::{Path, PathBuf};

use super::embedded::{self, PRESETS, SIZES};
use super::error::{RecipeError, hint};
use super::tree::{Node, Origin, Value};

/// The parts of the longest key that `--set` takes, well above those of any field. A tree as deep as an argument may be
/// long would exhaust the stack.
const MAX_DEPTH: usize = 16;

/// What the command line lays over a recipe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `KEY=VALUE` as in `train.lr=3e-4`; a later one wins.
    pub set: Vec<String>,
    /// Tables, JSON lines, shards or folders to train on, in place of the recipe's sources.
    pub train: Vec<PathBuf>,
    /// The same to evaluate on.
    pub val: Vec<PathBuf>,
}

/// The tree of a recipe's text with everything laid over and under it.
pub(super) fn build(
    text: &str,
    origin: &Origin,
    overrides: &Overrides,
    cwd: &Path,
) -> Result<Node, RecipeError> {
    let mut layers = vec![Node::parse(text, origin)?];
    for (option, tables) in [("train", &overrides.train), ("val", &overrides.val)] {
        if !tables.is_empty() {
            layers.push(table_layer(option, tables, cwd));
        }
    }
    for text in &overrides.set {
        layers.push(set_layer(text, cwd)?);
    }
    // The last one to name a preset chooses it, but all of them overlay it.
    let named = layers.iter().rev().find_map(|layer| layer.text("preset"));
    let preset = named.map(|(name, place)| preset(name, place)).transpose()?;
    let mut whole = preset.unwrap_or_else(|| empty(origin));
    for layer in layers {
        whole = whole.overlaid(with_sizes(layer)?);
    }
    Ok(whole)
}

fn preset(name: &str, place: &Origin) -> Result<Node, RecipeError> {
    let text =
        embedded::find(PRESETS, name).ok_or_else(|| unknown("preset", name, place, PRESETS))?;
    with_sizes(Node::parse(
        text,
        &Origin::new(format!("preset {name}"), Path::new("")),
    )?)
}

/// A layer with the sizes that its `model.preset` names laid under its model. Layer by layer, so that a preset named
/// in an overlay wins over sizes spelled out below it.
fn with_sizes(layer: Node) -> Result<Node, RecipeError> {
    let Some((name, place)) = layer.get("model").and_then(|model| model.text("preset")) else {
        return Ok(layer);
    };
    let text =
        embedded::find(SIZES, name).ok_or_else(|| unknown("model.preset", name, place, SIZES))?;
    let sizes = Node::parse(text, &Origin::new(format!("sizes {name}"), Path::new("")))?;
    Ok(sizes.nested(&["model"]).overlaid(layer))
}

fn unknown(key: &str, found: &str, place: &Origin, known: &[(&str, &'static str)]) -> RecipeError {
    let known: Vec<_> = known.iter().map(|(name, _)| *name).collect();
    RecipeError::UnknownChoice {
        place: place.clone(),
        key: key.to_owned(),
        found: found.to_owned(),
        hint: hint(found, &known, ""),
    }
}

fn empty(origin: &Origin) -> Node {
    Node {
        value: Value::Table(std::collections::BTreeMap::new()),
        origin: origin.clone(),
    }
}

fn set_layer(text: &str, cwd: &Path) -> Result<Node, RecipeError> {
    let malformed = || RecipeError::Set {
        text: text.to_owned(),
    };
    let (key, value) = text.split_once('=').ok_or_else(malformed)?;
    let keys: Vec<&str> = key.trim().split('.').map(str::trim).collect();
    if keys.iter().any(|key| key.is_empty()) {
        return Err(malformed());
    }
    if let Some(start) = keys.get(..MAX_DEPTH).filter(|start| *start != keys) {
        return Err(RecipeError::UnknownKey {
            place: Origin::new("--set", cwd),
            key: start.join("."),
            hint: format!("no key has more than {MAX_DEPTH} parts"),
        });
    }
    Ok(Node::parse_value(value.trim(), &Origin::new(format!("--set {text}"), cwd)).nested(&keys))
}

fn table_layer(option: &str, tables: &[PathBuf], cwd: &Path) -> Node {
    let origin = Origin::new(format!("--{option}"), cwd);
    let node = |value| Node {
        value,
        origin: origin.clone(),
    };
    let text = |text: &str| node(Value::String(text.to_owned()));
    let sources = tables.iter().map(|path| {
        let path_text = path.to_string_lossy();
        let kind = kind_of(&cwd.join(path));
        let place = match kind {
            "webdataset" => ("shards", node(Value::Array(vec![text(&path_text)]))),
            _ => ("path", text(&path_text)),
        };
        let entries = [("kind", text(kind)), place];
        let entries = entries.map(|(key, value)| (key.to_owned(), value));
        node(Value::Table(entries.into()))
    });
    node(Value::Array(sources.collect())).nested(&["data", option])
}

/// What a source named on the command line is, by its name.
pub(crate) fn kind_of(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("tar") => "webdataset",
        Some("jsonl" | "ndjson") => "jsonl",
        _ if path.is_dir() => "folder",
        _ => "table",
    }
}
