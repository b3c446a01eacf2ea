//! Checksums of a PNG, before anything is inflated: damage is then called damage, and never decodes by luck.

use super::error::ImageError;

/// Checks the CRC of every chunk that is needed to see the picture (its name opens with a capital).
///
/// A file that ends inside a chunk passes; the decoder notices that.
pub(super) fn check_critical_chunks(bytes: &[u8]) -> Result<(), ImageError> {
    let mut at = 8;
    while let Some([a, b, c, d, name @ ..]) = bytes.get(at..at + 8) {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let end = (at + 8).saturating_add(length);
        let (Some(covered), Some(stored)) = (
            bytes.get(at + 4..end),
            bytes.get(end..end.saturating_add(4)),
        ) else {
            return Ok(());
        };
        if name[0].is_ascii_uppercase() && crc32fast::hash(covered).to_be_bytes() != stored {
            let reason = format!(
                "the checksum (CRC) of chunk {} does not match",
                String::from_utf8_lossy(name)
            );
            return Err(ImageError::Broken {
                format: "PNG",
                reason,
            });
        }
        at = end + 4;
    }
    Ok(())
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
}
