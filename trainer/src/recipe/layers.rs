//! From what the user gives to one tree: preset, recipe, command line, each laid over the one before.

use std::path::{Path, PathBuf};

use data::SourceKind;

use super::embedded::{self, PRESETS, SIZES};
use super::error::{RecipeError, hint};
use super::origin::Origin;
use super::tree::{Node, Value};

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
    let has = |tree: &Node, key: &str| {
        let model = tree.get("model");
        model.is_some_and(|model| model.get(key).is_some())
    };
    for (key, brings) in BROUGHT_BY_WEIGHTS {
        if has(&whole, key) {
            brings
                .iter()
                .for_each(|key| forget_embedded(&mut whole, key));
        }
    }
    if has(&whole, "pretrained") || has(&whole, "pretrained_text") {
        // `tokens.cleaning` alone is about the tokenizer of the weights.
        whole.default_text("tokens", "kind", "pretrained");
    }
    if !overrides.train.is_empty() && overrides.val.is_empty() {
        forget_embedded(&mut whole, "data.val");
    }
    Ok(whole)
}

/// What a folder of weights says of itself, by the key that names it. There, a preset or a recipe that came with the
/// program has no say; the user has.
const BROUGHT_BY_WEIGHTS: [(&str, &[&str]); 5] = [
    ("pretrained", &["model.family"]),
    ("pretrained", &["tokens"]),
    ("pretrained", &PICTURES),
    ("pretrained_vision", &PICTURES),
    ("pretrained_text", &["tokens"]),
];

/// How pictures are preprocessed.
const PICTURES: [&str; 6] = [
    "image.preprocessing",
    "image.resize",
    "image.size",
    "image.interpolation",
    "image.mean",
    "image.std",
];

fn forget_embedded(tree: &mut Node, key: &str) {
    let node = key.split('.').try_fold(&*tree, |node, part| node.get(part));
    if node.is_some_and(|node| !node.says_anything()) {
        tree.remove(key);
    }
}

fn preset(name: &str, place: &Origin) -> Result<Node, RecipeError> {
    let text =
        embedded::find(PRESETS, name).ok_or_else(|| unknown("preset", name, place, PRESETS))?;
    with_sizes(Node::parse(
        text,
        &Origin::embedded(format!("preset {name}"), Path::new("")),
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
    let sizes = Node::parse(
        text,
        &Origin::embedded(format!("sizes {name}"), Path::new("")),
    )?;
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
    if keys.len() > MAX_DEPTH {
        return Err(RecipeError::UnknownKey {
            place: Origin::new("--set", cwd),
            key: keys[..MAX_DEPTH].join("."),
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
    // Shards that stand side by side are one set, as a shell expands `data/*.tar`.
    let mut sources: Vec<Given> = Vec::new();
    for path in tables {
        let given = Given::of(path, cwd);
        match sources.last_mut() {
            Some(last) if last.kind == SHARDS && given.kind == SHARDS => {
                last.paths.extend(given.paths);
            }
            _ => sources.push(given),
        }
    }
    let sources = sources.iter().map(|given| {
        let paths = given.paths.iter().map(|path| text(&path.to_string_lossy()));
        let mut paths: Vec<_> = paths.collect();
        let place = if given.kind == SHARDS {
            ("shards", node(Value::Array(paths)))
        } else {
            ("path", paths.swap_remove(0))
        };
        let split = given.split.as_deref().map(|split| ("split", text(split)));
        let entries = [("kind", text(given.kind)), place].into_iter().chain(split);
        let entries = entries.map(|(key, value)| (key.to_owned(), value));
        node(Value::Table(entries.collect()))
    });
    node(Value::Array(sources.collect())).nested(&["data", option])
}

const SHARDS: &str = "webdataset";

/// What the command line names as one source.
struct Given {
    /// The `kind` that a recipe has for it.
    kind: &'static str,
    /// What is opened, from the current folder if it is relative: one path unless it is of shards.
    paths: Vec<PathBuf>,
    split: Option<String>,
}

impl Given {
    /// What a path is by what it holds. Of what cannot be read the name has to do: the error comes when it is opened.
    fn of(path: &Path, cwd: &Path) -> Self {
        let (path, split) = without_split(path, cwd);
        let (kind, opened) = match data::recognise(cwd.join(&path)) {
            Ok((kind, opened)) => (word(kind), opened),
            Err(_) => (kind_by_name(&path), path.clone()),
        };
        // What the folder of the run puts before the path, it takes off again.
        let opened = match opened.strip_prefix(cwd) {
            Ok(relative) if !path.is_absolute() => relative.to_path_buf(),
            _ => opened,
        };
        Self {
            kind,
            paths: vec![opened],
            split,
        }
    }
}

/// Takes the split off `dataset_coco.json#val`, unless a file has that very name.
fn without_split(path: &Path, cwd: &Path) -> (PathBuf, Option<String>) {
    let text = path.to_str().filter(|_| !cwd.join(path).exists());
    match text.and_then(|text| text.rsplit_once('#')) {
        Some((file, split)) if !split.is_empty() && cwd.join(file).is_file() => {
            (file.into(), Some(split.to_owned()))
        }
        _ => (path.into(), None),
    }
}

/// The `kind` of a source in a recipe.
fn word(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Table => "table",
        SourceKind::JsonLines => "jsonl",
        SourceKind::Json => "json",
        SourceKind::Parquet => "parquet",
        SourceKind::Shards => SHARDS,
        SourceKind::Classes => "folder",
        SourceKind::Captioned => "captioned",
    }
}

/// What a source that cannot be looked into is, by its name.
fn kind_by_name(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("tar") => SHARDS,
        Some("jsonl" | "ndjson") => "jsonl",
        Some("json") => "json",
        Some("parquet") => "parquet",
        _ => "table",
    }
}
