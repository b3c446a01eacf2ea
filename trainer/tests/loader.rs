//! The same batches whatever the number of threads, and across a restart, over a mix of a table and two shards.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path};

use tempfile::TempDir;
use text_encoder::tokenizer::Tokenizer;
use trainer::{
    input::{
        caption_reader::CaptionReader,
        image_reader::ImageReader,
        loader::{Loader, Position},
        sources::{self, Joined, open_one},
        watched::Watched,
    },
    recipe::{Overrides, Recipe},
    task::contrastive::{HostBatch, Inputs},
};
use vision_encoder::image::PreprocessorConfig;

const IMAGES: [&str; 6] = [
    "good.png",
    "gray.jpg",
    "palette.png",
    "exif-rotated.jpg",
    "alpha.png",
    "truncated.jpg",
];

const RECIPE: &str = r#"
name = "mix"
seed = 9
[[data.train]]
kind = "table"
path = "table.csv"
[[data.train]]
kind = "webdataset"
shards = ["shard-{0..1}.tar"]
weight = 0.5
[data]
max_bad = 0.9
[image.augmentation]
kind = "random-resized-crop"
scale = [0.4, 1.0]
[tokens]
kind = "bpe"
vocab = 600
[model]
family = "clip"
preset = "tiny"
[train]
steps = 20
batch = 8
micro_batch = 4
"#;

fn picture(number: usize) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/bad/images");
    fs::read(folder.join(IMAGES[number % IMAGES.len()])).unwrap()
}

/// A table of 23 pictures and two shards of 17 and 20, one picture in six broken.
fn data() -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut rows = String::from("filepath\ttitle\n");
    for number in 0..23 {
        fs::write(folder.path().join(format!("{number}.img")), picture(number)).unwrap();
        rows += &format!(
            "{number}.img\trow {number} of the table{}\n",
            " and more".repeat(number % 4)
        );
    }
    fs::write(folder.path().join("table.csv"), rows).unwrap();
    for (shard, samples) in [(0, 17), (1, 20)] {
        let file = fs::File::create(folder.path().join(format!("shard-{shard}.tar"))).unwrap();
        let mut tar = tar::Builder::new(file);
        for number in 0..samples {
            let mut add = |extension: &str, bytes: &[u8]| {
                let mut header = tar::Header::new_gnu();
                header.set_size(bytes.len() as u64);
                header.set_mode(0o644);
                let name = format!("{number:04}.{extension}");
                tar.append_data(&mut header, name, bytes).unwrap();
            };
            add("jpg", &picture(number + shard));
            add(
                "txt",
                format!("sample {number} of shard {shard}").as_bytes(),
            );
        }
        tar.finish().unwrap();
    }
    fs::write(folder.path().join("recipe.toml"), RECIPE).unwrap();
    folder
}

/// Twenty batches from a position on, and the position after each.
fn batches(folder: &Path, set: &[&str], from: Position) -> Vec<(Vec<HostBatch>, Position, usize)> {
    let overrides = Overrides {
        set: set.iter().map(|text| (*text).to_owned()).collect(),
        ..Overrides::default()
    };
    let recipe = Recipe::load(&folder.join("recipe.toml"), &overrides).unwrap();
    let opened = sources::open(&recipe.data.train, &recipe, open_one).unwrap();
    let source = Joined::new(opened.sources);
    let tokenizer = Tokenizer::train_bpe(
        ["a row of the table and a sample of a shard"].into_iter(),
        600,
    )
    .unwrap();
    let inputs = Inputs {
        images: ImageReader::new(&recipe, &PreprocessorConfig::clip(24), 24).unwrap(),
        captions: CaptionReader::new(tokenizer, 32, false),
    };
    let watched = Watched::new(&source, Vec::new());
    let mut loader = Loader::new(&watched, &inputs, &recipe, from).unwrap();
    let next = |_| {
        let Ok(batch) = loader.next_batch() else {
            panic!("no batch");
        };
        (batch.batches, batch.after, batch.skipped.len())
    };
    (0..20).map(next).collect()
}

#[test]
fn threads_and_restarts_change_no_batch() {
    let folder = data();
    for options in [&[][..], &["data.bucket=true"], &["data.shuffle_window=5"]] {
        let with = |workers: &'static str| [options, &[workers]].concat();
        let start = Position::default();
        let one = batches(folder.path(), &with("data.workers=1"), start);
        assert_eq!(one, batches(folder.path(), &with("data.workers=2"), start));
        assert_eq!(one, batches(folder.path(), &with("data.workers=8"), start));
        assert!(
            one.iter().any(|(_, _, skipped)| *skipped > 0),
            "nothing was skipped"
        );
        let epochs = one.last().unwrap().1.epoch;
        assert!(epochs >= 2, "{epochs} epochs");
        for stopped in [0, 2, 7, 12] {
            let after = one[stopped].1;
            let rest = batches(folder.path(), &with("data.workers=2"), after);
            assert_eq!(one[stopped + 1..], rest[..19 - stopped], "after {after:?}");
        }
    }
}
