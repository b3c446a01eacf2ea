//! One number for all that a source says, by which a resumed run knows its data again.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

/// Bytes that are gathered for the hash at a time: short pieces would cost it more than their bytes.
const GATHERED: usize = 64 << 10;

/// SHA-256 of the keys and captions of `len` pairs. Each text stands after its length, so that no two lists of pairs
/// are the same bytes.
pub(crate) fn of<'a>(
    len: usize,
    key: impl Fn(usize) -> Cow<'a, str>,
    caption: impl Fn(usize) -> Cow<'a, str>,
) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut gathered: Vec<u8> = Vec::with_capacity(2 * GATHERED);
    hash.update((len as u64).to_le_bytes());
    for index in 0..len {
        for text in [key(index), caption(index)] {
            gathered.extend((text.len() as u64).to_le_bytes());
            gathered.extend(text.as_bytes());
        }
        if gathered.len() > GATHERED {
            hash.update(&gathered);
            gathered.clear();
        }
    }
    hash.update(&gathered);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(pairs: &[(&str, &str)]) -> [u8; 32] {
        of(pairs.len(), |i| pairs[i].0.into(), |i| pairs[i].1.into())
    }

    #[test]
    fn every_change_of_a_pair_or_of_their_order_changes_the_digest() {
        let pairs = [("a.png", "x"), ("b.png", "y")];
        let others: [&[(&str, &str)]; 6] = [
            &[("a.png", "x")],
            &[("b.png", "y"), ("a.png", "x")],
            &[("a.png", "y"), ("b.png", "x")],
            &[("a.pngx", ""), ("b.png", "y")],
            &[("a.png", "x"), ("b.png", "y"), ("", "")],
            &[],
        ];
        assert_eq!(digest(&pairs), digest(&pairs));
        assert!(others.iter().all(|other| digest(other) != digest(&pairs)));
    }

    #[test]
    fn the_digest_of_a_list_never_changes() {
        // printf '\1\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0a\1\0\0\0\0\0\0\0x' | sha256sum
        let expected = "e599edf64bb4a06e68e19d01ba5e1358115c977731312101369af20b77d93741";
        let hex: String = digest(&[("a", "x")])
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(hex, expected);
    }
}
