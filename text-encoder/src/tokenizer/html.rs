//! Character references, decoded as Python's `html.unescape` and ftfy's `unescape_html` decode them.
//!
//! CLIP's training text went through those two functions; a browser's rules differ in the corners (a browser keeps
//! `&#1;` as a control character, Python drops it). The names come from `htmlize`, the table of the HTML standard.

use std::borrow::Cow;

/// Windows-1252 at bytes 0x80 to 0x9f; the five unassigned bytes stand for themselves.
pub(super) const WINDOWS_1252: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}',
    '\u{90}', '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

/// Longest name that can follow `&`, in characters, as in Python's regular expression.
const LONGEST_NAME: usize = 32;

/// Decodes every character reference once, like Python's `html.unescape`.
pub(super) fn unescape(text: &str) -> Cow<'_, str> {
    replace_references(text, |rest| {
        let after = &rest[1..];
        if let Some(digits) = after.strip_prefix('#') {
            return numeric(digits).map(|(decoded, length)| (decoded, 2 + length));
        }
        let name = name_of(after);
        named(name).map(|(decoded, length)| (decoded, 1 + length))
    })
}

/// Decodes the unambiguous references once, like ftfy's `unescape_html`: only those that end in a semicolon, and
/// upper-case spellings of lower-case names (`&EACUTE;` is `É`).
pub(super) fn unescape_unambiguous(text: &str) -> Cow<'_, str> {
    replace_references(text, |rest| {
        let length = entity_length(rest)?;
        let entity = &rest[..length];
        if let Some(decoded) = entity_value(entity) {
            return Some((decoded.to_string(), length));
        }
        if entity.starts_with("&#") {
            let decoded = unescape(entity);
            return (!decoded.contains(';')).then(|| (decoded.into_owned(), length));
        }
        shouted(entity).map(|decoded| (decoded, length))
    })
}

/// Replaces what `decode` recognises at each `&`: it gets the text from there on and returns the replacement and the
/// number of bytes that it stands for.
fn replace_references<'t>(
    text: &'t str,
    decode: impl Fn(&str) -> Option<(String, usize)>,
) -> Cow<'t, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let (decoded, length) = decode(rest).unwrap_or_else(|| ("&".to_string(), 1));
        out.push_str(&decoded);
        rest = &rest[length..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// A numeric reference after `&#`: the text it stands for and its length in bytes.
fn numeric(digits: &str) -> Option<(String, usize)> {
    let (radix, prefix) = if digits.starts_with(['x', 'X']) {
        (16, 1)
    } else {
        (10, 0)
    };
    let count = digits[prefix..]
        .bytes()
        .take_while(|b| (*b as char).is_digit(radix))
        .count();
    if count == 0 {
        return None;
    }
    let end = prefix + count;
    let code = u32::from_str_radix(&digits[prefix..end], radix).unwrap_or(u32::MAX);
    let semicolon = usize::from(digits[end..].starts_with(';'));
    Some((code_point(code), end + semicolon))
}

/// What Python makes of a numeric reference: Windows-1252 for the C1 range, nothing for control and non-characters.
fn code_point(code: u32) -> String {
    match code {
        0 => "\u{fffd}".to_string(),
        0x80..=0x9f => WINDOWS_1252[code as usize - 0x80].to_string(),
        0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef => String::new(),
        _ if code <= 0x10_ffff && code & 0xfffe == 0xfffe => String::new(),
        _ => char::from_u32(code).unwrap_or('\u{fffd}').to_string(),
    }
}

/// The longest text after `&` that could be a name, its semicolon included.
fn name_of(after: &str) -> &str {
    let stops = |c: char| matches!(c, '\t' | '\n' | '\u{c}' | ' ' | '<' | '&' | '#' | ';');
    let end = after
        .char_indices()
        .take(LONGEST_NAME)
        .take_while(|(_, c)| !stops(*c))
        .map(|(i, c)| i + c.len_utf8());
    let end = end.last().unwrap_or(0);
    if end > 0 && after[end..].starts_with(';') {
        &after[..=end]
    } else {
        &after[..end]
    }
}

/// The longest prefix of `name` (of two characters or more) that is a name, decoded, and its length in bytes.
fn named(name: &str) -> Option<(String, usize)> {
    let ends = name
        .char_indices()
        .map(|(i, c)| i + c.len_utf8())
        .skip(1)
        .collect::<Vec<_>>();
    ends.into_iter().rev().find_map(|end| {
        let entity = format!("&{}", &name[..end]);
        entity_value(&entity).map(|decoded| (decoded.to_string(), end))
    })
}

/// The length in bytes of `&name;` or `&#digits;` at the start of `rest`, names of at most 24 letters and digits.
fn entity_length(rest: &str) -> Option<usize> {
    let start = if rest[1..].starts_with('#') { 2 } else { 1 };
    let count = rest[start..]
        .bytes()
        .take_while(u8::is_ascii_alphanumeric)
        .count();
    ((1..=24).contains(&count) && rest[start + count..].starts_with(';'))
        .then_some(start + count + 1)
}

/// `&EACUTE;`: a lower-case name in capitals that means nothing by itself.
fn shouted(entity: &str) -> Option<String> {
    if entity.contains(|c: char| c.is_ascii_lowercase()) || unescape(entity) != entity {
        return None;
    }
    entity_value(&entity.to_ascii_lowercase()).map(str::to_uppercase)
}

fn entity_value(entity: &str) -> Option<&'static str> {
    htmlize::ENTITIES
        .get(entity.as_bytes())
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_decode_as_in_python() {
        let cases = [
            ("&amp; &lt;b&gt; &#39;s&#39; &#x41;", "& <b> 's' A"),
            ("&ampamp &notit; &copy2020", "&amp ¬it; ©2020"),
            (
                "&#0; &#1; &#128; &#xD800; &#x110000; &#xFFFF;.",
                "\u{fffd}  € \u{fffd} \u{fffd} .",
            ),
            ("&#; &#x; & && &unknown; &é", "&#; &#x; & && &unknown; &é"),
            ("&#99999999999999999999;", "\u{fffd}"),
        ];
        for (text, want) in cases {
            assert_eq!(unescape(text), want, "{text}");
        }
    }

    #[test]
    fn only_references_with_a_semicolon_are_unambiguous() {
        let cases = [
            (
                "this&not that &eacute; P&EACUTE;REZ",
                "this&not that é PÉREZ",
            ),
            (
                "BUNDESSTRA&SZLIG;E &nTILDE; &#59; &#65;",
                "BUNDESSTRASSE &nTILDE; &#59; A",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(unescape_unambiguous(text), want, "{text}");
        }
    }
}
