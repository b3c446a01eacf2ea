//! Long captions are cut before they are tokenised.
//!
//! A row needs only the first tokens of a caption, and a caption can be a whole page. Its beginning is encoded first:
//! if that gives far more tokens than the row has places, the rest cannot change them, and otherwise a longer
//! beginning is tried. A word reaches over a few tokens, not over the hundreds that lie between the row's last place
//! and the cut.

/// Bytes of a caption that are always encoded.
const SHORTEST: usize = 16 << 10;
/// Bytes of a caption that are encoded for each place of the row.
const PER_TOKEN: usize = 64;
/// Tokens between the last place of a row and a cut.
const MARGIN: usize = 512;

/// The first length, in bytes, to try for a row with `room` places.
pub(super) fn first_try(room: usize) -> usize {
    SHORTEST.saturating_add(room.saturating_mul(PER_TOKEN))
}

/// How many tokens a beginning must give so that its first `room` are those of the whole caption.
pub(super) fn enough(room: usize) -> usize {
    room.saturating_add(MARGIN)
}

/// The beginning of `caption`, of about `length` bytes: up to a space before that where there is one in the last half
/// of it, else up to a character. `None` is the whole caption.
pub(super) fn beginning(caption: &str, length: usize) -> Option<&str> {
    if caption.len() <= length {
        return None;
    }
    let longest = &caption[..caption.floor_char_boundary(length)];
    let space = longest
        .rfind(char::is_whitespace)
        .filter(|&at| at > length / 2);
    let kept = &longest[..space.unwrap_or(longest.len())];
    (!depends_on_rest(caption, kept)).then_some(kept)
}

/// Whether the cleaning of `kept` depends on what follows: ftfy leaves the entities of a line alone if a `<` stands
/// anywhere in it.
fn depends_on_rest(caption: &str, kept: &str) -> bool {
    let line = &kept[kept.rfind('\n').map_or(0, |at| at + 1)..];
    let rest = caption[kept.len()..].split('\n').next().unwrap_or_default();
    line.contains('&') && !line.contains('<') && rest.contains('<')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_ends_at_a_space_or_at_a_character() {
        assert_eq!(beginning("a caption", 9), None);
        assert_eq!(beginning("a long caption", 9), Some("a long"));
        assert_eq!(beginning("a longcaption", 9), Some("a longcap"));
        assert_eq!(beginning("ééééééé", 9), Some("éééé"));
        assert_eq!(beginning("a &amp; b < c", 10), None);
        assert_eq!(beginning("a &amp; b\n< c", 10), Some("a &amp; b"));
    }
}
