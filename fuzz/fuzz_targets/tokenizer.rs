//! Tokenizer files of a folder. An input is several files, each after a line with its name.

#![no_main]

// Its allocator refuses what no input can need.
use fuzz as _;
use libfuzzer_sys::fuzz_target;
use text_encoder::tokenizer::{Cleaning, Padding, Tokenizer, TokenizerFiles};

/// What stands between two files.
const BETWEEN: &str = "\n-----\n";

/// Captions with what tokenizers treat apart.
const CAPTIONS: [&str; 6] = [
    "",
    "A photo of two dogs, don't_run!",
    "  cafe\u{301} \u{1112}\u{1161}\u{11ab}\t\u{ff26}ull \u{2581}x\u{200d}\u{1f469} ",
    "</s> [CLS] <unk> <|endoftext|>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1234567890",
    "日本語 İΣ &amp;lt; \0",
];

fuzz_target!(|input: &[u8]| {
    // The tokenizer's library keeps words for each thread and each tokenizer, and forgets none while the thread lives.
    std::thread::scope(|scope| {
        let one = scope.spawn(|| one(input));
        if let Err(panic) = one.join() {
            std::panic::resume_unwind(panic);
        }
    });
});

fn one(input: &[u8]) {
    let files = files(input);
    let Ok(opened) = Tokenizer::from_files(&files) else {
        return;
    };
    let tokenizer = opened.tokenizer.with_padding(Padding::Context);
    check(&tokenizer);
    let saved = tokenizer.to_json().expect("writes what it has read");
    let cleaning = tokenizer.cleaning();
    let again = Tokenizer::from_json(saved.as_bytes()).expect("reads what it has written");
    let again = again.with_cleaning(cleaning).with_padding(Padding::Context);
    for caption in CAPTIONS {
        assert_eq!(
            tokenizer.encode(caption).ok(),
            again.encode(caption).ok(),
            "{caption:?}"
        );
    }
    tokenizer.export_files(16, true).expect("exports");
    check(&tokenizer.with_cleaning(Cleaning::Canonicalize));
}

/// Every id of every row is at most the greatest.
fn check(tokenizer: &Tokenizer) {
    let greatest = i64::from(tokenizer.max_id());
    for caption in CAPTIONS {
        for context in [1, 4, 64] {
            let Ok(batch) = tokenizer.encode_batch(&[caption], context) else {
                continue;
            };
            assert_eq!(batch.ids.len(), context);
            assert!(
                batch.ids.iter().all(|id| (0..=greatest).contains(id)),
                "{:?} beyond {greatest}",
                batch.ids
            );
        }
        if let Ok(ids) = tokenizer.encode(caption) {
            let _ = tokenizer.decode(&ids);
        }
        let _ = tokenizer.encode_pair(caption, caption);
        let _ = tokenizer.tokens(caption);
    }
}

fn files(input: &[u8]) -> TokenizerFiles {
    let mut files = TokenizerFiles::default();
    let mut rest = input;
    loop {
        let end = rest
            .windows(BETWEEN.len())
            .position(|window| window == BETWEEN.as_bytes());
        let (file, after) = match end {
            Some(end) => (&rest[..end], Some(&rest[end + BETWEEN.len()..])),
            None => (rest, None),
        };
        if let Some(line) = file.iter().position(|&byte| byte == b'\n') {
            let name = String::from_utf8_lossy(&file[..line]);
            files.put(&name, file[line + 1..].to_vec());
        }
        match after {
            Some(after) => rest = after,
            None => return files,
        }
    }
}
