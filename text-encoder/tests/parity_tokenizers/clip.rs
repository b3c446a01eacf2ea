//! CLIP's vocabulary: ids, cleaning, decoding and rows of `open_clip` and of `transformers`.

use serde_json::Value;
use text_encoder::tokenizer::{Cleaning, Padding, Tokenizer};

use super::{Folder, ids, only_keys, same_rows, texts};

/// A fixture made with `open_clip` and `transformers`: the merge list, and the same as `tokenizer.json`.
pub(crate) fn compare(folder: &mut Folder, meta: &Value) {
    let merges = meta["files"]
        .as_object()
        .expect("files")
        .keys()
        .find(|name| name.ends_with(".txt.gz"))
        .cloned();
    let merges = folder.bytes(&merges.expect("a merge list"));
    let open_clip = Tokenizer::clip_bpe(&merges).expect("reads");
    let as_is = Tokenizer::clip_bpe(&merges)
        .expect("reads")
        .with_cleaning(Cleaning::AsIs);
    let canonical = Tokenizer::clip_bpe(&merges)
        .expect("reads")
        .with_cleaning(Cleaning::Canonicalize);
    let hugging_face = Tokenizer::from_json(&folder.bytes("tokenizer.json")).expect("reads");
    let cases = folder.json("cases.json");
    let (mut mojibake, mut disagreements) = (0, 0);
    for case in cases.as_array().expect("cases") {
        let known = [
            "text",
            "cleaned",
            "ids",
            "decoded",
            "canonicalized_ids",
            "hf_ids",
            "hf_agrees",
        ];
        only_keys(case, &known);
        let (text, cleaned) = (
            case["text"].as_str().expect("text"),
            case["cleaned"].as_str().expect("cleaned"),
        );
        let want = ids(&case["ids"]);
        let caption = without_mojibake(text, cleaned);
        mojibake += usize::from(caption != text);
        assert_eq!(Cleaning::Lower.apply(&caption), cleaned, "{text:?}");
        assert_eq!(as_is.encode(cleaned).expect("encodes"), want, "{cleaned:?}");
        assert_eq!(
            open_clip.encode(&caption).expect("encodes"),
            want,
            "{text:?}"
        );
        assert_eq!(
            open_clip.encode(&caption).expect("encodes"),
            want,
            "{text:?}, cached"
        );
        assert_eq!(
            case["decoded"],
            open_clip.decode_with_specials(&want).expect("decodes"),
            "{text:?}"
        );
        assert_eq!(
            canonical.encode(&caption).expect("encodes"),
            ids(&case["canonicalized_ids"]),
            "{text:?}"
        );
        let hf_ids = ids(&case["hf_ids"]);
        assert_eq!(
            hugging_face.encode(text).expect("encodes"),
            hf_ids,
            "{text:?}"
        );
        assert_eq!(case["hf_agrees"], hf_ids == want, "{text:?}");
        disagreements += usize::from(hf_ids != want);
        if !spells_special(cleaned, &[&open_clip, &hugging_face]) {
            assert_eq!(
                hugging_face.encode(cleaned).expect("encodes"),
                want,
                "{cleaned:?}"
            );
        }
    }
    assert_eq!(meta["hf_disagreements"], disagreements);
    assert_eq!(meta["strings"], cases.as_array().expect("cases").len());
    println!(
        "{} strings, of which {mojibake} with mojibake repaired by the test",
        meta["strings"]
    );
    compare_batches(folder, open_clip, hugging_face, &cases);
}

/// The rows of `batches.json`: `context_N` as open_clip, `hf_N_ids` and `hf_N_mask` as `transformers` pads them.
fn compare_batches(
    folder: &mut Folder,
    open_clip: Tokenizer,
    hugging_face: Tokenizer,
    cases: &Value,
) {
    let batches = folder.json("batches.json");
    let captions = texts(&batches["texts"]);
    let cleaned = |text: &String| {
        let case = cases
            .as_array()
            .expect("cases")
            .iter()
            .find(|case| case["text"] == *text)
            .expect("is a case");
        without_mojibake(text, case["cleaned"].as_str().expect("cleaned"))
    };
    let repaired = captions.iter().map(cleaned).collect::<Vec<_>>();
    let end = hugging_face.end_id().expect("an end token");
    let open_clip_trimmed = open_clip.encode_batch(&repaired, 77).expect("encodes");
    let open_clip = open_clip.with_padding(Padding::Context);
    let hugging_face = hugging_face.with_padding(Padding::Context).with_pad_id(end);
    for (key, rows) in batches.as_object().expect("rows") {
        let number = key.split('_').find_map(|part| part.parse::<usize>().ok());
        match (key.as_str(), number) {
            ("texts", _) => {}
            (key, Some(context)) if key.starts_with("context_") => {
                let batch = open_clip.encode_batch(&repaired, context).expect("encodes");
                same_rows(&batch, rows, None, &folder.path);
            }
            (key, Some(context)) if key.starts_with("hf_") && key.ends_with("_ids") => {
                let batch = hugging_face
                    .encode_batch(&captions, context)
                    .expect("encodes");
                same_rows(
                    &batch,
                    rows,
                    Some(&batches[format!("hf_{context}_mask")]),
                    &folder.path,
                );
            }
            (key, Some(context)) if key.ends_with("_mask") => {
                assert!(batches.get(format!("hf_{context}_ids")).is_some())
            }
            _ => panic!(
                "{}: {key} of batches.json is not compared",
                folder.path.display()
            ),
        }
    }
    let whole = open_clip.encode_batch(&repaired, 77).expect("encodes");
    for row in 0..whole.batch {
        assert_eq!(
            open_clip_trimmed.row(row),
            &whole.row(row)[..open_clip_trimmed.tokens]
        );
    }
}

/// The text itself where our cleaning makes `cleaned` of it; else the text with its mojibake undone, which is the one
/// step of ftfy that we lack. The caller still compares the result with `cleaned`.
fn without_mojibake(text: &str, cleaned: &str) -> String {
    if Cleaning::Lower.apply(text) == cleaned {
        return text.to_string();
    }
    let mut out = String::new();
    let mut run = (String::new(), Vec::new());
    for c in text.chars().chain(['\0']) {
        if let Some(byte) = windows_1252(c) {
            run.0.push(c);
            run.1.push(byte);
            continue;
        }
        let (was, bytes) = std::mem::take(&mut run);
        out.push_str(&String::from_utf8(bytes).unwrap_or(was));
        out.push(c);
    }
    out.pop();
    assert_ne!(
        out, text,
        "no mojibake, yet our cleaning is not open_clip's"
    );
    out
}

/// The byte above 0x7f that Windows-1252 reads as `c`.
fn windows_1252(c: char) -> Option<u8> {
    let upper = "€\u{81}‚ƒ„…†‡ˆ‰Š‹Œ\u{8d}Ž\u{8f}\u{90}‘’“”•–—˜™š›œ\u{9d}žŸ";
    let at = upper
        .chars()
        .position(|known| known == c)
        .map(|at| 0x80 + at as u8);
    at.or_else(|| u8::try_from(c as u32).ok().filter(|byte| *byte >= 0x80))
}

fn spells_special(text: &str, tokenizers: &[&Tokenizer]) -> bool {
    tokenizers
        .iter()
        .flat_map(|tokenizer| [tokenizer.start_id(), tokenizer.end_id()].map(|id| (tokenizer, id)))
        .any(|(tokenizer, id)| {
            let spelled = tokenizer
                .decode_with_specials(&[id.expect("a special token")])
                .expect("decodes");
            text.contains(&spelled)
        })
}
