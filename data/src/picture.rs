//! Picture files: which names they have, and reading one, whatever the path turns out to be.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::{ImageData, Reason};

/// The extensions of picture files, in lower case: the formats that the trainer decodes, whose names nobody trusts.
/// Of two pictures of one sample in a shard, the one whose extension comes first here is taken.
pub(crate) const EXTENSIONS: [&str; 8] =
    ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Whether a file has the name of a picture.
pub(crate) fn has_known_extension(path: &str) -> bool {
    let extension = Path::new(path).extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(e)))
}

/// The bytes of the picture at `path`, taken from `root` if it is relative.
pub(crate) fn read(root: &Path, path: &str, limit: u64) -> Result<ImageData, Reason> {
    let path = root.join(path);
    let refuse = |error: io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Reason::Missing {
            path: path.clone(),
            root: shown(root),
        },
        _ => Reason::Unreadable {
            path: path.clone(),
            message: error.to_string(),
        },
    };
    // Look before opening: to open a pipe would wait for ever.
    let found = fs::metadata(&path).map_err(refuse)?;
    check(&path, &found, limit)?;
    let mut bytes = Vec::with_capacity(found.len() as usize);
    let file = File::open(&path).map_err(refuse)?;
    // The file may have grown since.
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(refuse)?;
    if bytes.is_empty() {
        return Err(Reason::EmptyFile { path });
    }
    if bytes.len() as u64 > limit {
        return Err(Reason::LargeFile { path, limit });
    }
    Ok(ImageData::Encoded { bytes, path })
}

fn check(path: &Path, found: &Metadata, limit: u64) -> Result<(), Reason> {
    let path = path.to_path_buf();
    if found.is_dir() {
        return Err(Reason::NotAFile {
            path,
            found: "a folder",
        });
    }
    if !found.is_file() {
        return Err(Reason::NotAFile {
            path,
            found: "a device or a pipe",
        });
    }
    if found.len() == 0 {
        return Err(Reason::EmptyFile { path });
    }
    if found.len() > limit {
        return Err(Reason::LargeFile { path, limit });
    }
    Ok(())
}

/// The empty path, which stands for the current folder, reads as nothing in a message.
fn shown(root: &Path) -> PathBuf {
    if root.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        root.to_path_buf()
    }
}
