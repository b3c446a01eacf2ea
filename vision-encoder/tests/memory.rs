//! Small files that ask for much memory get none. The peak belongs to the process: one test, in a program of its own.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "reads its own status"
)]

use std::io::Write;

use flate2::{Compression, write::ZlibEncoder};
use vision_encoder::image::{DecodeOptions, ImageError, Limits, decode};

const MB: usize = 1 << 20;

/// What zeros become, deflated.
fn deflated_zeros(length: usize) -> Vec<u8> {
    let mut out = ZlibEncoder::new(Vec::new(), Compression::fast());
    let block = [0; 1 << 16];
    for _ in 0..length / block.len() {
        out.write_all(&block).unwrap();
    }
    out.finish().unwrap()
}

fn chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let covered = [name, data].concat();
    let crc = crc32fast::hash(&covered).to_be_bytes();
    [&(data.len() as u32).to_be_bytes()[..], &covered, &crc].concat()
}

fn png(width: u32, height: u32, kind: [u8; 2], between: &[u8], pixels: &[u8]) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let header = chunk(b"IHDR", &[&size[..], &kind, &[0; 3]].concat());
    let (data, end) = (chunk(b"IDAT", pixels), chunk(b"IEND", b""));
    [b"\x89PNG\r\n\x1a\n", &header[..], between, &data, &end].concat()
}

fn tiff(entries: &[(u16, u16, u32, u32)]) -> Vec<u8> {
    let mut out = b"II\x2a\0\x08\0\0\0".to_vec();
    out.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        out.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        out.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
    }
    out.extend([0; 64]);
    out
}

fn bmp(width: i32, height: i32, colours: u32) -> Vec<u8> {
    let mut out = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    out.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
    out.extend(b"\x01\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    out.extend(colours.to_le_bytes());
    out.extend([0; 2048]);
    out
}

/// Bombs that no header gives away.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let zip = deflated_zeros(256 * MB);
    let one = deflated_zeros(1 << 16);
    let profile = chunk(b"iCCP", &[b"p\0\0", &zip[..]].concat());
    let note = chunk(b"zTXt", &[b"Comment\0\0", &zip[..]].concat());
    let long = chunk(
        b"iTXt",
        &[b"XML:com.adobe.xmp\0\x01\0\0\0", &zip[..]].concat(),
    );
    let grey = |between: &[u8]| png(4, 4, [8, 0], between, &one);
    let mut gif = b"GIF89a\x10\0\x10\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    gif.extend(b",\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0;");
    let wide = [
        (256, 4, 1, 4),
        (257, 4, 1, 4),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
    ];
    let strips = |count| {
        let offsets = [(273, 4, count, 8), (278, 4, 1, 1), (279, 4, count, 8)];
        tiff(&[&wide[..], &offsets].concat())
    };
    let riff = |chunk: &[u8]| [&b"RIFF\xff\xff\xff\x7fWEBP"[..], chunk].concat();
    let canvas = b"VP8X\x0a\0\0\0\x20\0\0\0\x03\0\0\x03\0\0ICCP\xff\xff\xff\x7f";
    vec![
        ("profile of a PNG", grey(&profile)),
        ("note of a PNG", grey(&note)),
        ("XMP of a PNG", grey(&long)),
        ("pixels of a PNG", png(4, 4, [8, 0], b"", &zip)),
        ("frame of a GIF", gif),
        ("strips of a TIFF", strips(0x3fff_ffff)),
        ("more strips of a TIFF", strips(0x0fff_ffff)),
        ("one strip of a TIFF", strips(1)),
        ("colours of a BMP", bmp(4, 4, u32::MAX)),
        ("profile of a WebP", riff(canvas)),
    ]
}

/// Files whose header declares too much.
fn giants() -> Vec<(&'static str, Vec<u8>)> {
    let mut gif = b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    gif.extend(b",\0\0\0\0\xff\xff\xff\xff\0\x02\0;");
    let mut jpeg = b"\xff\xd8".to_vec();
    jpeg.extend(b"\xff\xc2\0\x0b\x08\xff\xdc\xff\xdc\x01\x01\x11\0");
    jpeg.extend(b"\xff\xda\0\x08\x01\x01\0\0\0\0");
    let sides = [
        (256, 4, 1, 60_000),
        (257, 4, 1, 60_000),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
    ];
    let rest = [
        (262, 3, 1, 1),
        (273, 4, 1, 8),
        (278, 4, 1, 60_000),
        (279, 4, 1, 8),
    ];
    let webp = b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0".to_vec();
    vec![
        ("PNG", png(60_000, 60_000, [16, 6], b"", b"")),
        ("GIF", gif),
        ("JPEG", jpeg),
        ("TIFF", tiff(&[sides, rest].concat())),
        ("BMP", bmp(60_000, -60_000, 0)),
        ("WebP", webp),
    ]
}

/// The most memory that this process has held, in bytes; nothing where the system does not tell.
fn peak() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes << 10)
}

#[test]
fn small_files_get_little_memory() {
    let options = DecodeOptions {
        limits: Limits {
            max_pixels: 1 << 16,
            ..Limits::default()
        },
        ..DecodeOptions::reference()
    };
    let (bombs, giants) = (bombs(), giants());
    let before = peak();
    for (name, bytes) in &bombs {
        let outcome = decode(bytes, &options);
        if name.ends_with("of a PNG") {
            assert!(outcome.is_ok(), "{name}: {outcome:?}");
        }
        let grown = peak().zip(before).map_or(0, |(now, then)| now - then);
        assert!(grown < 16 * MB, "{name}: {grown} bytes, {outcome:?}");
    }
    for (name, bytes) in &giants {
        let outcome = decode(bytes, &options);
        let refused = matches!(outcome, Err(ImageError::TooManyPixels { .. }));
        // Some decoders want more of the file before they say its size.
        let is_error = outcome.is_err() && *name == "WebP";
        assert!(refused || is_error, "{name}: {outcome:?}");
        let grown = peak().zip(before).map_or(0, |(now, then)| now - then);
        assert!(grown < 16 * MB, "{name}: {grown} bytes");
    }
}

#[test]
fn a_strip_that_would_take_gigabytes_to_resize_is_refused() {
    let options = DecodeOptions::default();
    for (width, height) in [(1, 1 << 26), (1 << 26, 1), (65_536, 1)] {
        let outcome = decode(&png(width, height, [8, 0], b"", b""), &options);
        assert!(
            matches!(outcome, Err(ImageError::TooLong { limit: 65_535, .. })),
            "{width}x{height}: {outcome:?}"
        );
    }
}
