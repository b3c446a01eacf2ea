//! Picture files: which names they have, and reading one, whatever the path turns out to be.

use std::borrow::Cow;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::{ImageData, Place, Reason, Sample, SampleError};

/// The extensions of picture files, in lower case: the formats that the trainer decodes, whose names nobody trusts.
/// Of two pictures of one sample in a shard, the one whose extension comes first here is taken.
pub(crate) const EXTENSIONS: [&str; 8] =
    ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// Whether a file has the name of a picture.
pub(crate) fn has_known_extension(path: &str) -> bool {
    let extension = Path::new(path).extension().and_then(|e| e.to_str());
    extension.is_some_and(|e| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(e)))
}

/// The schemes of addresses that stand where a path should.
const SCHEMES: [&str; 9] = [
    "http://",
    "https://",
    "ftp://",
    "s3://",
    "gs://",
    "hf://",
    "az://",
    "file://",
    "data:image/",
];

/// Whether a path is an address on the web.
pub(crate) fn is_url(path: &str) -> bool {
    // Most paths are told by their first characters.
    let scheme = |scheme: &&str| {
        let start = path.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    path.as_bytes().iter().take(11).any(|byte| *byte == b':') && SCHEMES.iter().any(scheme)
}

/// The sample of a picture that was found below the folder `root`, which is the name of its source.
pub(crate) fn sample(
    root: &Path,
    path: &str,
    limit: (&'static str, u64),
    caption: Cow<'_, str>,
) -> Result<Sample, SampleError> {
    let place = Place::Key(path.to_owned());
    match read(root, path, limit) {
        Ok(image) => Ok(Sample {
            place,
            image,
            caption: caption.into_owned(),
        }),
        Err(reason) => Err(SampleError {
            origin: root.display().to_string(),
            place,
            reason: match reason {
                // No other folder would have it.
                Reason::Missing { path, .. } => Reason::Gone { path },
                reason => reason,
            },
        }),
    }
}

/// The bytes of the picture at `path`, taken from `root` if it is relative.
pub(crate) fn read(
    root: &Path,
    path: &str,
    (section, limit): (&'static str, u64),
) -> Result<ImageData, Reason> {
    let path = root.join(path);
    let refuse = |error: io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Reason::Missing {
            section,
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
    check(&path, &found, (section, limit))?;
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
        return Err(Reason::LargeFile {
            section,
            path,
            limit,
        });
    }
    Ok(ImageData::Encoded { bytes, path })
}

fn check(
    path: &Path,
    found: &Metadata,
    (section, limit): (&'static str, u64),
) -> Result<(), Reason> {
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
        return Err(Reason::LargeFile {
            section,
            path,
            limit,
        });
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
