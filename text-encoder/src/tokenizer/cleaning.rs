//! What happens to a caption before the tokenizer's own normalisation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{html, tidy};

/// How captions are cleaned before they are split into tokens.
///
/// A model wants the cleaning that its training captions had. `open_clip` and OpenAI's CLIP run `ftfy.fix_text` and
/// `html.unescape`; `transformers` does neither, which is why the two give different ids to `&amp;` or to a curly
/// quotation mark. All of ftfy is reproduced (quotes, ligatures, full-width forms, control characters, HTML
/// entities, line ends, NFC) **except the repair of mojibake**: `Ã©` that should be `é` stays as it is.
///
/// In a recipe the names are those of the variants in kebab case: `as-is`, `lower`, `siglip-cased`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cleaning {
    /// None beyond what the tokenizer's own file says; what `transformers` does (for CLIP: NFC, whitespace collapsed,
    /// lower case).
    #[default]
    AsIs,
    /// open_clip's `clean="lower"`, for its own vocabulary: ftfy, HTML references twice, whitespace collapsed, lower
    /// case.
    Lower,
    /// open_clip's `clean="whitespace"`, for the tokenizers of others: as `Lower`, but case stays.
    Whitespace,
    /// open_clip's `clean="canonicalize"`, for its SigLIP models: as `Lower`, with underscores turned into spaces
    /// and ASCII punctuation removed.
    Canonicalize,
    /// That of `transformers`' `SiglipTokenizer`: lower case, ASCII punctuation removed, underscores too, whitespace
    /// collapsed. Special tokens that a caption spells stay.
    Siglip,
    /// As `Siglip`, but case stays: `do_lower_case` is false.
    SiglipCased,
    /// open_clip's `clean="whitespace"` before that of `SiglipTokenizer`.
    SiglipRepaired,
}

impl Cleaning {
    /// The caption as the tokenizer will see it.
    pub fn apply(self, caption: &str) -> String {
        match self {
            Self::AsIs => caption.to_string(),
            Self::Lower => collapse(&repaired(caption)).to_lowercase(),
            Self::Whitespace => collapse(&repaired(caption)),
            Self::Canonicalize => {
                let spaced = repaired(caption).replace('_', " ");
                collapse(&without_punctuation(&spaced).to_lowercase())
            }
            Self::Siglip => collapse(&without_punctuation(&caption.to_lowercase())),
            Self::SiglipCased => collapse(&without_punctuation(caption)),
            Self::SiglipRepaired => Self::Siglip.apply(&repaired(caption)),
        }
    }

    /// The name that a recipe gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AsIs => "as-is",
            Self::Lower => "lower",
            Self::Whitespace => "whitespace",
            Self::Canonicalize => "canonicalize",
            Self::Siglip => "siglip",
            Self::SiglipCased => "siglip-cased",
            Self::SiglipRepaired => "siglip-repaired",
        }
    }

    /// The `clean` of open_clip's `tokenizer_kwargs` for a tokenizer that was exported with this cleaning in its
    /// normaliser: the same for open_clip's own three, and for others the least that open_clip does.
    pub fn open_clip(self) -> &'static str {
        match self {
            Self::Lower => "lower",
            Self::Canonicalize => "canonicalize",
            Self::AsIs
            | Self::Whitespace
            | Self::Siglip
            | Self::SiglipCased
            | Self::SiglipRepaired => "whitespace",
        }
    }

    /// Whether it is that of `SiglipTokenizer`, which finds special tokens first.
    pub(super) fn spares_special_tokens(self) -> bool {
        matches!(
            self,
            Self::Siglip | Self::SiglipCased | Self::SiglipRepaired
        )
    }
}

/// Python's `string.punctuation` is the ASCII punctuation.
fn without_punctuation(text: &str) -> String {
    text.chars().filter(|c| !c.is_ascii_punctuation()).collect()
}

/// Whether open_clip's cleaning changes nothing in `caption` but letter case and whitespace: it is printable ASCII,
/// without HTML and without special tokens. Nearly all captions are, and the tokenizer folds those two itself.
pub(super) fn is_plain(caption: &str) -> bool {
    caption
        .bytes()
        .all(|b| matches!(b, b' '..=b'~' | b'\t' | b'\n' | b'\r') && b != b'&' && b != b'<')
}

/// ftfy, then HTML references twice.
fn repaired(caption: &str) -> String {
    if is_plain(caption) {
        return caption.to_string();
    }
    let tidied = tidy::fix_text(caption);
    html::unescape(&html::unescape(&tidied)).into_owned()
}

/// One space for every run of whitespace, none at the ends, as `" ".join(text.split())` in Python.
fn collapse(text: &str) -> String {
    // Python's whitespace has four control characters that Unicode's property lacks.
    let words = text.split(|c: char| c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}'));
    words
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_clip_cleaning_repairs_everything_but_mojibake() {
        let cases = [
            (
                "  A\u{a0}caf\u{e9}\r\n\tin  Z\u{fc}rich ",
                "a café in zürich",
            ),
            ("it\u{2019}s \u{201c}smart\u{201d}", "it's \"smart\""),
            ("&amp;lt;b&amp;gt; &eacute;", "<b> é"),
            (
                "\u{fb01}ne \u{ff26}\u{ff35}\u{ff2c}\u{ff2c}\u{3000}x",
                "fine full x",
            ),
            ("\u{feff}null\0byte\u{1b}[31m red", "nullbyte red"),
            ("cafe\u{301} \u{c3}\u{a9}", "café ã©"),
        ];
        for (text, want) in cases {
            assert_eq!(Cleaning::Lower.apply(text), want, "{text:?}");
        }
    }

    #[test]
    fn canonical_text_has_no_ascii_punctuation() {
        assert_eq!(
            Cleaning::Canonicalize.apply("Snake_case, C++ & \u{201c}x\u{201d}!"),
            "snake case c x"
        );
        assert_eq!(
            Cleaning::Siglip.apply(" Snake_case, C++ & \u{201c}x\u{201d}!\u{1c}y "),
            "snakecase c \u{201c}x\u{201d} y"
        );
        assert_eq!(Cleaning::SiglipCased.apply("A_B c."), "AB c");
        assert_eq!(Cleaning::Whitespace.apply(" A  &amp; b "), "A & b");
    }

    #[test]
    fn names_are_those_of_a_recipe() {
        for cleaning in [
            Cleaning::AsIs,
            Cleaning::Lower,
            Cleaning::Whitespace,
            Cleaning::Canonicalize,
            Cleaning::Siglip,
            Cleaning::SiglipCased,
            Cleaning::SiglipRepaired,
        ] {
            assert_eq!(
                serde_json::to_value(cleaning).expect("writes"),
                cleaning.name()
            );
        }
    }

    #[test]
    fn the_short_cut_for_plain_text_changes_nothing() {
        let plain = "Two dogs, don't_run\tover 3.14 > 2 \"x\"\r\n";
        assert!(is_plain(plain));
        let whole = html::unescape(&html::unescape(&tidy::fix_text(plain))).into_owned();
        assert_eq!(collapse(&whole), collapse(plain));
    }
}
