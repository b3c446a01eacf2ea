//! Folders of classes, with what else lies there.

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::Place;

fn folder(files: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for file in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
    folder
}

fn open(folder: &TempDir) -> Result<ImageFolder, Error> {
    ImageFolder::open(folder.path(), &ImageFolderConfig::default())
}

fn keys(images: &ImageFolder) -> Vec<Cow<'_, str>> {
    (0..images.len()).map(|i| images.image_key(i)).collect()
}

#[test]
fn pictures_come_in_order_with_their_class_in_a_template() {
    let files = [
        "red_panda/b.PNG",
        "red_panda/a/c.jpeg",
        "dog/z.jpg",
        "dog/y.webp",
    ];
    let folder = folder(&files);
    let config = ImageFolderConfig {
        templates: vec!["a {}".into(), "the {}".into(), "one {}".into()],
        ..Default::default()
    };
    let images = ImageFolder::open(folder.path(), &config).unwrap();
    let expected = [
        "dog/y.webp",
        "dog/z.jpg",
        "red_panda/a/c.jpeg",
        "red_panda/b.PNG",
    ];
    assert_eq!(keys(&images), expected);
    assert_eq!(images.classes().names(), ["dog", "red panda"]);
    let captions: Vec<_> = (0..4).map(|i| images.caption(i)).collect();
    assert_eq!(
        captions,
        ["a dog", "the dog", "one red panda", "a red panda"]
    );
    assert_eq!((images.class(1), images.class(2)), (0, 1));
    let sample = images.sample(3).unwrap();
    assert_eq!(sample.place, Place::Key("red_panda/b.PNG".into()));
    let path = folder.path().join("red_panda/b.PNG");
    let bytes = b"red_panda/b.PNG".to_vec();
    assert_eq!(sample.image, crate::ImageData::Encoded { bytes, path });
    assert!(images.notes().is_empty() && images.skipped().is_empty());
}

#[test]
fn what_is_no_picture_is_passed_over_and_counted() {
    let files = [
        "a/0.jpg",
        "a/.1.jpg",
        ".b/0.jpg",
        "a/c/x.txt",
        "a/jpg",
        "top.jpg",
    ];
    let images = folder(&files);
    let images = open(&images).unwrap();
    assert_eq!(keys(&images), ["a/0.jpg"]);
    let note = &images.notes()[0];
    let counts = "passed over 2 hidden entries, 1 picture that is in no sub-folder, 2 files without the name of a picture";
    assert!(note.ends_with(counts), "{note}");
}

#[cfg(unix)]
#[test]
fn links_to_folders_do_not_loop() {
    use std::os::unix::fs::symlink;

    let folder = folder(&["a/0.jpg", "a/b/1.jpg"]);
    let elsewhere = TempDir::new().unwrap();
    fs::write(elsewhere.path().join("2.jpg"), "x").unwrap();
    let root = folder.path();
    symlink(root, root.join("a/b/up")).unwrap();
    symlink(root, root.join("root")).unwrap();
    symlink(root.join("a/0.jpg"), root.join("a/link.jpg")).unwrap();
    symlink("nowhere", root.join("a/z.jpg")).unwrap();
    symlink(elsewhere.path(), root.join("other")).unwrap();
    let images = open(&folder).unwrap();
    let expected = [
        "a/0.jpg",
        "a/b/1.jpg",
        "a/link.jpg",
        "a/z.jpg",
        "other/2.jpg",
    ];
    assert_eq!(keys(&images), expected);
    assert!(images.notes()[0].ends_with("passed over 2 links to folders"));
    let error = images.sample(3).unwrap_err();
    assert_eq!(error.reason.kind(), "missing file");
}

#[test]
fn a_folder_without_pictures_is_an_error() {
    for files in [&["a/x.txt", "b/y.txt"][..], &["0.jpg"], &[]] {
        let error = open(&folder(files)).unwrap_err();
        assert!(matches!(error, Error::UnknownFolder { .. }), "{error}");
    }
    let error = open(&folder(&["a_b/0.jpg", "a b/0.jpg"])).unwrap_err();
    assert!(matches!(error, Error::RepeatedClass { .. }), "{error}");
    let error = ImageFolder::open("no/such", &ImageFolderConfig::default()).unwrap_err();
    assert!(
        error.to_string().starts_with("no/such: cannot be read"),
        "{error}"
    );
}
