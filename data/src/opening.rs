//! Opening the files of a source: what is no file is refused, and text may be packed with gzip.

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::Error;
use crate::kind::{self, ENOUGH, GZIP, TAR};

/// A packed file may unpack to so many bytes, or to [`MAX_RATIO`] times its own, whichever is more.
const ALWAYS_ALLOWED: u64 = 16 << 20;

/// Tables pack to a twentieth; a file of nothing but zeros packs to a thousandth.
const MAX_RATIO: u64 = 200;

/// Opens what must be a file, and gives its size in bytes. Nothing waits for a pipe that nobody writes into.
pub(crate) fn regular(path: &Path) -> Result<(File, u64), Error> {
    let unreadable = |cause| Error::Unreadable {
        path: path.into(),
        cause,
    };
    let found = fs::metadata(path).map_err(unreadable)?;
    if !found.is_file() {
        return Err(Error::NotAFile {
            path: path.into(),
            found: if found.is_dir() {
                "a folder"
            } else {
                "a device or a pipe"
            },
        });
    }
    let file = File::open(path).map_err(unreadable)?;
    Ok((file, found.len()))
}

/// The first bytes of a file, at most `room` of them.
pub(crate) fn start(path: &Path, room: usize) -> Result<Vec<u8>, Error> {
    let (file, _) = regular(path)?;
    let mut bytes = Vec::new();
    let read = file.take(room as u64).read_to_end(&mut bytes);
    read.map_err(|cause| Error::Unreadable {
        path: path.into(),
        cause,
    })?;
    Ok(bytes)
}

/// A file of text from its beginning, unpacked if it is packed.
pub(crate) struct Text {
    /// The first bytes, without a byte order mark: at least so many as were asked for, unless the file ends before.
    pub(crate) start: Vec<u8>,
    /// What follows them.
    pub(crate) rest: Box<dyn Read>,
}

impl Text {
    /// Opens a file of text.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is something else by its first bytes.
    pub(crate) fn open(path: &Path, room: usize) -> Result<Self, Error> {
        let (mut file, bytes) = regular(path)?;
        let unreadable = |cause| Error::Unreadable {
            path: path.into(),
            cause,
        };
        let mut first = Vec::new();
        let taken = file.by_ref().take(ENOUGH as u64).read_to_end(&mut first);
        taken.map_err(unreadable)?;
        let found = kind::of(&first);
        let whole = Cursor::new(first).chain(file);
        let mut rest: Box<dyn Read> = match found {
            Some(GZIP) => Box::new(Unpacked {
                unpacked: MultiGzDecoder::new(whole),
                left: ALWAYS_ALLOWED.max(bytes.saturating_mul(MAX_RATIO)),
            }),
            Some(found) => return Err(other(path, found)),
            None => Box::new(whole),
        };
        let mut start = Vec::new();
        let room = room.max(ENOUGH) as u64;
        let taken = rest.by_ref().take(room).read_to_end(&mut start);
        taken.map_err(unreadable)?;
        // What was packed is looked at again; as for the rest nothing is new.
        if let Some(inside) = kind::of(&start) {
            return Err(if inside == TAR {
                Error::PackedTar { path: path.into() }
            } else {
                other(path, inside)
            });
        }
        if start.starts_with(b"\xef\xbb\xbf") {
            start.drain(..3);
        }
        Ok(Self { start, rest })
    }

    /// All of it.
    pub(crate) fn reader(self) -> impl Read {
        Cursor::new(self.start).chain(self.rest)
    }
}

/// The error for a file of another kind.
pub(crate) fn other(path: &Path, found: kind::Kind) -> Error {
    Error::OtherKind {
        path: path.into(),
        found: found.words,
        remedy: found.remedy,
    }
}

/// A packed file that ends with an error before it fills the memory.
struct Unpacked<R> {
    unpacked: R,
    left: u64,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.unpacked.read(buffer)?;
        if read as u64 > self.left {
            return Err(io::Error::other(format!(
                "it unpacks to more than {MAX_RATIO} times its size; unpack it with gunzip if it is meant to"
            )));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use tempfile::TempDir;

    use super::*;

    fn packed(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn opened(bytes: &[u8]) -> Result<String, Error> {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("t");
        fs::write(&path, bytes).unwrap();
        let mut text = String::new();
        let mut reader = Text::open(&path, 4)?.reader();
        reader
            .read_to_string(&mut text)
            .map_err(|cause| Error::Unreadable { path, cause })?;
        Ok(text)
    }

    #[test]
    fn packed_text_is_read_as_if_it_were_not() {
        assert_eq!(opened("\u{feff}a,b\n".as_bytes()).unwrap(), "a,b\n");
        let twice = [packed("\u{feff}a,b\n".as_bytes()), packed(b"c,d\n")].concat();
        assert_eq!(opened(&twice).unwrap(), "a,b\nc,d\n");
        let cut = packed(&b"a,b\n".repeat(99));
        assert!(matches!(
            opened(&cut[..cut.len() - 9]),
            Err(Error::Unreadable { .. })
        ));
    }

    #[test]
    fn what_is_no_text_is_named_also_inside_a_packed_file() {
        let picture = b"\x89PNG\r\n\x1a\n";
        for bytes in [picture.to_vec(), packed(picture)] {
            let error = opened(&bytes).unwrap_err();
            assert!(
                matches!(
                    error,
                    Error::OtherKind {
                        found: "a PNG picture",
                        ..
                    }
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn a_bomb_ends_with_an_error() {
        let error = opened(&packed(&vec![b'a'; 64 << 20])).unwrap_err();
        assert!(matches!(error, Error::Unreadable { .. }), "{error}");
    }
}
