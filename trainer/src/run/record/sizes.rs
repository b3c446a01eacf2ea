//! The sizes of pictures in a record: 32 bits each, least byte first, deflated.

use std::io::{Read, Write};

use anyhow::ensure;
use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

/// The file of a record that holds them.
pub(super) const NAME: &str = "sizes.bin";

/// The file's bytes.
pub(super) fn to_bytes(sizes: &[u32]) -> std::io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    for size in sizes {
        encoder.write_all(&size.to_le_bytes())?;
    }
    encoder.finish()
}

/// The sizes of `rows` pictures.
///
/// # Errors
///
/// If there are more or fewer, or the bytes are no deflated ones.
pub(super) fn from_bytes(bytes: &[u8], rows: u64) -> anyhow::Result<Vec<u32>> {
    let expected = rows.saturating_mul(4);
    let mut found = Vec::new();
    let mut decoder = ZlibDecoder::new(bytes).take(expected.saturating_add(1));
    decoder.read_to_end(&mut found)?;
    ensure!(
        found.len() as u64 == expected,
        "has not the sizes of {rows} pictures"
    );
    let (sizes, _) = found.as_chunks();
    Ok(sizes.iter().map(|size| u32::from_le_bytes(*size)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_back_and_another_number_of_them_does_not() {
        let sizes = [0, 1, 70_000, u32::MAX];
        let bytes = to_bytes(&sizes).unwrap();
        assert_eq!(from_bytes(&bytes, 4).unwrap(), sizes);
        for (bytes, rows) in [
            (&bytes[..], 3),
            (&bytes, 5),
            (&bytes[..5], 4),
            (b"other", 4),
        ] {
            assert!(from_bytes(bytes, rows).is_err());
        }
    }
}
