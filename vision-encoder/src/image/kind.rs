//! What a file is that is no picture, by its content.

/// A kind of file and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) remedy: &'static str,
}

const CONVERT: &str = "convert it to JPEG or PNG";
const DRAW: &str = "draw it to PNG";
const UNPACK: &str = "unpack it and name the pictures inside";
const FRAMES: &str = "save frames of it as JPEG or PNG";
const AGAIN: &str = "download the picture again";
const TABLE: &str = "name it as the data, not as a picture";
pub(super) const OTHER: &str = "replace it by a picture";

/// What opens a file, and where.
const MAGIC: &[(usize, &[u8], &str, &str)] = &[
    (0, b"\x1f\x8b", "a gzip file", UNPACK),
    (0, b"PK\x03\x04", "a zip archive", UNPACK),
    (0, b"BZh", "a bzip2 file", UNPACK),
    (0, b"\xfd7zXZ\0", "an xz file", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (257, b"ustar", "a tar archive", UNPACK),
    (0, b"\xff\x0a", "a JPEG XL picture", CONVERT),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL picture", CONVERT),
    (
        0,
        b"\0\0\0\x0cjP  \r\n\x87\n",
        "a JPEG 2000 picture",
        CONVERT,
    ),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture", CONVERT),
    (0, b"8BPS", "a Photoshop document", CONVERT),
    (0, b"\0\0\x01\0", "an icon (ICO)", CONVERT),
    (0, b"\0\0\x02\0", "a cursor (CUR)", CONVERT),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR picture", CONVERT),
    (0, b"#?RADIANCE", "a Radiance HDR picture", CONVERT),
    (0, b"#?RGBE", "a Radiance HDR picture", CONVERT),
    (0, b"qoif", "a QOI picture", CONVERT),
    (0, b"DDS ", "a DirectDraw surface (DDS)", CONVERT),
    (0, b"farbfeld", "a farbfeld picture", CONVERT),
    (0, b"gimp xcf", "a GIMP document", CONVERT),
    (0, b"%PDF", "a PDF document", DRAW),
    (0, b"%!PS", "a PostScript document", DRAW),
    (0, b"\x1a\x45\xdf\xa3", "a video (WebM or Matroska)", FRAMES),
    (8, b"AVI ", "a video (AVI)", FRAMES),
    (0, b"FLV\x01", "a video (FLV)", FRAMES),
    (0, b"\0\0\x01\xba", "a video (MPEG)", FRAMES),
    (8, b"WAVE", "a sound file (WAV)", OTHER),
    (0, b"ID3", "a sound file (MP3)", OTHER),
    (0, b"OggS", "a sound or video file (Ogg)", OTHER),
    (0, b"PAR1", "a Parquet table", TABLE),
    (0, b"ARROW1", "an Arrow table", TABLE),
    (0, b"\x89HDF\r\n", "an HDF5 file", OTHER),
    (0, b"\x93NUMPY", "a NumPy array", CONVERT),
    (0, b"SQLite format 3\0", "an SQLite database", OTHER),
    (0, b"\x7fELF", "a program", OTHER),
    (0, b"MZ", "a program", OTHER),
];

/// The brands of an ISO media file (`ftyp` at byte 4).
const BRANDS: &[(&[&[u8; 4]], &str, &str)] = &[
    (&[b"avif", b"avis"], "an AVIF picture", CONVERT),
    (
        &[
            b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1",
        ],
        "a HEIC picture",
        CONVERT,
    ),
    (&[b"crx "], "a raw picture of a camera (CR3)", CONVERT),
];

/// What the file is, if that can be told.
pub(super) fn kind_of(bytes: &[u8]) -> Option<Kind> {
    let magic = MAGIC
        .iter()
        .find(|(at, magic, ..)| bytes.get(*at..).is_some_and(|b| b.starts_with(magic)));
    if let Some((.., name, remedy)) = magic {
        return Some(Kind { name, remedy });
    }
    iso_media(bytes)
        .or_else(|| zeros(bytes))
        .or_else(|| text(bytes))
}

fn iso_media(bytes: &[u8]) -> Option<Kind> {
    let brand = bytes.get(8..12).filter(|_| &bytes[4..8] == b"ftyp")?;
    let known = BRANDS
        .iter()
        .find(|(brands, ..)| brands.iter().any(|b| &b[..] == brand));
    Some(match known {
        Some((_, name, remedy)) => Kind { name, remedy },
        None => Kind {
            name: "a video (MP4 or QuickTime)",
            remedy: FRAMES,
        },
    })
}

fn zeros(bytes: &[u8]) -> Option<Kind> {
    (bytes.len() > 16 && bytes.iter().all(|byte| *byte == 0)).then_some(Kind {
        name: "nothing but zero bytes",
        remedy: AGAIN,
    })
}

/// Kinds of text, by how it opens.
fn text(bytes: &[u8]) -> Option<Kind> {
    let head = &bytes[..bytes.len().min(1024)];
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let head = head.trim_ascii_start().to_ascii_lowercase();
    let has = |mark: &[u8]| head.windows(mark.len()).any(|part| part == mark);
    let opens = |marks: &[&[u8]]| marks.iter().any(|mark| head.starts_with(mark));
    let kind = |name, remedy| Some(Kind { name, remedy });
    if opens(&[b"version https://git-lfs"]) {
        return kind(
            "a Git LFS pointer, which stands for a file that was not fetched",
            "run `git lfs pull`",
        );
    }
    if opens(&[b"<!doctype html", b"<html", b"<head", b"<body"])
        || opens(&[b"<?xml", b"<!--"]) && has(b"<html")
    {
        return kind("an HTML page, as failed downloads leave it", AGAIN);
    }
    if opens(&[b"<svg"]) || opens(&[b"<?xml", b"<!--", b"<!doctype svg"]) && has(b"<svg") {
        return kind("an SVG drawing", DRAW);
    }
    if opens(&[b"<?xml"]) {
        return kind("an XML document, as failed downloads leave it", AGAIN);
    }
    if opens(&[b"data:image/", b"/9j/", b"ivborw0kggo"]) {
        return kind("a picture as base64 text", "decode it to bytes");
    }
    if head.len() >= 3
        && head[0] == b'p'
        && b"1234567".contains(&head[1])
        && head[2].is_ascii_whitespace()
    {
        return kind("a Netpbm picture (PBM, PGM or PPM)", CONVERT);
    }
    let is_text = |byte: &u8| *byte >= b' ' || byte.is_ascii_whitespace();
    if head.is_empty() || !head.iter().all(is_text) {
        return None;
    }
    // A character may be cut at the end.
    let valid = match std::str::from_utf8(&head) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none() && bytes.len() > 1024,
    };
    match (valid, head[0]) {
        (false, _) => None,
        (true, b'{' | b'[') => kind("JSON text", OTHER),
        (true, _) => kind("text", OTHER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: &[u8]) -> Option<&'static str> {
        kind_of(bytes).map(|kind| kind.name)
    }

    #[test]
    fn kinds_that_people_have_are_told_with_what_to_do() {
        let tar = [&[0; 257][..], b"ustar\0"].concat();
        for (bytes, part, remedy) in [
            (&b"\x1f\x8b\x08\0"[..], "gzip", UNPACK),
            (&tar, "tar", UNPACK),
            (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC", CONVERT),
            (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF", CONVERT),
            (b"\0\0\0\x1cftypisom\0\0\0\0", "MP4", FRAMES),
            (b"\xff\x0a\x00", "JPEG XL", CONVERT),
            (b"%PDF-1.7", "PDF", DRAW),
            (
                b"version https://git-lfs.github.com/spec/v1\noid",
                "Git LFS",
                "run `git lfs pull`",
            ),
            (b"\n<!DOCTYPE HTML><html>", "HTML", AGAIN),
            (b"<?xml version=\"1.0\"?><svg xmlns=\"\">", "SVG", DRAW),
            (b"<svg width=\"4\"/>", "SVG", DRAW),
            (b"<?xml version=\"1.0\"?><Error>", "XML", AGAIN),
            (b"{\"error\": 404}", "JSON", OTHER),
            (b"Not Found\n", "text", OTHER),
            (b"P6\n4 4\n255\n", "Netpbm", CONVERT),
            (b"RIFF\0\0\0\0AVI LIST", "AVI", FRAMES),
            (b"8BPS\0\x01", "Photoshop", CONVERT),
            (b"\0\0\x01\0\x01\0", "ICO", CONVERT),
            (&[0; 64], "zero bytes", AGAIN),
        ] {
            let kind = kind_of(bytes).unwrap_or_else(|| panic!("{part}"));
            assert!(kind.name.contains(part), "{part}: {}", kind.name);
            assert_eq!(kind.remedy, remedy, "{part}");
        }
    }

    #[test]
    fn text_of_other_alphabets_is_text_and_noise_is_nothing() {
        let long = "ä".repeat(2000);
        assert_eq!(name(long.as_bytes()), Some("text"));
        assert_eq!(name(&long.as_bytes()[1..]), None);
        assert_eq!(name(b"\x01\x02\x03\x04"), None);
        assert_eq!(name(b""), None);
    }
}
