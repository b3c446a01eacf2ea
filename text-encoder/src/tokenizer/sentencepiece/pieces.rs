//! A caption as the pieces that `SiglipTokenizer` finds in it.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tokenizers::Model as _;

use super::super::{Cleaning, TokenizerError, cache::ChunkCache};
use super::{Kind, Model, OWN_KEY, SPACE, charsmap::CharsMap, splits};

/// Where the model stands once it is read.
const FILE: &str = "tokenizer.json";

/// SentencePiece's normaliser, and what `SiglipTokenizer` does around it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::tokenizer) struct Pieces {
    rules: Option<CharsMap>,
    add_dummy_prefix: bool,
    remove_extra_whitespaces: bool,
    splits_at_spaces: bool,
    /// The unknown piece, which stands in front of every text so that its leading space is kept.
    unknown: String,
    /// What `unknown` is in front of a text that is normalised.
    prefix: String,
    user_defined: Vec<String>,
    /// Tokens that are found before anything else, the longest first.
    added: Vec<Added>,
    model: Vec<u8>,
}

/// A token that captions may spell.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Added {
    content: String,
    id: u32,
    lstrip: bool,
    rstrip: bool,
    special: bool,
}

/// A part of a caption.
enum Part<'a> {
    Text(&'a str),
    Token(&'a Added),
}

impl Pieces {
    /// What a `tokenizer.json` of ours says, if it is of this kind.
    pub(in crate::tokenizer) fn of(file: &Value) -> Result<Option<Self>, TokenizerError> {
        let own = &file[OWN_KEY]["sentencepiece"];
        if own.is_null() {
            return Ok(None);
        }
        let bytes = own
            .as_str()
            .and_then(|text| BASE64_STANDARD.decode(text).ok());
        let bytes = bytes.ok_or_else(|| TokenizerError::Key {
            file: FILE,
            key: format!("{OWN_KEY}.sentencepiece"),
            found: "no base64".to_string(),
            expected: "a SentencePiece model".to_string(),
        })?;
        let model = Model::read(&bytes, FILE)?;
        let unknown = model
            .unknown()
            .map_or("<unk>", |id| model.pieces[id].text());
        let whole = model
            .pieces
            .iter()
            .filter(|piece| piece.kind() == Kind::UserDefined);
        let mut user_defined = whole
            .map(|piece| piece.text().to_string())
            .collect::<Vec<_>>();
        user_defined.sort_by_key(|symbol| std::cmp::Reverse(symbol.len()));
        let [add_dummy_prefix, remove_extra_whitespaces, _] = model.whitespace();
        let mut pieces = Self {
            rules: CharsMap::read(model.charsmap()),
            add_dummy_prefix,
            remove_extra_whitespaces,
            splits_at_spaces: splits(&model),
            unknown: unknown.to_string(),
            prefix: String::new(),
            user_defined,
            added: Vec::new(),
            model: bytes,
        };
        pieces.prefix = pieces.normalized(&pieces.unknown);
        Ok(Some(pieces))
    }

    /// What stands in `tokenizer.json` besides what `tokenizers` writes.
    pub(in crate::tokenizer) fn own(&self) -> Value {
        json!({ "sentencepiece": BASE64_STANDARD.encode(&self.model) })
    }

    /// The `spiece.model`.
    pub(in crate::tokenizer) fn model(&self) -> &[u8] {
        &self.model
    }

    /// Whether the rules put letters and their accents together.
    pub(in crate::tokenizer) fn composes(&self) -> bool {
        self.first("e\u{301}").0 == "é"
    }

    /// Finds the tokens that the vocabulary was given besides its pieces.
    pub(in crate::tokenizer) fn with_added(mut self, inner: &tokenizers::Tokenizer) -> Self {
        let added = inner.get_added_tokens_decoder();
        let mut added = added
            .iter()
            .map(|(&id, token)| Added {
                content: token.content.clone(),
                id,
                lstrip: token.lstrip,
                rstrip: token.rstrip,
                special: token.special,
            })
            .collect::<Vec<_>>();
        added.sort_by(|a, b| b.content.len().cmp(&a.content.len()).then(a.id.cmp(&b.id)));
        self.added = added;
        self
    }

    /// Appends the ids of `caption`, cleaned as `cleaning` says where that is the tokenizer's own.
    pub(in crate::tokenizer) fn encode_into(
        &self,
        caption: &str,
        cleaning: Cleaning,
        (inner, cache): (&tokenizers::Tokenizer, &ChunkCache),
        (out, enough): (&mut Vec<u32>, usize),
    ) -> Result<(), TokenizerError> {
        let caption = format!("{SPACE}{}", caption.replace(SPACE, " "));
        let begin = out.len();
        let encode = |chunk: &str| {
            let tokens = inner.get_model().tokenize(chunk);
            let tokens = tokens.map_err(|error| super::super::failed(chunk, &error))?;
            Ok(tokens.iter().map(|token| token.id).collect())
        };
        let (mut rest, mut follows) = (caption.as_str(), None::<&Added>);
        while !rest.is_empty() && out.len() < enough {
            let (part, after) = self.part(rest);
            match part {
                Part::Token(token) => {
                    let lone = out.len() == begin + 1
                        && inner.id_to_token(out[begin]).as_deref() == Some("▁");
                    if lone && token.special {
                        out.truncate(begin);
                    }
                    out.push(token.id);
                    follows = Some(token);
                }
                Part::Text(text) => {
                    let mut text = text;
                    if follows.is_some_and(|token| token.rstrip) {
                        text = text.trim_start();
                    }
                    if matches!(self.part(after).0, Part::Token(token) if token.lstrip)
                        && !after.is_empty()
                    {
                        text = text.trim_end();
                    }
                    let text = if cleaning.spares_special_tokens() {
                        cleaning.apply(text)
                    } else {
                        text.to_string()
                    };
                    let whole = self.normalized(&format!("{}{text}", self.unknown));
                    let normalized = whole.strip_prefix(&self.prefix).unwrap_or(&whole);
                    let words = self.words(normalized);
                    cache.encode_chunks(words, (out, enough), encode)?;
                }
            }
            rest = after;
        }
        Ok(())
    }

    /// The text up to the first added token, or that token, and what follows.
    fn part<'a>(&'a self, text: &'a str) -> (Part<'a>, &'a str) {
        let at = |from: usize| {
            self.added
                .iter()
                .find(|token| text[from..].starts_with(&token.content))
        };
        for (from, _) in text.char_indices() {
            if let Some(token) = at(from) {
                if from == 0 {
                    return (Part::Token(token), &text[token.content.len()..]);
                }
                return (Part::Text(&text[..from]), &text[from..]);
            }
        }
        (Part::Text(text), "")
    }

    /// The words of a normalised text, each with the space before it, where pieces do not cross words.
    fn words<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let splits = text.match_indices(SPACE).map(|(at, _)| at);
        let mut ends = splits
            .filter(|&at| at > 0 && self.splits_at_spaces)
            .collect::<Vec<_>>();
        ends.push(text.len());
        let mut from = 0;
        let words = ends
            .into_iter()
            .map(|to| &text[std::mem::replace(&mut from, to)..to]);
        words.filter(|word| !word.is_empty()).collect()
    }

    /// SentencePiece's `Normalizer::Normalize`.
    fn normalized(&self, text: &str) -> String {
        let mut rest = text;
        while self.remove_extra_whitespaces && !rest.is_empty() {
            let (first, length) = self.first(rest);
            if first != " " {
                break;
            }
            rest = &rest[length..];
        }
        let mut out = String::with_capacity(rest.len() + rest.len() / 2);
        if rest.is_empty() {
            return out;
        }
        if self.add_dummy_prefix {
            out.push(SPACE);
        }
        let mut after_space = self.remove_extra_whitespaces;
        while !rest.is_empty() {
            let (mut first, length) = self.first(rest);
            if after_space {
                first = first.trim_start_matches(' ');
            }
            if !first.is_empty() {
                out.extend(first.chars().map(|c| if c == ' ' { SPACE } else { c }));
                after_space = first.ends_with(' ') && self.remove_extra_whitespaces;
            }
            rest = &rest[length..];
        }
        if self.remove_extra_whitespaces {
            out.truncate(out.trim_end_matches(SPACE).len());
        }
        out
    }

    fn first<'a>(&'a self, text: &'a str) -> (&'a str, usize) {
        if let Some(symbol) = self
            .user_defined
            .iter()
            .find(|symbol| text.starts_with(*symbol))
        {
            return (&text[..symbol.len()], symbol.len());
        }
        match &self.rules {
            Some(rules) => rules.first(text),
            None => text
                .split_at_checked(text.chars().next().map_or(0, char::len_utf8))
                .map_or(("", 0), |(c, _)| (c, c.len())),
        }
    }
}
