//! Token ids against Python's `tokenizers`, `transformers` and `open_clip`, for every folder of `tokenizers/` below
//! `SHOESTRING_FIXTURES` (default: `fixtures/` of the repository). `tokenizers/clip` holds a third party's vocabulary
//! and is not in the repository.

#![allow(clippy::disallowed_methods, reason = "reads fixtures")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;
use text_encoder::tokenizer::{Padding, TokenBatch, Tokenizer, WordPieceConfig};

mod clip;
mod files;

#[test]
fn parity_tokenizers() {
    let root = match std::env::var_os("SHOESTRING_FIXTURES") {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures"),
    };
    let family = root.join("tokenizers");
    let entries =
        std::fs::read_dir(&family).unwrap_or_else(|error| panic!("{}: {error}", family.display()));
    let mut folders = entries
        .map(|entry| entry.expect("lists").path())
        .filter(|path| path.is_dir())
        .collect::<Vec<_>>();
    folders.sort();
    assert!(!folders.is_empty(), "no tokenizers in {}", family.display());
    for path in folders {
        let mut folder = Folder {
            path,
            read: BTreeSet::new(),
        };
        let meta = folder.json("meta.json");
        let listed = meta["files"]
            .as_object()
            .expect("lists its files")
            .keys()
            .cloned()
            .collect::<BTreeSet<_>>();
        if listed.iter().any(|name| name.ends_with(".txt.gz")) {
            clip::compare(&mut folder, &meta);
        } else if listed.contains("tokenizer_config.json") {
            files::compare(&mut folder, &listed);
        } else {
            plain(&mut folder, &meta);
        }
        folder.read.remove("meta.json");
        assert_eq!(
            folder.read,
            listed,
            "{}: every listed file is compared",
            folder.path.display()
        );
    }
}

/// A fixture, and which of its files were used.
struct Folder {
    path: PathBuf,
    read: BTreeSet<String>,
}

impl Folder {
    fn bytes(&mut self, name: &str) -> Vec<u8> {
        self.read.insert(name.to_string());
        std::fs::read(self.path.join(name))
            .unwrap_or_else(|error| panic!("{}/{name}: {error}", self.path.display()))
    }

    fn json(&mut self, name: &str) -> Value {
        serde_json::from_slice(&self.bytes(name)).expect("is JSON")
    }
}

/// A fixture made with Python's `tokenizers`: `tokenizer.json` and perhaps BERT's `vocab.txt`.
fn plain(folder: &mut Folder, meta: &Value) {
    let file = folder.json("tokenizer.json");
    let cases = folder.json("cases.json");
    let mut tokenizers =
        vec![Tokenizer::from_json(&folder.bytes("tokenizer.json")).expect("reads")];
    if meta["files"].get("vocab.txt").is_some() {
        let text = String::from_utf8(folder.bytes("vocab.txt")).expect("is text");
        let config = WordPieceConfig {
            lowercase: file["normalizer"]["lowercase"] == true,
            max_word_chars: file["model"]["max_input_chars_per_word"]
                .as_u64()
                .expect("a number") as usize,
        };
        tokenizers.push(Tokenizer::wordpiece_vocab(&text, &config).expect("reads"));
    }
    for tokenizer in tokenizers {
        let tokenizer = tokenizer.with_padding(Padding::Context);
        assert_eq!(meta["vocab_size"], tokenizer.vocab_size());
        let saved = tokenizer.to_json().expect("saves");
        let read_back = Tokenizer::from_json(saved.as_bytes())
            .expect("reads")
            .with_padding(Padding::Context);
        // Twice: the second time the words come from the cache.
        for tokenizer in [&tokenizer, &tokenizer, &read_back] {
            plain_cases(tokenizer, &cases, &folder.path);
        }
    }
}

fn plain_cases(tokenizer: &Tokenizer, cases: &Value, path: &Path) {
    only_keys(
        cases,
        &["length", "cases", "padded_ids", "padded_mask", "pairs"],
    );
    for case in cases["cases"].as_array().expect("cases") {
        only_keys(case, &["text", "ids", "tokens", "ids_plain", "decoded"]);
        let text = case["text"].as_str().expect("text");
        let at = format!("{}: {text:?}", path.display());
        assert_eq!(
            tokenizer.encode_with_specials(text).expect("encodes"),
            ids(&case["ids"]),
            "{at}"
        );
        assert_eq!(
            tokenizer.encode(text).expect("encodes"),
            ids(&case["ids_plain"]),
            "{at}"
        );
        assert_eq!(
            tokenizer.tokens(text).expect("encodes"),
            texts(&case["tokens"]),
            "{at}"
        );
        assert_eq!(
            case["decoded"],
            tokenizer.decode(&ids(&case["ids"])).expect("decodes"),
            "{at}"
        );
    }
    let captions = cases["cases"]
        .as_array()
        .expect("cases")
        .iter()
        .map(|case| case["text"].as_str().expect("text"));
    let captions = captions.collect::<Vec<_>>();
    let length = cases["length"].as_u64().expect("length") as usize;
    let batch = tokenizer.encode_batch(&captions, length).expect("encodes");
    same_rows(
        &batch,
        &cases["padded_ids"],
        Some(&cases["padded_mask"]),
        path,
    );
    for pair in cases["pairs"].as_array().into_iter().flatten() {
        only_keys(pair, &["a", "b", "ids", "type_ids"]);
        let got = tokenizer.encode_pair(
            pair["a"].as_str().expect("a"),
            pair["b"].as_str().expect("b"),
        );
        let got = got.expect("encodes");
        assert_eq!(
            (got.ids, got.type_ids),
            (ids(&pair["ids"]), ids(&pair["type_ids"])),
            "{}: {pair}",
            path.display()
        );
    }
}

fn same_rows(batch: &TokenBatch, rows: &Value, mask: Option<&Value>, path: &Path) {
    let rows = rows.as_array().expect("rows");
    assert_eq!(batch.batch, rows.len(), "{}", path.display());
    for (index, row) in rows.iter().enumerate() {
        let got = batch
            .row(index)
            .iter()
            .map(|&id| id as u32)
            .collect::<Vec<_>>();
        assert_eq!(got, ids(row), "{}: row {index}", path.display());
        let got_mask = &batch.mask[index * batch.tokens..(index + 1) * batch.tokens];
        assert_eq!(
            got_mask.iter().filter(|&&real| real).count(),
            batch.lengths[index]
        );
        if let Some(mask) = mask {
            let got_mask = got_mask
                .iter()
                .map(|&real| u32::from(real))
                .collect::<Vec<_>>();
            assert_eq!(
                got_mask,
                ids(&mask[index]),
                "{}: mask of row {index}",
                path.display()
            );
        }
    }
}

fn only_keys(value: &Value, known: &[&str]) {
    for key in value.as_object().expect("an object").keys() {
        assert!(
            known.contains(&key.as_str()),
            "{key:?} of the fixture is not compared"
        );
    }
}

fn ids(value: &Value) -> Vec<u32> {
    value
        .as_array()
        .expect("ids")
        .iter()
        .map(|id| id.as_u64().expect("an id") as u32)
        .collect()
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .expect("texts")
        .iter()
        .map(|text| text.as_str().expect("text").to_string())
        .collect()
}
