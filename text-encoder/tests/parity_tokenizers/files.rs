//! Folders as the originals write them, against `AutoTokenizer` for the folder and against SentencePiece.

use std::collections::BTreeSet;

use text_encoder::tokenizer::{Cleaning, Padding, Tokenizer, TokenizerFiles};

use super::{Folder, ids, only_keys};

/// A fixture whose tokenizer is read from all of its files.
pub(crate) fn compare(folder: &mut Folder, listed: &BTreeSet<String>) {
    let mut files = TokenizerFiles::default();
    for name in listed.iter().filter(|name| *name != "cases.json") {
        let bytes = folder.bytes(name);
        assert!(files.put(name, bytes), "{name} is not a tokenizer's file");
    }
    let read = || {
        let opened = Tokenizer::from_files(&files).expect("reads");
        opened.tokenizer.with_padding(Padding::Context)
    };
    let tokenizer = read();
    let saved = tokenizer.to_json().expect("writes");
    let read_back = Tokenizer::from_json(saved.as_bytes())
        .expect("reads what it has written")
        .with_cleaning(tokenizer.cleaning())
        .with_padding(Padding::Context);
    let as_it_is = read().with_cleaning(Cleaning::AsIs);
    let cases = folder.json("cases.json");
    only_keys(&cases, &["length", "pad_id", "cases"]);
    assert_eq!(cases["pad_id"], tokenizer.pad_id());
    let length = cases["length"].as_u64().expect("length") as usize;
    let mut sentencepiece = 0;
    for case in cases["cases"].as_array().expect("cases") {
        only_keys(case, &["text", "ids", "row", "sentencepiece"]);
        let text = case["text"].as_str().expect("text");
        let at = format!("{}: {text:?}", folder.path.display());
        // Twice: the second time the words come from the cache.
        for tokenizer in [&tokenizer, &tokenizer, &read_back] {
            let got = tokenizer.encode_with_specials(text).expect("encodes");
            assert_eq!(got, ids(&case["ids"]), "{at}");
            let batch = tokenizer.encode_batch(&[text], length).expect("encodes");
            let row = batch.row(0).iter().map(|&id| id as u32);
            assert_eq!(row.collect::<Vec<_>>(), ids(&case["row"]), "{at}");
        }
        if let Some(raw) = case.get("sentencepiece") {
            let got = as_it_is.encode(text).expect("encodes");
            assert_eq!(got, ids(raw), "{at}, by SentencePiece itself");
            sentencepiece += 1;
        }
    }
    let wants_sentencepiece = listed.contains("spiece.model");
    assert_eq!(sentencepiece > 20, wants_sentencepiece);
}
