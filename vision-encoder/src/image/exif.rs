//! The camera's note on how it was held: EXIF orientation, wherever a format keeps it.
//!
//! What is read is what Pillow's `ImageOps.exif_transpose` reads: the number in any of TIFF's numeric types, of either
//! byte order, the last of several; where EXIF says nothing, XMP's `tiff:Orientation`. Garbage says nothing. Only EXIF
//! and XMP that a PNG holds as text (`Raw profile type exif`) or compressed are passed over.

use image::ImageFormat;

use super::jpeg_header::segments;
use super::png;

const ORIENTATION: u16 = 0x0112;
const XMP_OF_JPEG: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// Where a file keeps its notes.
#[derive(Default)]
struct Notes<'a> {
    exif: Option<Vec<u8>>,
    xmp: Option<&'a [u8]>,
}

/// The orientation, 1 (upright) to 8; 1 where nothing says so.
pub(super) fn orientation(bytes: &[u8], format: ImageFormat) -> u8 {
    let notes = match format {
        ImageFormat::Jpeg => of_jpeg(bytes),
        ImageFormat::Png => of_png(bytes),
        ImageFormat::WebP => of_webp(bytes),
        _ => Notes::default(),
    };
    let exif = if format == ImageFormat::Tiff {
        Some(bytes)
    } else {
        notes.exif.as_deref().map(without_prefix)
    };
    exif.and_then(|exif| tag_of_tiff(exif, ORIENTATION))
        .or_else(|| notes.xmp.and_then(of_xmp))
        .filter(|value| (1..=8).contains(value))
        .unwrap_or(1)
}

fn of_jpeg(bytes: &[u8]) -> Notes<'_> {
    let mut notes = Notes::default();
    for segment in segments(bytes).filter(|segment| segment.marker == 0xe1) {
        let payload = &bytes[segment.payload];
        if let Some(rest) = payload.strip_prefix(b"Exif\0\0") {
            // A long note goes on in further segments.
            notes.exif.get_or_insert_default().extend_from_slice(rest);
        } else if let Some(rest) = payload.strip_prefix(XMP_OF_JPEG) {
            notes.xmp = Some(rest);
        }
    }
    notes
}

fn of_png(bytes: &[u8]) -> Notes<'_> {
    let mut notes = Notes::default();
    for chunk in png::chunks(bytes) {
        match &chunk.name {
            b"eXIf" => notes.exif = Some(chunk.data.to_vec()),
            b"iTXt" if chunk.data.starts_with(b"XML:com.adobe.xmp\0") => {
                notes.xmp = Some(chunk.data);
            }
            _ => {}
        }
    }
    notes
}

/// A WebP is a RIFF file: chunks of a name, a length and as many bytes, padded to an even number.
fn of_webp(bytes: &[u8]) -> Notes<'_> {
    let mut notes = Notes::default();
    let mut at = 12;
    while let Some([a, b, c, d, length @ ..]) = bytes.get(at..at + 8) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let Some(data) = bytes.get(at + 8..(at + 8).saturating_add(length)) else {
            break;
        };
        match &[*a, *b, *c, *d] {
            b"EXIF" => notes.exif = Some(data.to_vec()),
            b"XMP " => notes.xmp = Some(data),
            _ => {}
        }
        at += 8 + length + length % 2;
    }
    notes
}

fn without_prefix(mut exif: &[u8]) -> &[u8] {
    while let Some(rest) = exif.strip_prefix(b"Exif\0\0") {
        exif = rest;
    }
    exif
}

fn of_xmp(text: &[u8]) -> Option<u8> {
    let after = |mark: &[u8]| {
        let at = text.windows(mark.len()).position(|part| part == mark)?;
        text.get(at + mark.len()).copied()
    };
    after(b"tiff:Orientation=\"")
        .or_else(|| after(b"tiff:Orientation>"))
        .filter(u8::is_ascii_digit)
        .map(|digit| digit - b'0')
}

/// A small number in the first directory of a TIFF or BigTIFF structure.
pub(super) fn tag_of_tiff(bytes: &[u8], tag: u16) -> Option<u8> {
    let tiff = Tiff::of(bytes)?;
    let (first, entries, size) = if tiff.big {
        let at = usize::try_from(tiff.number(8, 8)?).ok()?;
        (at.checked_add(8)?, tiff.number(at, 8)?, 20)
    } else {
        let at = tiff.number(4, 4)? as usize;
        (at.checked_add(2)?, tiff.number(at, 2)?, 12)
    };
    let rows = (0..usize::try_from(entries).ok()?)
        .map(|row| row.checked_mul(size)?.checked_add(first))
        .map_while(|at| at.filter(|at| at.saturating_add(size) <= bytes.len()));
    let found = rows.filter(|at| tiff.number(*at, 2) == Some(u64::from(tag)));
    found.filter_map(|at| tiff.entry(at)).last()
}

struct Tiff<'a> {
    bytes: &'a [u8],
    little: bool,
    big: bool,
}

impl<'a> Tiff<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (little, big) = match bytes.get(..4)? {
            b"II\x2a\0" | b"II\0\x2a" => (true, false),
            b"MM\0\x2a" | b"MM\x2a\0" => (false, false),
            b"II\x2b\0" => (true, true),
            b"MM\0\x2b" => (false, true),
            _ => return None,
        };
        Some(Self { bytes, little, big })
    }

    fn number(&self, at: usize, size: usize) -> Option<u64> {
        let bytes = self.bytes.get(at..at.checked_add(size)?)?;
        let push = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.little {
            bytes.iter().rev().fold(0, push)
        } else {
            bytes.iter().fold(0, push)
        })
    }

    /// The first value of an entry: tag, type, number of values, then the values or where they are.
    fn entry(&self, at: usize) -> Option<u8> {
        let kind = self.number(at + 2, 2)?;
        let size: usize = match kind {
            6 => 1,
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 | 16..=18 => 8,
            // Bytes and text are no numbers.
            _ => return None,
        };
        let word = if self.big { 8 } else { 4 };
        let (count, place) = (self.number(at + 4, word)?, at + 4 + word);
        let total = usize::try_from(count).ok()?.checked_mul(size)?;
        let place = match total {
            0 => return None,
            _ if total <= word => place,
            _ => usize::try_from(self.number(place, word)?).ok()?,
        };
        // All of them have to be there.
        self.bytes.get(place..place.checked_add(total)?)?;
        let raw = self.number(place, size)?;
        let value = match kind {
            5 | 10 => {
                let (over, under) = (self.number(place, 4)?, self.number(place + 4, 4)?);
                (under != 0 && over % under == 0).then(|| over / under)?
            }
            11 => whole(f64::from(f32::from_bits(raw as u32)))?,
            12 => whole(f64::from_bits(raw))?,
            _ => raw,
        };
        u8::try_from(value).ok()
    }
}

fn whole(value: f64) -> Option<u64> {
    (value.fract() == 0.0 && (0.0..=255.0).contains(&value)).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_tiff(bytes: &[u8]) -> Option<u8> {
        tag_of_tiff(bytes, ORIENTATION)
    }

    /// A TIFF structure with one entry of one value.
    fn tiff(little: bool, kind: u16, value: &[u8]) -> Vec<u8> {
        let short = |n: u16| {
            if little {
                n.to_le_bytes()
            } else {
                n.to_be_bytes()
            }
        };
        let long = |n: u32| {
            if little {
                n.to_le_bytes()
            } else {
                n.to_be_bytes()
            }
        };
        let mut out = if little { b"II\x2a\0" } else { b"MM\0\x2a" }.to_vec();
        out.extend(long(8));
        out.extend(short(1));
        out.extend([short(0x0112), short(kind)].concat());
        out.extend(long(1));
        if value.len() <= 4 {
            out.extend(value);
            out.resize(22, 0);
        } else {
            out.extend(long(26));
        }
        out.extend(long(0));
        out.extend(value.iter().filter(|_| value.len() > 4));
        out
    }

    #[test]
    fn every_numeric_type_is_read_in_both_byte_orders() {
        let little: [(u16, Vec<u8>); 6] = [
            (3, 6_u16.to_le_bytes().into()),
            (4, 6_u32.to_le_bytes().into()),
            (9, 6_i32.to_le_bytes().into()),
            (5, [6_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat()),
            (11, 6_f32.to_le_bytes().into()),
            (12, 6_f64.to_le_bytes().into()),
        ];
        for (kind, value) in little {
            assert_eq!(of_tiff(&tiff(true, kind, &value)), Some(6), "{kind}");
        }
        for (kind, value) in [
            (3, 8_u16.to_be_bytes().to_vec()),
            (4, 8_u32.to_be_bytes().to_vec()),
        ] {
            assert_eq!(of_tiff(&tiff(false, kind, &value)), Some(8), "{kind}");
        }
        assert_eq!(of_tiff(&tiff(true, 1, &[6])), None, "bytes are no number");
    }

    #[test]
    fn every_format_keeps_it_somewhere_else() {
        let exif = tiff(false, 4, &8_u32.to_be_bytes());
        let segment = [b"Exif\0\0", &exif[..]].concat();
        let length = (segment.len() as u16 + 2).to_be_bytes();
        let jpeg = [&b"\xff\xd8\xff\xe1"[..], &length, &segment, b"\xff\xd9"].concat();
        assert_eq!(orientation(&jpeg, ImageFormat::Jpeg), 8);
        let size = exif.len() as u32;
        let png = [&[0; 8][..], &size.to_be_bytes(), b"eXIf", &exif, &[0; 4]].concat();
        assert_eq!(orientation(&png, ImageFormat::Png), 8);
        let odd = b"ODD \x01\0\0\0..";
        let chunk = [&b"EXIF"[..], &size.to_le_bytes(), &exif].concat();
        let webp = [&b"RIFF\0\0\0\0WEBP"[..], odd, &chunk].concat();
        assert_eq!(orientation(&webp, ImageFormat::WebP), 8);
        assert_eq!(orientation(&exif, ImageFormat::Tiff), 8);
    }

    #[test]
    fn xmp_is_asked_where_exif_is_silent() {
        let xmp = [XMP_OF_JPEG, b"<x tiff:Orientation=\"6\"/>"].concat();
        let length = (xmp.len() as u16 + 2).to_be_bytes();
        let jpeg = [&b"\xff\xd8\xff\xe1"[..], &length, &xmp, b"\xff\xd9"].concat();
        assert_eq!(orientation(&jpeg, ImageFormat::Jpeg), 6);
        assert_eq!(of_xmp(b"<tiff:Orientation>3</tiff:Orientation>"), Some(3));
    }

    #[test]
    fn garbage_says_nothing() {
        let whole = tiff(true, 3, &6_u16.to_le_bytes());
        for length in 0..whole.len() - 4 {
            let value = of_tiff(&whole[..length]);
            assert!(value.is_none() || length >= 20, "{length}: {value:?}");
        }
        let mut far = whole.clone();
        far[4..8].fill(0xff);
        assert_eq!(of_tiff(&far), None);
        assert_eq!(orientation(&tiff(true, 3, &[9, 0]), ImageFormat::Tiff), 1);
        assert_eq!(
            of_tiff(b"II\x2b\0\x08\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
            None
        );
    }
}
