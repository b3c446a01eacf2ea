//! Inputs that are several files.

/// What stands between two files.
const LINE: &[u8] = b"\n=====\n";

/// What stands before and after the first line of equal signs.
pub fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.windows(LINE.len()).position(|piece| piece == LINE)?;
    Some((&bytes[..at], &bytes[at + LINE.len()..]))
}
