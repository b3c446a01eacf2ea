//! CLIP's byte-pair encoding: its alphabet, its pipeline, and its merge list.

use std::io::Read;

use serde_json::{Map, Value, json};

use super::{Cleaning, Tokenizer, TokenizerError};

/// How open_clip spells the start token.
pub(super) const START: &str = "<start_of_text>";
/// How open_clip spells the end token.
pub(super) const END: &str = "<end_of_text>";
/// What marks a symbol that ends a word.
pub(super) const END_OF_WORD: &str = "</w>";
/// Words as open_clip finds them: contractions, letters, single digits, runs of anything else.
pub(super) const PATTERN: &str = r"(?i)'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// Words as `transformers` finds them.
pub(super) const HF_PATTERN: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// Number of merges that CLIP uses; the file has more.
const MERGES: usize = 49_152 - 256 - 2;

impl Tokenizer {
    /// CLIP's tokenizer from OpenAI's merge list, `bpe_simple_vocab_16e6.txt.gz` (or its text, unpacked). Ids, special
    /// tokens (`<start_of_text>`, `<end_of_text>`), cleaning and padding (id 0) are open_clip's.
    ///
    /// The vocabulary is the 256 bytes, the 256 bytes that end a word, one symbol for each merge of lines 2 to 48895
    /// (fewer if the list is shorter), and the start and end tokens: 49408 in all.
    ///
    /// A caption that spells a special token gets that token wherever it stands; open_clip overlooks it when other
    /// punctuation comes directly before (`...<end_of_text>`).
    ///
    /// # Errors
    /// If the bytes do not unpack, are not text, or a line is not two known symbols.
    pub fn clip_bpe(gz_or_text: &[u8]) -> Result<Self, TokenizerError> {
        let text = unpack(gz_or_text)?;
        let mut symbols = byte_symbols();
        let mut known = symbols
            .iter()
            .cloned()
            .collect::<std::collections::HashSet<_>>();
        let mut merges = Vec::with_capacity(MERGES);
        for (index, line) in text.lines().enumerate().skip(1).take(MERGES) {
            let bad = |what: &str| TokenizerError::Merges {
                reason: format!("line {}: {line:?} {what}", index + 1),
            };
            let Some((left, right)) = line.split_once(' ') else {
                return Err(bad("is not two symbols with a space between them"));
            };
            if !known.contains(left) || !known.contains(right) {
                return Err(bad("joins a symbol that no earlier line makes"));
            }
            let joined = format!("{left}{right}");
            if !known.insert(joined.clone()) {
                return Err(bad("makes a symbol that an earlier line makes"));
            }
            symbols.push(joined);
            merges.push((left.to_string(), right.to_string()));
        }
        if merges.is_empty() {
            return Err(TokenizerError::Merges {
                reason: "it has no merges".to_string(),
            });
        }
        Ok(from_symbols(symbols, &merges)?.with_cleaning(Cleaning::Lower))
    }
}

/// The text of a merge list, gzipped or not.
fn unpack(bytes: &[u8]) -> Result<String, TokenizerError> {
    let bad = |reason: String| TokenizerError::Merges { reason };
    if bytes.is_empty() {
        return Err(bad("it is empty".to_string()));
    }
    let mut text = String::new();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let unpacked = flate2::read::GzDecoder::new(bytes).read_to_string(&mut text);
        unpacked.map_err(|error| bad(format!("it does not unpack: {error}")))?;
    } else {
        text = std::str::from_utf8(bytes)
            .map_err(|error| bad(format!("it is neither gzip nor text: {error}")))?
            .into();
    }
    Ok(text)
}

/// The tokenizer with these symbols and merges; the start and end tokens are appended, so that the end token has the
/// highest id.
pub(super) fn from_symbols(
    symbols: Vec<String>,
    merges: &[(String, String)],
) -> Result<Tokenizer, TokenizerError> {
    let (start, end) = (symbols.len(), symbols.len() + 1);
    let ids = symbols
        .into_iter()
        .chain([START.to_string(), END.to_string()])
        .zip(0_usize..);
    let vocab = ids
        .map(|(symbol, id)| (symbol, json!(id)))
        .collect::<Map<_, _>>();
    let added = |id: usize, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    Tokenizer::from_value(json!({
        "version": "1.0",
        "added_tokens": [added(start, START), added(end, END)],
        "normalizer": normalizer(),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Removed", "invert": true},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "post_processor": {"type": "RobertaProcessing", "cls": [START, start], "sep": [END, end],
            "trim_offsets": false, "add_prefix_space": false},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": END_OF_WORD, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": Value::Object(vocab), "merges": merges},
    }))
}

/// CLIP's normaliser, as `transformers` writes it.
pub(super) fn normalizer() -> Value {
    json!({"type": "Sequence", "normalizers": [
        {"type": "NFC"},
        {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
        {"type": "Lowercase"},
    ]})
}

/// The 512 symbols that every CLIP vocabulary starts with: each byte, and each byte at the end of a word.
pub(super) fn byte_symbols() -> Vec<String> {
    let inside = byte_alphabet().into_iter().map(|(_, c)| c.to_string());
    let last = byte_alphabet()
        .into_iter()
        .map(|(_, c)| format!("{c}{END_OF_WORD}"));
    inside.chain(last).collect()
}

/// GPT-2's spelling of bytes as visible characters, in the order of CLIP's ids: the bytes that are visible in Latin-1
/// stand for themselves, the other 68 for the characters from U+0100 on.
pub(super) fn byte_alphabet() -> Vec<(u8, char)> {
    let is_visible = |b: &u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let visible = (0..=255_u8).filter(is_visible).map(|b| (b, char::from(b)));
    let hidden = (0..=255_u8).filter(|b| !is_visible(b)).zip('\u{100}'..);
    visible.chain(hidden).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LIST: &str = "#version: 0.2\nt h\nth e</w>\nc a\nca t</w>\n";

    #[test]
    fn a_merge_list_reads_packed_and_unpacked() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(LIST.as_bytes()).expect("packs");
        let packed = packed.finish().expect("packs");
        for bytes in [LIST.as_bytes(), &packed] {
            let tokenizer = Tokenizer::clip_bpe(bytes).expect("reads");
            assert_eq!(tokenizer.vocab_size(), 512 + 4 + 2);
            assert_eq!(tokenizer.encode("The CAT").expect("encodes"), [513, 515]);
            assert_eq!(
                (tokenizer.start_id(), tokenizer.end_id()),
                (Some(516), Some(517))
            );
        }
    }

    #[test]
    fn a_broken_merge_list_is_an_error_that_names_the_line() {
        let cut = {
            let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packed.write_all(LIST.as_bytes()).expect("packs");
            let packed = packed.finish().expect("packs");
            packed[..packed.len() / 2].to_vec()
        };
        let cases: [(&[u8], &str); 8] = [
            (b"", "empty"),
            (b"#version: 0.2\n", "no merges"),
            (b"#version\nth\n", "line 2"),
            (b"#version\nt h\n\xff\xff", "neither gzip nor text"),
            (b"#version\nt h\nx y z\n", "line 3"),
            (b"#version\nt h\nt h\n", "an earlier line makes"),
            (b"\x1f\x8bnot gzip at all", "does not unpack"),
            (&cut, "does not unpack"),
        ];
        for (bytes, want) in cases {
            let error = Tokenizer::clip_bpe(bytes)
                .expect_err("is broken")
                .to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
