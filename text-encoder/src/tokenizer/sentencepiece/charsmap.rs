//! SentencePiece's normaliser, rule for rule.
//!
//! `tokenizers` has one too (`Precompiled`), which works by grapheme and takes the shortest rule: `e` with two accents
//! loses the second. SentencePiece takes the longest rule at every place, as here.

/// A double array of rules, and what they put in place of what they find.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::tokenizer) struct CharsMap {
    units: Vec<u32>,
    replacements: String,
}

/// More rules than this never begin at one place; the library stops there.
const MOST_RULES: usize = 32;

impl CharsMap {
    /// Reads a map that [`check_charsmap`](super::super::check::check_charsmap) has seen; an empty one has no rules.
    pub(in crate::tokenizer) fn read(map: &[u8]) -> Option<Self> {
        let (size, rest) = map.split_first_chunk::<4>()?;
        let (table, replacements) = rest.split_at_checked(u32::from_le_bytes(*size) as usize)?;
        let units = table
            .chunks_exact(4)
            .map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        Some(Self {
            units: units.collect(),
            replacements: std::str::from_utf8(replacements).ok()?.to_string(),
        })
    }

    /// What stands at the beginning of `text`, normalised, and the number of bytes that it replaces.
    pub(in crate::tokenizer) fn first<'a>(&'a self, text: &'a str) -> (&'a str, usize) {
        let plain = text.chars().next().map_or(0, char::len_utf8);
        match self.longest(text.as_bytes()) {
            Some((value, length)) if text.is_char_boundary(length) => {
                let from = self.replacements.get(value..).unwrap_or_default();
                (from.split('\0').next().unwrap_or_default(), length)
            }
            _ => (&text[..plain], plain),
        }
    }

    /// The longest rule for a beginning of `text`: its value and its length.
    fn longest(&self, text: &[u8]) -> Option<(usize, usize)> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut at = offset(*self.units.first()?);
        let (mut found, mut rules) = (None, 0);
        for (index, &byte) in text.iter().enumerate() {
            at ^= usize::from(byte);
            let Some(&unit) = self.units.get(at) else {
                break;
            };
            if unit & (1 << 31 | 0xff) != u32::from(byte) {
                break;
            }
            at ^= offset(unit);
            if unit >> 8 & 1 == 1 {
                let Some(&value) = self.units.get(at) else {
                    break;
                };
                found = Some(((value & 0x7fff_ffff) as usize, index + 1));
                rules += 1;
                if rules == MOST_RULES {
                    break;
                }
            }
        }
        found
    }
}
