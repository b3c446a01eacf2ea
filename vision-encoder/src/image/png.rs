//! A PNG's chunks, before anything is inflated: damage is then called damage, and what nobody needs is left out.

use std::borrow::Cow;

use super::error::ImageError;

/// Chunks that the decoder would inflate or keep, and that no pixel depends on: profiles, notes, other palettes.
const UNNEEDED: [&[u8; 4]; 8] = [
    b"iCCP", b"zTXt", b"iTXt", b"tEXt", b"eXIf", b"sPLT", b"hIST", b"acTL",
];

/// A part of a PNG.
pub(super) struct Chunk<'a> {
    pub(super) name: [u8; 4],
    pub(super) data: &'a [u8],
    /// Name and data, which the checksum covers.
    covered: &'a [u8],
    stored: [u8; 4],
    /// The whole of it.
    whole: &'a [u8],
}

/// The chunks of a PNG, as far as they are whole.
pub(super) fn chunks(bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, _) = rest.split_first_chunk::<4>()?;
        let end = (u32::from_be_bytes(*length) as usize).checked_add(8)?;
        let covered = rest.get(4..end)?;
        let stored = *rest.get(end..)?.first_chunk::<4>()?;
        let (name, data) = covered.split_first_chunk::<4>()?;
        let (whole, after) = rest.split_at(end + 4);
        rest = after;
        Some(Chunk {
            name: *name,
            data,
            covered,
            stored,
            whole,
        })
    })
}

/// Checks the CRC of every chunk that is needed to see the picture (its name opens with a capital).
///
/// A file that ends inside a chunk passes; the decoder notices that.
pub(super) fn check_critical_chunks(bytes: &[u8]) -> Result<(), ImageError> {
    for chunk in chunks(bytes) {
        let is_critical = chunk.name[0].is_ascii_uppercase();
        if is_critical && crc32fast::hash(chunk.covered).to_be_bytes() != chunk.stored {
            let reason = format!(
                "the checksum (CRC) of chunk {} does not match",
                chunk.name.escape_ascii()
            );
            return Err(ImageError::Broken {
                format: "PNG",
                reason,
            });
        }
    }
    Ok(())
}

/// The file without the chunks that would only cost memory: a profile of some kilobytes inflates to gigabytes.
pub(super) fn without_unneeded(bytes: &[u8]) -> Cow<'_, [u8]> {
    let is_unneeded = |chunk: &Chunk| UNNEEDED.contains(&&chunk.name);
    if !chunks(bytes).any(|chunk| is_unneeded(&chunk)) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    out.extend_from_slice(&bytes[..8]);
    let mut read = 8;
    for chunk in chunks(bytes) {
        read += chunk.whole.len();
        if !is_unneeded(&chunk) {
            out.extend_from_slice(chunk.whole);
        }
    }
    // What is cut short is left to the decoder.
    out.extend_from_slice(&bytes[read..]);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signature and one chunk, with its checksum.
    fn one_chunk(name: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let covered = [name, data].concat();
        let crc = crc32fast::hash(&covered).to_be_bytes();
        [
            &[0; 8][..],
            &(data.len() as u32).to_be_bytes(),
            &covered,
            &crc,
        ]
        .concat()
    }

    #[test]
    fn a_flipped_bit_in_a_critical_chunk_is_reported() {
        let mut bytes = one_chunk(b"IDAT", b"pixels");
        assert_eq!(check_critical_chunks(&bytes), Ok(()));
        bytes[17] ^= 1;
        let error = check_critical_chunks(&bytes).unwrap_err();
        assert!(
            error.to_string().contains("checksum (CRC) of chunk IDAT"),
            "{error}"
        );
    }

    #[test]
    fn damage_in_a_text_chunk_does_no_harm() {
        let mut bytes = one_chunk(b"tEXt", b"hello");
        bytes[17] ^= 1;
        assert_eq!(check_critical_chunks(&bytes), Ok(()));
    }

    #[test]
    fn lengths_beyond_the_file_are_left_to_the_decoder() {
        let mut bytes = one_chunk(b"IDAT", b"pixels");
        bytes[8..12].fill(0xff);
        assert_eq!(check_critical_chunks(&bytes), Ok(()));
        assert_eq!(check_critical_chunks(&bytes[..5]), Ok(()));
    }

    #[test]
    fn profiles_and_notes_are_left_out() {
        let (profile, pixels) = (one_chunk(b"iCCP", b"zip"), one_chunk(b"IDAT", b"pixels"));
        let bytes = [&profile, &pixels[8..], b"rest"].concat();
        let kept = without_unneeded(&bytes);
        assert_eq!(*kept, [&pixels[..], b"rest"].concat());
        assert!(matches!(without_unneeded(&pixels), Cow::Borrowed(_)));
        assert!(matches!(without_unneeded(&pixels[..5]), Cow::Borrowed(_)));
    }
}
