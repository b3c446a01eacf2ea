//! What the files of a folder may say, and what no file may do.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use text_encoder::tokenizer::{Cleaning, Padding, Tokenizer, TokenizerError, TokenizerFiles};

/// A tokenizer with CLIP's pipeline and few words.
fn small() -> Value {
    let trained =
        Tokenizer::train_bpe(["a red cat", "a red cat"].into_iter(), 600).expect("trains");
    serde_json::from_str(&trained.to_json().expect("writes")).expect("is JSON")
}

fn unigram() -> Value {
    json!({
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [], "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
        "model": {"type": "Unigram", "unk_id": 2, "vocab": [["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0],
            ["▁", -3.0], ["a", -3.0], ["d", -3.0], ["o", -3.0], ["g", -3.0], ["A", -3.0], ["!", -3.0], ["_", -3.0]]},
    })
}

fn files(tokenizer: &Value, config: &Value) -> TokenizerFiles {
    let mut files = TokenizerFiles::default();
    assert!(files.put("tokenizer.json", tokenizer.to_string().into_bytes()));
    assert!(files.put("tokenizer_config.json", config.to_string().into_bytes()));
    files
}

fn read(tokenizer: &Value) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_json(tokenizer.to_string().as_bytes())
}

/// A change that makes a good file a bad one, and the key that the error names (none: the file as a whole).
type Damage = (&'static str, fn(&mut Value));

#[test]
fn a_file_on_which_the_library_would_stop_is_an_error_that_names_the_key() {
    let damages: [Damage; 18] = [
        ("model.vocab", |file| file["model"]["vocab"] = json!({})),
        ("padding.pad_id", |file| {
            file["padding"]["pad_id"] = json!(-1)
        }),
        ("padding.pad_id", |file| {
            file["padding"]["pad_id"] = json!(1_u64 << 40)
        }),
        ("padding.direction", |file| {
            file["padding"]["direction"] = json!("Up")
        }),
        ("model.vocab.x", |file| {
            file["model"]["vocab"]["x"] = json!(u32::MAX)
        }),
        ("model.vocab.twice", |file| {
            file["model"]["vocab"]["twice"] = json!(7);
        }),
        ("added_tokens.<new>", |file| {
            let tokens = file["model"]["vocab"]
                .as_object()
                .map_or(0, |vocab| vocab.len());
            file["model"]["vocab"]["far"] = json!(tokens + 1);
            let mut new = file["added_tokens"][0].clone();
            new["content"] = json!("<new>");
            new["id"] = json!(tokens);
            file["added_tokens"]
                .as_array_mut()
                .expect("a list")
                .push(new);
        }),
        ("added_tokens[0].id", |file| {
            file["added_tokens"][0]["id"] = json!(-3)
        }),
        ("post_processor.single", |file| {
            file["post_processor"] = json!({"type": "TemplateProcessing", "pair": [], "special_tokens": {},
                "single": [{"SpecialToken": {"id": "nope", "type_id": 0}}]});
        }),
        ("post_processor.single", |file| {
            file["post_processor"] = json!({"type": "TemplateProcessing", "pair": [], "special_tokens": {},
                "single": [{"Sequence": {"id": "B", "type_id": 0}}]});
        }),
        ("post_processor.cls", |file| {
            file["post_processor"]["cls"][1] = json!(1_u64 << 33)
        }),
        ("normalizer.precompiled_charsmap", |file| {
            file["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "AAAA"});
        }),
        ("normalizer.precompiled_charsmap", |file| {
            file["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "%"});
        }),
        ("normalizer.precompiled_charsmap", |file| {
            file["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": 3});
        }),
        ("normalizer", |file| {
            // Without a rule, but with a replacement of 64 bytes.
            let mut map = 1024_u32.to_le_bytes().to_vec();
            map.resize(4 + 1024, 0);
            map.resize(4 + 1024 + 64, b'a');
            let map =
                json!({"type": "Precompiled", "precompiled_charsmap": BASE64_STANDARD.encode(map)});
            file["normalizer"] = json!({"type": "Sequence", "normalizers": vec![map; 2]});
        }),
        ("normalizer", |file| {
            let double = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
            file["normalizer"] = json!({"type": "Sequence", "normalizers": vec![double; 40]});
        }),
        ("normalizer", |file| {
            let mut nested = json!({"type": "NFC"});
            for _ in 0..30 {
                nested = json!({"type": "Sequence", "normalizers": [nested]});
            }
            file["normalizer"] = nested;
        }),
        ("model.vocab.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", |file| {
            file["model"]["vocab"]["a".repeat(100_000)] = json!(5);
        }),
    ];
    for (want, damage) in damages {
        let mut file = small();
        damage(&mut file);
        let error = read(&file).expect_err("is damaged");
        assert!(
            matches!(&error, TokenizerError::Key { file: "tokenizer.json", key, .. } if key == want),
            "{want}: {error}"
        );
    }
}

#[test]
fn a_regular_expression_that_does_not_parse_is_an_error() {
    let mut file = small();
    file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("(a");
    assert!(matches!(read(&file), Err(TokenizerError::Json { .. })));
}

#[test]
fn the_greatest_id_counts_padding_and_special_tokens() {
    let mut file = small();
    let size = read(&file).expect("reads").vocab_size() as u32;
    assert_eq!(read(&file).expect("reads").max_id(), size - 1);
    file["padding"]["pad_id"] = json!(700);
    assert_eq!(read(&file).expect("reads").max_id(), 700);
    file["post_processor"]["sep"][1] = json!(9999);
    let tokenizer = read(&file).expect("reads");
    assert_eq!(
        (tokenizer.max_id(), tokenizer.id_of("a</w>")),
        (9999, Some(320))
    );
}

#[test]
fn padding_follows_config_then_class_then_tokenizer_json() {
    let mut padded = unigram();
    padded["padding"] = json!({"strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"});
    let cases = [
        (
            unigram(),
            json!({"pad_token": "</s>"}),
            1,
            "tokenizer_config.json",
        ),
        (
            unigram(),
            json!({"pad_token": {"content": "</s>", "lstrip": true}}),
            1,
            "tokenizer_config.json",
        ),
        (
            padded.clone(),
            json!({"tokenizer_class": "SiglipTokenizer"}),
            1,
            "by default",
        ),
        (
            padded.clone(),
            json!({"tokenizer_class": "Unheard"}),
            0,
            "tokenizer.json",
        ),
        (
            padded,
            json!({"pad_token": "!"}),
            9,
            "tokenizer_config.json",
        ),
        (
            unigram(),
            json!({"pad_token": "<new>"}),
            11,
            "tokenizer_config.json",
        ),
    ];
    for (file, config, want, source) in cases {
        let opened = Tokenizer::from_files(&files(&file, &config)).expect("reads");
        assert_eq!(opened.tokenizer.pad_id(), want, "{config}");
        let note = opened.notes.iter().find(|(what, _, _)| what == "pad_token");
        assert_eq!(note.map(|note| note.2), Some(source), "{config}");
        assert_eq!(opened.vocabulary_from, "tokenizer.json");
    }
    let mut both = files(&unigram(), &json!({"pad_token": "</s>"}));
    both.put(
        "special_tokens_map.json",
        br#"{"pad_token": "<unk>"}"#.to_vec(),
    );
    let opened = Tokenizer::from_files(&both).expect("reads");
    assert_eq!(
        opened.tokenizer.pad_id(),
        2,
        "the older file overrules a config without added_tokens_decoder"
    );
}

#[test]
fn captions_of_the_siglip_class_are_canonicalised() {
    let config = json!({"tokenizer_class": "SiglipTokenizer", "model_max_length": 1e30});
    let opened = Tokenizer::from_files(&files(&unigram(), &config)).expect("reads");
    assert_eq!(
        (opened.max_length, opened.tokenizer.cleaning()),
        (None, Cleaning::Siglip)
    );
    let same = ["A Dog!", "a dog", " A  d_og "]
        .map(|text| opened.tokenizer.encode(text).expect("encodes"));
    assert_eq!(same, [same[1].clone(), same[1].clone(), same[1].clone()]);
    let cased = json!({"tokenizer_class": "SiglipTokenizer", "do_lower_case": false});
    let cased = Tokenizer::from_files(&files(&unigram(), &cased))
        .expect("reads")
        .tokenizer;
    assert_ne!(
        cased.encode("A").expect("encodes"),
        cased.encode("a").expect("encodes")
    );
    assert_eq!(
        cased.encode("A!").expect("encodes"),
        cased.encode("A").expect("encodes")
    );
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let cases = [
        (json!({"padding_side": "up"}), "padding_side"),
        (json!({"tokenizer_class": 3}), "tokenizer_class"),
        (json!({"model_max_length": -1}), "model_max_length"),
        (json!({"pad_token": 3}), "pad_token"),
        (
            json!({"additional_special_tokens": "x"}),
            "additional_special_tokens",
        ),
        (json!({"added_tokens_decoder": []}), "added_tokens_decoder"),
        (
            json!({"split_special_tokens": true}),
            "split_special_tokens",
        ),
        (
            json!({"added_tokens_decoder": {"-1": {"content": "x"}}}),
            "added_tokens_decoder.-1",
        ),
        (
            json!({"added_tokens_decoder": {"7": 7}}),
            "added_tokens_decoder.7",
        ),
        (
            json!({"tokenizer_class": "BertTokenizer", "do_lower_case": "yes"}),
            "do_lower_case",
        ),
    ];
    for (config, want) in cases {
        let error = Tokenizer::from_files(&files(&unigram(), &config)).expect_err("is refused");
        assert!(
            matches!(&error, TokenizerError::Key { file: "tokenizer_config.json", key, .. } if key == want),
            "{config}: {error}"
        );
    }
    let bert = json!({"tokenizer_class": "BertTokenizer"});
    for config in [json!({}), bert] {
        let error = Tokenizer::from_files(&files(&json!([]), &config)).expect_err("is no object");
        assert!(matches!(error, TokenizerError::Json { .. }), "{error}");
    }
    let mut lone = TokenizerFiles::default();
    lone.put("spiece.model", vec![1, 2, 3]);
    let error = Tokenizer::from_files(&lone).expect_err("has no class");
    assert!(
        matches!(error, TokenizerError::NoVocabulary { .. }),
        "{error}"
    );
    lone.put(
        "tokenizer_config.json",
        br#"{"tokenizer_class": "SiglipTokenizer"}"#.to_vec(),
    );
    let error = Tokenizer::from_files(&lone).expect_err("is no model");
    assert!(
        matches!(
            error,
            TokenizerError::File {
                file: "spiece.model",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn extra_special_tokens_are_a_list_or_an_object_and_keep_the_decoders_flags() {
    let extra = [
        json!({"extra_special_tokens": ["<x>"]}),
        json!({"extra_special_tokens": {"image_token": "<x>"}}),
    ];
    for config in extra {
        let opened = Tokenizer::from_files(&files(&unigram(), &config)).expect("reads");
        assert_eq!(opened.tokenizer.id_of("<x>"), Some(11), "{config}");
    }
    let config = json!({"additional_special_tokens": ["<x>"],
        "added_tokens_decoder": {"11": {"content": "<x>", "lstrip": true, "special": true}}});
    let opened = Tokenizer::from_files(&files(&unigram(), &config)).expect("reads");
    let saved = opened.tokenizer.to_json().expect("writes");
    let saved: Value = serde_json::from_str(&saved).expect("is JSON");
    assert_eq!(saved["added_tokens"][0]["content"], "<x>");
    assert_eq!(saved["added_tokens"][0]["lstrip"], true);
}

#[test]
fn what_only_the_class_says_is_not_told_as_the_configs() {
    let mut only = TokenizerFiles::default();
    only.put("tokenizer.json", unigram().to_string().into_bytes());
    only.model_type = Some("siglip".to_string());
    let opened = Tokenizer::from_files(&only).expect("reads");
    assert_eq!(opened.max_length, Some(64));
    let from = |name: &str| {
        let note = opened.notes.iter().find(|(what, _, _)| what == name);
        note.map(|(_, _, file)| *file)
    };
    assert_eq!(from("cleaning"), Some("config.json"));
    assert_eq!(from("model_max_length"), Some("by default"));
}

#[test]
fn dropout_is_left_out_and_told() {
    let mut file = small();
    file["model"]["dropout"] = json!(0.5);
    let opened = Tokenizer::from_files(&files(&file, &json!({}))).expect("reads");
    assert!(
        opened
            .notes
            .iter()
            .any(|(what, _, _)| what == "model.dropout")
    );
    let plain = read(&small())
        .expect("reads")
        .encode("a red cat")
        .expect("encodes");
    for _ in 0..8 {
        assert_eq!(
            opened.tokenizer.encode("a red cat").expect("encodes"),
            plain
        );
    }
}

#[test]
fn padding_on_the_left_needs_rows_of_the_context() {
    let config = json!({"padding_side": "left", "pad_token": "<pad>"});
    let tokenizer = Tokenizer::from_files(&files(&unigram(), &config))
        .expect("reads")
        .tokenizer;
    assert!(matches!(
        tokenizer.encode_batch(&["a"], 4),
        Err(TokenizerError::PadsLeft)
    ));
    let whole = tokenizer.with_padding(Padding::Context);
    assert_eq!(
        whole.encode_batch(&["a"], 4).expect("encodes").ids,
        [0, 3, 4, 1]
    );
    let saved = whole.to_json().expect("writes");
    assert!(
        Tokenizer::from_json(saved.as_bytes())
            .expect("reads")
            .pads_left()
    );
}

#[test]
fn a_long_caption_gives_the_row_of_the_whole_caption() {
    let spm = files(&unigram(), &json!({"tokenizer_class": "SiglipTokenizer"}));
    let siglip = Tokenizer::from_files(&spm).expect("reads").tokenizer;
    let clip = read(&small()).expect("reads");
    let open_clip = read(&small())
        .expect("reads")
        .with_cleaning(Cleaning::Lower);
    let captions = [
        "a red cat ".repeat(4_000),
        "dog".repeat(10_000),
        "</s>".repeat(8_000),
        format!("{}a red cat", " ".repeat(40_000)),
        format!("{}dog a", "!".repeat(40_000)),
        format!("a &amp;amp;amp;lt; {}< b", "dog ".repeat(6_000)),
        "e\u{301}\u{302}ﬁ日本\u{200d}".repeat(2_500),
        format!("</s>{}", "a\u{a0}_d".repeat(6_000)),
    ];
    for tokenizer in [&siglip, &clip, &open_clip] {
        for caption in &captions {
            for context in [3, 77] {
                let batch = tokenizer
                    .encode_batch(&[caption], context)
                    .expect("encodes");
                let whole = tokenizer.encode_with_specials(caption).expect("encodes");
                let length = batch.lengths[0];
                let end = tokenizer.end_id().expect("an end token");
                let row = batch.row(0)[..length]
                    .iter()
                    .map(|&id| id as u32)
                    .collect::<Vec<_>>();
                let mut want = whole[..whole.len().min(context)].to_vec();
                want[length - 1] = end;
                assert_eq!(
                    row,
                    want,
                    "{:?}",
                    &caption[..caption.floor_char_boundary(20)]
                );
            }
        }
    }
}

#[test]
fn an_export_of_an_export_repeats_no_step_of_the_cleaning() {
    let normalizer = |tokenizer: Tokenizer| {
        let tokenizer = tokenizer.with_cleaning(Cleaning::Canonicalize);
        let exported = tokenizer.export_files(77, false).expect("exports");
        let (_, bytes) = &exported.files[0];
        let again = Tokenizer::from_json(bytes).expect("reads");
        let file: Value = serde_json::from_slice(bytes).expect("is JSON");
        (file["normalizer"].clone(), again)
    };
    let (first, again) = normalizer(read(&small()).expect("reads"));
    assert_eq!(normalizer(again).0, first);
}

#[test]
fn exported_files_read_back_with_the_same_ids() {
    let config = json!({"tokenizer_class": "SiglipTokenizer"});
    let siglip = Tokenizer::from_files(&files(&unigram(), &config))
        .expect("reads")
        .tokenizer;
    let clip = read(&small()).expect("reads");
    let canonical = read(&small())
        .expect("reads")
        .with_cleaning(Cleaning::Canonicalize);
    for (tokenizer, pads_matter) in [(siglip, true), (clip, false), (canonical, false)] {
        let exported = tokenizer.export_files(77, pads_matter).expect("exports");
        let mut again = TokenizerFiles::default();
        for (name, bytes) in exported.files {
            assert!(again.put(name, bytes), "{name}");
        }
        let again = Tokenizer::from_files(&again).expect("reads");
        assert_eq!(again.max_length, Some(77));
        if pads_matter {
            assert_eq!(again.tokenizer.pad_id(), tokenizer.pad_id());
        }
        for text in ["A dog!", "a_d  o\tg", "", "..", "ΑΣ", "don't go, cat"] {
            assert_eq!(
                again.tokenizer.encode_with_specials(text).expect("encodes"),
                tokenizer.encode_with_specials(text).expect("encodes"),
                "{text:?}"
            );
        }
    }
}
