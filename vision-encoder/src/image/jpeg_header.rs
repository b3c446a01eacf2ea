//! The segments of a JPEG before its first scan.

use std::ops::Range;

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;
const JFIF: u8 = 0xe0;

/// A marker and what it says.
pub(super) struct Segment {
    /// The second byte of the marker; the first is 0xff.
    pub(super) marker: u8,
    /// Where the marker begins.
    pub(super) start: usize,
    /// What follows the length.
    pub(super) payload: Range<usize>,
}

/// The segments up to the first scan, that one included. Bytes between them that are none are passed over.
pub(super) fn segments(bytes: &[u8]) -> impl Iterator<Item = Segment> {
    let mut at = Some(2);
    std::iter::from_fn(move || {
        let segment = next(bytes, at?);
        at = segment
            .as_ref()
            .filter(|segment| segment.marker != START_OF_SCAN)
            .map(|segment| segment.payload.end);
        segment
    })
}

fn next(bytes: &[u8], mut at: usize) -> Option<Segment> {
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0xff)?;
        at += bytes[at..].iter().position(|byte| *byte != 0xff)?;
        let marker = bytes[at];
        at += 1;
        match marker {
            // What stands alone.
            0 | 0x01 | 0xd0..=0xd8 => {}
            END_OF_IMAGE => return None,
            _ => {
                let length = bytes.get(at..at + 2)?;
                let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
                let payload = at + 2..at + length.max(2);
                bytes.get(payload.clone())?;
                return Some(Segment {
                    marker,
                    start: at - 2,
                    payload,
                });
            }
        }
    }
}

/// The file without what libjpeg warns of and reads past before the first scan: bytes between segments, and a JFIF
/// version that is not 1. Nothing if there is no such thing.
pub(super) fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = bytes.get(..2)?.to_vec();
    for segment in segments(bytes) {
        if segment.marker == START_OF_SCAN {
            out.extend_from_slice(&bytes[segment.start..]);
            return (out != bytes).then_some(out);
        }
        let from = out.len();
        out.extend_from_slice(&bytes[segment.start..segment.payload.end]);
        let payload = &mut out[from + 4..];
        if segment.marker == JFIF && payload.starts_with(b"JFIF\0") && payload.len() > 5 {
            payload[5] = 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCAN: &[u8] = b"\xff\xda\x00\x03\x01data\xff\x00more\xff\xd9";

    #[test]
    fn segments_end_with_the_first_scan() {
        let bytes = [b"\xff\xd8\xff\xdb\x00\x04ab\xff\xff\xc0\x00\x02", SCAN].concat();
        let found: Vec<_> = segments(&bytes)
            .map(|s| (s.marker, bytes[s.payload].to_vec()))
            .collect();
        let expected = [(0xdb, &b"ab"[..]), (0xc0, b""), (0xda, b"\x01")];
        assert_eq!(
            found,
            expected.map(|(marker, data)| (marker, data.to_vec()))
        );
    }

    #[test]
    fn bytes_between_segments_are_dropped_and_nothing_else() {
        let clean = [b"\xff\xd8\xff\xdb\x00\x04ab\xff\xc0\x00\x02", SCAN].concat();
        assert_eq!(mended(&clean), None);
        let junk = [
            b"\xff\xd8\x01\x02\xff\xdb\x00\x04ab\x00\xff\xc0\x00\x02\x07",
            SCAN,
        ]
        .concat();
        assert_eq!(mended(&junk).as_deref(), Some(&clean[..]));
        let old = [b"\xff\xd8\xff\xe0\x00\x09JFIF\0\x01\x01", SCAN].concat();
        let new = [b"\xff\xd8\xff\xe0\x00\x09JFIF\0\x02\x01", SCAN].concat();
        assert_eq!(mended(&new).as_deref(), Some(&old[..]));
    }

    #[test]
    fn what_ends_before_a_scan_is_left_to_the_decoder() {
        let whole = [b"\xff\xd8\xff\xdb\x00\x04ab\x01", SCAN].concat();
        for length in 0..whole.len() - SCAN.len() + 4 {
            assert_eq!(mended(&whole[..length]), None, "{length}");
        }
        let short = b"\xff\xd8\xff\xdb\x00\x00\xff\xda\x00\x02";
        assert_eq!(segments(short).count(), 2);
    }
}
