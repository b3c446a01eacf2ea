//! ftfy's `fix_text` without its guess at wrongly decoded text (mojibake).
//!
//! The steps and their order are those of ftfy 6.3 (`fix_and_explain`): they repeat, line by line, until nothing
//! changes. `fix_encoding` is the step left out; `fix_surrogates` has no meaning in Rust, where text is valid UTF-8.

use super::html::{WINDOWS_1252, unescape_unambiguous};
use tokenizers::NormalizedString;

/// Fixes `text` as ftfy does. Entities are decoded up to the first line with a `<`: from there on it may be HTML.
pub(super) fn fix_text(text: &str) -> String {
    let mut entities = true;
    text.split_inclusive('\n')
        .map(|line| {
            entities = entities && !line.contains('<');
            fix_line(line, entities)
        })
        .collect()
}

fn fix_line(line: &str, entities: bool) -> String {
    let mut text = line.to_string();
    loop {
        let decoded = if entities {
            unescape_unambiguous(&text).into_owned()
        } else {
            text.clone()
        };
        let shaped = decoded
            .chars()
            .fold(String::with_capacity(decoded.len()), push_fixed);
        let broken = shaped
            .replace("\r\n", "\n")
            .replace(['\r', '\u{2028}', '\u{2029}', '\u{85}'], "\n");
        let visible = without_terminal_escapes(&broken).replace(is_unwanted_control, "");
        let fixed = nfc(&visible);
        if fixed == text {
            return fixed;
        }
        text = fixed;
    }
}

/// Appends `c` with C1 controls read as Windows-1252, ligatures taken apart, widths evened and quotes straightened.
fn push_fixed(mut out: String, c: char) -> String {
    let c = match c {
        '\u{80}'..='\u{9f}' => WINDOWS_1252[c as usize - 0x80],
        _ => c,
    };
    match c {
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => out.push('\''),
        '\u{201c}'..='\u{201f}' => out.push('"'),
        '\u{3000}' => out.push(' '),
        '\u{ff01}'..='\u{ffef}' => out.push_str(&nfkc(c)),
        // 'ŉ' becomes U+02BC and 'n'; the curly-quote step, which comes later, straightens the first.
        'ŉ' => out.push_str("'n"),
        _ => match ligature(c) {
            Some(letters) => out.push_str(letters),
            None => out.push(c),
        },
    }
    out
}

/// The letters of a Latin ligature or digraph.
fn ligature(c: char) -> Option<&'static str> {
    Some(match c {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        _ => return None,
    })
}

/// Control characters that do not belong in text; whitespace, joiners and direction marks stay.
fn is_unwanted_control(c: char) -> bool {
    matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{e}'..='\u{1f}' | '\u{7f}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
        | '\u{fff9}'..='\u{fffc}')
}

/// Removes `ESC [ digits letter`, the colours and cursor moves of terminals.
fn without_terminal_escapes(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut out = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let after = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        if after.starts_with(|c: char| c.is_ascii_alphabetic()) {
            out.push_str(&after[1..]);
        } else {
            out.push_str("\u{1b}[");
            out.push_str(part);
        }
    }
    out
}

fn nfc(text: &str) -> String {
    if text.is_ascii() {
        text.to_string()
    } else {
        NormalizedString::from(text).nfc().get().to_string()
    }
}

fn nfkc(c: char) -> String {
    NormalizedString::from(c.to_string())
        .nfkc()
        .get()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_stop_where_html_starts() {
        assert_eq!(
            fix_text("&eacute;\n<b>&eacute;\n&eacute;"),
            "é\n<b>&eacute;\n&eacute;"
        );
    }

    #[test]
    fn nested_entities_decode_until_nothing_changes() {
        assert_eq!(fix_text("&amp;amp;amp;eacute;"), "é");
    }

    #[test]
    fn an_unfinished_terminal_escape_loses_only_its_control_character() {
        assert_eq!(fix_text("a\u{1b}[36;44mb\u{1b}[0mc\u{1b}[9"), "abc[9");
    }

    #[test]
    fn half_width_katakana_with_a_voicing_mark_composes() {
        assert_eq!(fix_text("\u{ff76}\u{ff9e} \u{149}\u{85}"), "\u{30ac} 'n…");
    }
}
