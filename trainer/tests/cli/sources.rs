//! The sources that people have, as the command line names them.

use std::fs;

use crate::folder::{Folder, text};

/// Four pictures in a folder, with the texts beside them if they are wanted.
fn pictures(folder: &Folder, name: &str, texts: bool) {
    fs::create_dir_all(folder.path(name)).unwrap();
    for number in 0..4 {
        folder.picture(&format!("{name}/{number}.png"));
        if texts {
            let text = format!("picture {number}\n");
            fs::write(folder.path(&format!("{name}/{number}.txt")), text).unwrap();
        }
    }
}

/// What `data check` says of a source.
fn check(folder: &Folder, arguments: &[&str]) -> String {
    let output = folder.run(&[&["data", "check"], arguments].concat());
    let said = text(&output);
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

fn shard(folder: &Folder, name: &str, keys: &[&str]) {
    let mut builder = tar::Builder::new(Vec::new());
    let picture = fs::read(folder.path("flat/0.png")).unwrap();
    let mut add = |name: String, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, content).unwrap();
    };
    for key in keys {
        add(format!("{key}.png"), &picture);
        add(format!("{key}.txt"), format!("picture {key}").as_bytes());
    }
    let path = folder.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, builder.into_inner().unwrap()).unwrap();
}

#[test]
fn a_source_is_opened_by_what_it_is() {
    let folder = Folder::new();
    pictures(&folder, "flat", true);
    pictures(&folder, "imagefolder", false);
    pictures(&folder, "classes/cat", false);
    folder.picture("classes/0.png");
    let lines = "{\"file_name\": \"0.png\", \"text\": \"a\"}\n{\"file_name\": \"1.png\", \"text\": \"b\"}\n";
    folder.table("imagefolder/metadata.jsonl", lines);
    folder.table(
        "sep.csv",
        "sep=;\nfilepath;title\nflat/0.png;a\nflat/1.png;b\n",
    );
    let karpathy = r#"{"images": [
        {"filename": "0.png", "split": "train", "sentences": [{"raw": "a"}, {"raw": "b"}]},
        {"filename": "1.png", "split": "val", "sentences": [{"raw": "c"}]}]}"#;
    folder.table("flat/dataset.json", karpathy);
    shard(&folder, "shards/0.tar", &["a", "b"]);
    shard(&folder, "shards/1.tar", &["c"]);
    for (arguments, kind, usable) in [
        (
            &["flat"][..],
            "a folder of pictures with a text beside each",
            4,
        ),
        (&["imagefolder"], "JSON lines", 2),
        (&["classes"], "a folder of classes", 4),
        (&["sep.csv"], "a table", 2),
        (&["flat/dataset.json"], "JSON as Karpathy's splits", 3),
        (&["flat/dataset.json#train"], "JSON as Karpathy's splits", 2),
        (&["shards"], "tar shards", 3),
        (&["shards/0.tar", "shards/1.tar"], "tar shards", 3),
    ] {
        let said = check(&folder, arguments);
        assert!(
            said.contains(&format!(": {kind}\n")),
            "{arguments:?}: {said}"
        );
        assert!(
            said.contains(&format!("{usable} samples usable, 0 skipped")),
            "{said}"
        );
    }
    let said = check(&folder, &["classes"]);
    assert!(
        said.contains("passed over 1 picture that is in no sub-folder"),
        "{said}"
    );
}

#[test]
fn several_values_are_several_sources_and_the_recipe_may_come_last() {
    let folder = Folder::new();
    pictures(&folder, "flat", true);
    shard(&folder, "shards/0.tar", &["a", "b"]);
    shard(&folder, "shards/1.tar", &["c", "d"]);
    folder.table("t.csv", "filepath\ttitle\nflat/0.png\ta\nflat/1.png\tb\n");
    let train = [
        "train",
        "--train",
        "shards/0.tar",
        "shards/1.tar",
        "t.csv",
        "flat",
    ];
    let rest = [
        "--set",
        "train.batch=10",
        "--set",
        "train.steps=2",
        "--val",
        "t.csv",
        "recipe.toml",
    ];
    let output = folder.run(&[&train[..], &rest[..]].concat());
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("10 pairs"), "{said}");
    let recipe = fs::read_to_string(folder.path("runs/small-1/recipe.toml")).unwrap();
    assert_eq!(
        recipe.matches("kind = \"webdataset\"").count(),
        1,
        "{recipe}"
    );
    assert!(recipe.contains("kind = \"captioned\""), "{recipe}");
    for eval in [
        &["eval", "--val", "t.csv", "flat", "runs/small-1"][..],
        &["eval", "runs/small-1", "--val", "t.csv", "flat"],
    ] {
        let output = folder.run(eval);
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn what_holds_no_pairs_is_named_by_what_it_is() {
    let folder = Folder::new();
    fs::write(folder.path("s.tar.gz"), packed_tar()).unwrap();
    fs::write(folder.path("t.parquet"), b"PAR1\x15\x04\0\0\0\0PAR1").unwrap();
    fs::write(
        folder.path("t.csv"),
        b"version https://git-lfs.github.com/spec/v1\noid x\n",
    )
    .unwrap();
    fs::write(
        folder.path("u.csv"),
        b"filepath,title\nhttps://example.org/0.jpg,a house\n",
    )
    .unwrap();
    fs::create_dir(folder.path("empty")).unwrap();
    for (name, words) in [
        ("s.tar.gz", &["a gzipped tar archive", "gunzip"][..]),
        (
            "t.parquet",
            &["t.parquet: this Parquet file cannot be read"],
        ),
        ("t.csv", &["a Git LFS pointer", "git lfs pull"]),
        ("u.csv", &["a URL", "img2dataset"]),
        ("empty", &["nothing in it", "metadata.jsonl"]),
        ("/dev/null", &["a device or a pipe"]),
        ("no.csv", &["cannot be read"]),
    ] {
        let output = folder.run(&["data", "check", name]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(
            words.iter().all(|word| said.contains(word)),
            "{name}: {said}"
        );
        assert!(
            !said.trim_end().chars().any(char::is_control),
            "{name}: {said:?}"
        );
        assert!(
            !said.contains("column") && !said.contains("panicked"),
            "{name}: {said}"
        );
    }
}

/// A tar archive with an empty file, packed by gzip without compression.
fn packed_tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    builder.append_data(&mut header, "0.txt", &b""[..]).unwrap();
    let tar = builder.into_inner().unwrap();
    let mut packed = b"\x1f\x8b\x08\0\0\0\0\0\0\xff\x01".to_vec();
    let size = tar.len() as u16;
    packed.extend(size.to_le_bytes());
    packed.extend((!size).to_le_bytes());
    packed.extend(&tar);
    packed.extend(crc32(&tar).to_le_bytes());
    packed.extend((tar.len() as u32).to_le_bytes());
    packed
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
