//! What stands in a file, as a message may show it: short, and without characters that a terminal would obey.

use std::borrow::Cow;
use std::path::Path;

/// How many names a message lists, and how much of each, in characters.
const LISTED: usize = 20;
const LISTED_CHARS: usize = 40;

/// A text with its control characters spelled out.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return text.into();
    }
    let spelled = text.chars().flat_map(|c| {
        let (spelled, kept) = if c.is_control() {
            (Some(c.escape_default()), None)
        } else {
            (None, Some(c))
        };
        spelled.into_iter().flatten().chain(kept)
    });
    spelled.collect::<String>().into()
}

/// A path with its control characters spelled out.
pub(crate) fn shown(path: &Path) -> String {
    plain(&path.to_string_lossy()).into_owned()
}

/// Names in backticks, the first of them.
pub(crate) fn list<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let left = names.len().saturating_sub(LISTED);
    let shown = names.take(LISTED).map(|name| {
        let start: String = name.chars().take(LISTED_CHARS).collect();
        format!("`{}`", plain(&start))
    });
    let mut list = shown.collect::<Vec<_>>().join(", ");
    if left > 0 {
        list.push_str(&format!(" and {left} more"));
    }
    list
}

/// A number of things with the noun in the right form.
pub(crate) fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_spelled_out() {
        assert_eq!(plain("a\u{1b}[31m\t\0b"), "a\\u{1b}[31m\\t\\u{0}b");
        assert_eq!(plain("für `x`"), "für `x`");
    }

    #[test]
    fn long_lists_are_cut() {
        let names = vec!["a"; 25];
        let list = list(names.iter().copied());
        assert!(list.ends_with("`a` and 5 more"), "{list}");
    }
}
