//! What the tests of several sources share.

use std::fs;

use tempfile::TempDir;

use crate::Source;

/// A folder with these files, given by their paths in it and their contents.
pub(crate) fn folder(files: &[(&str, impl AsRef<[u8]>)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (file, content) in files {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

/// What is wrong with each sample that was skipped, in order.
pub(crate) fn skipped_kinds(source: &dyn Source) -> Vec<&'static str> {
    let errors = source.skipped().errors().iter();
    errors.map(|error| error.reason.kind()).collect()
}
