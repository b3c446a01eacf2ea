//! Data as people have it, and messages that help.

use std::{fs, path::Path};

use crate::folder::{Folder, text};

fn with_cases(folders: &[&str]) -> Folder {
    let folder = Folder::new();
    for name in folders {
        let cases = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fixtures/cases")
            .join(name);
        for entry in fs::read_dir(cases).unwrap() {
            let entry = entry.unwrap();
            fs::copy(
                entry.path(),
                folder.path(entry.file_name().to_str().unwrap()),
            )
            .unwrap();
        }
    }
    folder
}

/// What `data check` says of a source that can be used.
fn checked(folder: &Folder, source: &str) -> String {
    let output = folder.run(&["data", "check", source]);
    assert!(output.status.success(), "{source}: {}", text(&output));
    text(&output)
}

#[test]
fn numbers_that_json_does_not_have_harm_nobody_who_does_not_read_them() {
    let folder = with_cases(&["pictures", "sources"]);
    for source in ["t.jsonl", "s.tar"] {
        let said = checked(&folder, source);
        assert!(said.contains("4 samples usable, 0 skipped"), "{said}");
    }
}

#[test]
fn the_limits_on_pictures_hold_where_sources_are_checked() {
    let folder = with_cases(&["pictures", "sources"]);
    let arguments = ["data", "check", "t.jsonl", "--set", "image.max_pixels=1"];
    folder.refuses(&arguments, &["0 samples can be used"]);
}

#[test]
fn the_usual_keys_are_found_and_told_and_others_are_listed_with_the_option() {
    let folder = with_cases(&["pictures", "sources"]);
    let said = checked(&folder, "metadata.jsonl");
    assert!(
        said.contains("file_name") && said.contains("text"),
        "{said}"
    );
    folder.table(
        "odd.jsonl",
        "{\"where\": \"0.png\", \"what\": \"a house\"}\n",
    );
    folder.refuses(
        &["data", "check", "odd.jsonl"],
        &["odd.jsonl", "`where`", "`what`", "data.jsonl.image_key"],
    );
    folder.table("odd.csv", "where,what\n0.png,a house\n");
    folder.refuses(
        &["data", "check", "odd.csv"],
        &["odd.csv", "`where`", "`what`", "data.table.image_column"],
    );
}

#[test]
fn a_file_that_is_no_table_is_named_for_what_it_is() {
    let folder = with_cases(&["pictures", "sources"]);
    folder.refuses(
        &["data", "check", "s.tar.gz"],
        &["s.tar.gz", "gzip", "unpack"],
    );
    fs::write(
        folder.path("lfs.csv"),
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    )
    .unwrap();
    folder.refuses(&["data", "check", "lfs.csv"], &["lfs.csv", "Git LFS"]);
    fs::write(
        folder.path("page.csv"),
        "<!DOCTYPE html>\n<html><body>404</body></html>\n",
    )
    .unwrap();
    folder.refuses(&["data", "check", "page.csv"], &["page.csv", "HTML"]);
    for source in ["t.parquet", "t.csv.gz", "coco.json"] {
        let output = folder.run(&["data", "check", source]);
        let said = text(&output);
        assert!(
            !said.contains("panicked") && !said.contains("UTF-8"),
            "{source}: {said}"
        );
        assert!(
            !said.chars().any(|c| c.is_control() && c != '\n'),
            "{source}: {said:?}"
        );
        assert!(said.contains(source), "{said}");
    }
}

#[test]
fn a_cause_is_told_once() {
    let folder = Folder::new();
    for arguments in [
        &["data", "check", "nothere.csv"],
        &["train", "nothere.toml", "--strict"][..],
    ] {
        let output = folder.run(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            text(&output).matches("No such file").count(),
            1,
            "{}",
            text(&output)
        );
    }
}

#[test]
fn a_picture_at_the_top_of_a_folder_of_classes_is_told_of() {
    let folder = with_cases(&["pictures"]);
    fs::create_dir_all(folder.path("set/cat")).unwrap();
    fs::copy(folder.path("0.png"), folder.path("set/0.png")).unwrap();
    fs::copy(folder.path("1.png"), folder.path("set/cat/1.png")).unwrap();
    let said = checked(&folder, "set");
    assert!(
        said.contains("1 picture that is in no sub-folder"),
        "{said}"
    );
}

#[test]
fn cameras_and_broken_pictures_are_as_viewers_have_them() {
    let folder = with_cases(&["sources", "jpeg"]);
    // good.jpg tells of the rest by its own size.
    folder.table("turned.csv", "filepath,title\na.jpg,turned\n");
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/cases/sources/a.jpg"),
        folder.path("a.jpg"),
    )
    .unwrap();
    let said = checked(&folder, "turned.csv");
    assert!(
        said.contains("32 / 32 / 32") && said.contains("40 / 40 / 40"),
        "{said}"
    );
    let width = said.lines().find(|line| line.starts_with("width")).unwrap();
    assert!(width.contains("32 / 32 / 32"), "{said}");
    folder.table(
        "broken.csv",
        "filepath,title\ngood.jpg,good\nb.jpg,broken\nvalid-pillow-cmyk-420.jpg,ink\n",
    );
    let said = checked(&folder, "broken.csv");
    assert!(
        said.contains("2 samples usable, 1 skipped") && said.contains("b.jpg"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn six_pairs_train_with_nothing_said_and_the_run_says_what_was_chosen() {
    let folder = Folder::new();
    let mut rows = String::from("filepath,title\n");
    for i in 0..6 {
        folder.picture(&format!("{i}.png"));
        rows += &format!("{i}.png,picture number {i}\n");
    }
    folder.table("t.csv", &rows);
    let output = folder.run(&["train", "--train", "t.csv"]);
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("train.batch = 6") && said.contains("train.warmup = 1"),
        "{said}"
    );
    let output = folder.run(&["train", "--train", "t.csv", "--set", "train.batch=128"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(
        said.contains("train.batch") && said.contains("give 6"),
        "{said}"
    );
}

#[test]
fn all_faults_of_a_recipe_are_told_at_once() {
    let folder = Folder::new();
    let set = [
        "train.lr=0",
        "train.wamup=3",
        "model.vision.patch_size=7",
        "eval.recall=[]",
        "run.keep_last=\"two\"",
    ];
    let set: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
    folder.refuses(
        &[&["train", "recipe.toml"][..], &set].concat(),
        &[
            "train.wamup",
            "model.vision.image_size",
            "eval.recall",
            "run.keep_last",
        ],
    );
    assert!(!folder.path("runs").exists());
}

#[test]
fn a_recipe_is_shown_as_it_is_read_and_every_key_is_listed() {
    let folder = Folder::new();
    let shown = folder.run(&["recipe", "recipe.toml", "--set", "train.batch=8"]);
    assert!(text(&shown).contains("batch = 8"), "{}", text(&shown));
    fs::write(folder.path("again.toml"), &shown.stdout).unwrap();
    let again = folder.run(&["recipe", "again.toml"]);
    assert_eq!(again.stdout, shown.stdout);
    let keys = text(&folder.run(&["recipe", "--keys"]));
    assert!(
        keys.contains("train.batch = 128  (a whole number)"),
        "{keys}"
    );
    assert!(keys.contains("with tokens.kind = bpe"), "{keys}");
}

#[test]
fn the_numbers_of_a_benchmark_have_bounds_that_are_told() {
    let folder = Folder::new();
    let most = usize::MAX.to_string();
    for (option, value, words) in [
        (
            "--batch",
            "0",
            ["--batch is 0;", "1 to 65536", "held at once"],
        ),
        (
            "--batch",
            "65537",
            ["--batch is 65537;", "1 to 65536", "held at once"],
        ),
        (
            "--batch",
            &most,
            ["--batch is ", "1 to 65536", "held at once"],
        ),
        ("--steps", &most, ["--steps is ", "1 to 1048576", "timed"]),
        (
            "--workers",
            "1025",
            ["--workers is 1025;", "1 to 1024", "thread"],
        ),
    ] {
        for case in ["full", "accum", "loss", "ops"] {
            folder.refuses(&["bench", case, option, value], &words);
        }
    }
}
