//! What a file is by its first bytes, where it is no text.

/// How many bytes of a file are enough for [`of`]: the mark of a tar archive is the last of all.
pub(crate) const ENOUGH: usize = 512;

/// A kind of file, and what to do with one that was given in place of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// A noun with its article: `a gzip archive`.
    pub(crate) words: &'static str,
    /// What to do with it.
    pub(crate) remedy: &'static str,
}

pub(crate) const GZIP: Kind = kind("a gzip archive", "unpack it with gunzip");
pub(crate) const TAR: Kind = kind(
    "a tar archive",
    "read it as shards: give it a name that ends in `.tar`, or `kind = \"webdataset\"`",
);
pub(crate) const PARQUET: Kind = kind("a Parquet file", "read it with `kind = \"parquet\"`");
const ZIP: Kind = kind(
    "a zip archive",
    "unpack it with unzip (a workbook of Excel is one: save it as CSV)",
);
const PICTURE: &str = "name the folder that holds it, or a table that lists it";
const BINARY: Kind = kind(
    "binary data",
    "give a table, JSON, Parquet, tar shards or a folder",
);
const UTF16: Kind = kind(
    "text in UTF-16",
    "save it as UTF-8 (iconv -f UTF-16 -t UTF-8)",
);

const fn kind(words: &'static str, remedy: &'static str) -> Kind {
    Kind { words, remedy }
}

const fn picture(words: &'static str) -> Kind {
    kind(words, PICTURE)
}

/// The first bytes of kinds that always begin alike.
const MARKS: &[(&[u8], Kind)] = &[
    (b"\x1f\x8b", GZIP),
    (
        b"\x28\xb5\x2f\xfd",
        kind("a zstd archive", "unpack it with unzstd"),
    ),
    (b"\xfd7zXZ\0", kind("an xz archive", "unpack it with unxz")),
    (
        b"7z\xbc\xaf\x27\x1c",
        kind("a 7z archive", "unpack it with 7z"),
    ),
    (
        b"Rar!\x1a\x07",
        kind("a rar archive", "unpack it with unrar"),
    ),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"PAR1", PARQUET),
    (b"ARROW1", ARROW),
    (b"\xff\xff\xff\xff", ARROW),
    (
        b"\x93NUMPY",
        kind(
            "a NumPy array",
            "write paths and captions as a table, JSON lines or Parquet",
        ),
    ),
    (
        b"\x89HDF\r\n\x1a\n",
        kind(
            "an HDF5 file",
            "write its pictures and captions as tar shards or Parquet",
        ),
    ),
    (
        b"SQLite format 3\0",
        kind("an SQLite database", "export its table as CSV"),
    ),
    (
        b"version https://git-lfs",
        kind("a Git LFS pointer", "fetch the file itself: git lfs pull"),
    ),
    (
        b"%PDF-",
        kind(
            "a PDF document",
            "give a table, JSON, Parquet, tar shards or a folder",
        ),
    ),
    (b"\x89PNG\r\n\x1a\n", picture("a PNG picture")),
    (b"\xff\xd8\xff", picture("a JPEG picture")),
    (b"GIF87a", picture("a GIF picture")),
    (b"GIF89a", picture("a GIF picture")),
    (b"II*\0", picture("a TIFF picture")),
    (b"MM\0*", picture("a TIFF picture")),
    (b"8BPS", picture("a Photoshop picture")),
    (b"\xff\x0a", picture("a JPEG XL picture")),
    (b"\0\0\0\x0cJXL ", picture("a JPEG XL picture")),
    (b"\0\0\0\x0cjP  ", picture("a JPEG 2000 picture")),
    (b"\xff\xfe", UTF16),
    (b"\xfe\xff", UTF16),
];

const ARROW: Kind = kind(
    "an Arrow file",
    "write it as Parquet: datasets.load_from_disk(FOLDER).to_parquet(FILE)",
);

/// The kind of a file by its first bytes, with what to do.
pub(crate) fn of(start: &[u8]) -> Option<Kind> {
    let start = start.get(..ENOUGH).unwrap_or(start);
    let marked = MARKS.iter().find(|(mark, _)| start.starts_with(mark));
    marked
        .map(|(_, kind)| *kind)
        .or_else(|| inside(start))
        .or_else(|| page(start))
        .or_else(|| is_binary(start).then_some(BINARY))
}

/// Kinds whose mark is not at the beginning, or is followed by a digit or a version.
fn inside(start: &[u8]) -> Option<Kind> {
    let at = |place: usize, mark: &[u8]| start.get(place..place + mark.len()) == Some(mark);
    if at(257, b"ustar") {
        return Some(TAR);
    }
    if at(0, b"BZh") && at(4, b"1AY&SY") {
        return Some(kind("a bzip2 archive", "unpack it with bunzip2"));
    }
    if at(0, b"RIFF") && at(8, b"WEBP") {
        return Some(picture("a WebP picture"));
    }
    if at(0, b"BM") && at(6, &[0; 4]) {
        return Some(picture("a BMP picture"));
    }
    if at(4, b"ftyp") {
        return Some(match start.get(8..12).unwrap_or_default() {
            b"avif" | b"avis" => picture("an AVIF picture"),
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"mif1" | b"msf1" | b"heif" => {
                picture("a HEIC picture")
            }
            _ => kind("a video", "take its frames out as pictures first"),
        });
    }
    // A pickle says its protocol first, and protocols since the fourth are framed.
    let pickle = start.first() == Some(&0x80) && start.get(1).is_some_and(|p| (2..=5).contains(p));
    pickle.then_some(kind(
        "a Python pickle",
        "write paths and captions as a table, JSON lines or Parquet",
    ))
}

/// Pages of the web, which downloads that failed leave behind.
fn page(start: &[u8]) -> Option<Kind> {
    let text = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start);
    let text = text.trim_ascii_start();
    let begins = |mark: &[u8]| {
        let start = text.get(..mark.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(mark))
    };
    if begins(b"<!doctype html") || begins(b"<html") {
        return Some(kind(
            "an HTML page",
            "the download may have failed: fetch the file itself",
        ));
    }
    if begins(b"<svg") {
        return Some(picture("an SVG drawing"));
    }
    begins(b"<?xml").then_some(kind("an XML document", "write it as a table or JSON lines"))
}

/// Whether the first line has characters that no text has.
fn is_binary(start: &[u8]) -> bool {
    let mut line = start
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default()
        .iter();
    line.any(|byte| matches!(byte, 0..=6 | 14..=26 | 28..=31 | 127))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (start, words) in [
            (&b"\x1f\x8b\x08"[..], "a gzip archive"),
            (b"PK\x03\x04", "a zip archive"),
            (&tar, "a tar archive"),
            (b"BZh91AY&SY", "a bzip2 archive"),
            (b"PAR1", "a Parquet file"),
            (b"ARROW1\0\0", "an Arrow file"),
            (b"\x93NUMPY\x01", "a NumPy array"),
            (b"\x80\x04\x95", "a Python pickle"),
            (b"SQLite format 3\0", "an SQLite database"),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                "a Git LFS pointer",
            ),
            (b"\xef\xbb\xbf\n <HTML>", "an HTML page"),
            (b"\0\0\0\x1cftypavif", "an AVIF picture"),
            (b"\0\0\0\x18ftypheic", "a HEIC picture"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP picture"),
            (b"\xff\xfef\0i\0", "text in UTF-16"),
            (b"f\0i\0l\0", "binary data"),
        ] {
            assert_eq!(of(start).map(|kind| kind.words), Some(words));
        }
    }

    #[test]
    fn what_may_be_text_has_no_kind() {
        for text in [
            &b""[..],
            b"filepath\ttitle\r\n\x00",
            b"BM,ID\n",
            b"BZh9\n",
            b"\xef\xbb\xbfsep=;\n",
            b"Pok\xe9mon,x\n",
        ] {
            assert!(of(text).is_none(), "{text:?}");
        }
    }
}
