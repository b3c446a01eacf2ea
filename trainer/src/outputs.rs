//! The files that a source reads, which no output may overwrite.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use data::{ImageData, Source};

use crate::files;

/// Checks that `target` can be written, and is none of the files of `source`, which the user gave as `given`, nor of
/// `others`.
///
/// # Errors
///
/// As [`files::check_output`].
pub(crate) fn check(
    target: &Path,
    source: &dyn Source,
    given: &[PathBuf],
    others: &[&Path],
) -> anyhow::Result<()> {
    let mut inputs = given.to_vec();
    inputs.push(source.name().into());
    inputs.extend(others.iter().map(|path| path.to_path_buf()));
    // What is not there yet is read by nobody.
    if target.is_file() {
        inputs.extend(files_of(source, target));
    }
    files::check_output(target, inputs)
}

/// The files of a source, as far as they can be `target`: shards, and pictures of its name.
fn files_of(source: &dyn Source, target: &Path) -> BTreeSet<PathBuf> {
    let target = target.canonicalize().unwrap_or_else(|_| target.into());
    let mut files = BTreeSet::new();
    for row in source.groups().image_rows() {
        let key = source.image_key(*row);
        let key = Path::new(&*key);
        // A sample of a shard lies in it by name.
        files.extend(key.parent().map(Path::to_path_buf));
        if key.file_name() == target.file_name()
            && let Ok(sample) = source.sample(*row)
            && let ImageData::Encoded { path, .. } = sample.image
        {
            files.insert(path);
        }
    }
    files
}
