//! Learning a vocabulary from captions: a byte-pair encoding, or word pieces.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};

use super::{Tokenizer, TokenizerError, WordPieceConfig, clip};

/// A pair seen less often than this teaches nothing.
const MIN_COUNT: i64 = 2;

/// A pair of symbols, by id.
type Pair = (u32, u32);

impl Tokenizer {
    /// Learns a tokenizer in CLIP's style from `captions`: lower case, whitespace collapsed, byte-level with `</w>` at
    /// the end of words, no unknown words. The same captions, in any order, give the same tokenizer, byte for byte.
    ///
    /// The ids: 256 bytes, 256 bytes that end a word, the merges, then `<start_of_text>` and `<end_of_text>`. The end
    /// token has the **highest id** (`vocab_size() - 1`), so pooling at the highest id finds it, and padding is id 0
    /// as in open_clip, which is below it. `vocab` counts all of these; the result is smaller when the captions are
    /// too few to fill it: ask [`Tokenizer::vocab_size`].
    ///
    /// # Errors
    /// If `vocab` is under 514, or the captions hold no word.
    pub fn train_bpe<'c>(
        captions: impl Iterator<Item = &'c str>,
        vocab: usize,
    ) -> Result<Self, TokenizerError> {
        let symbols = clip::byte_symbols();
        let smallest = symbols.len() + 2;
        if vocab < smallest {
            return Err(TokenizerError::VocabularyTooSmall {
                expected: smallest,
                found: vocab,
            });
        }
        // A tokenizer without merges has the very normaliser and splitter that the trained one will have.
        let inner = clip::from_symbols(clip::byte_symbols(), &[])?.into_inner();
        let words = count_words(captions, &inner)?;
        if words.is_empty() {
            return Err(TokenizerError::NoCaptions);
        }
        let (symbols, merges) = Learner::new(symbols, words, Style::EndOfWord).learn(vocab - 2);
        clip::from_symbols(symbols, &merges)
    }

    /// Learns word pieces in the style of `bert-base-uncased` from `captions`: lower case, without accents, `[CLS] caption
    /// [SEP]`, padded with `[PAD]`. The same captions, in any order, give the same tokenizer, byte for byte.
    ///
    /// The ids: the five special tokens, the letters, then what pairs of pieces make, the most frequent first. `vocab`
    /// counts all of these; the result is smaller when the captions are too few to fill it.
    ///
    /// # Errors
    /// If the captions hold no word, or more letters than the vocabulary has room for.
    pub fn train_wordpiece<'c>(
        captions: impl Iterator<Item = &'c str>,
        vocab: usize,
    ) -> Result<Self, TokenizerError> {
        let config = WordPieceConfig::default();
        let inner = Self::wordpiece_vocab(&SPECIAL.join("\n"), &config)?.into_inner();
        let words = count_words(captions, &inner)?;
        if words.is_empty() {
            return Err(TokenizerError::NoCaptions);
        }
        let special = SPECIAL.map(str::to_owned).into_iter();
        let symbols: Vec<String> = special.chain(letters(&words)).collect();
        if symbols.len() > vocab {
            return Err(TokenizerError::VocabularyTooSmall {
                expected: symbols.len(),
                found: vocab,
            });
        }
        let (symbols, _) = Learner::new(symbols, words, Style::Continued).learn(vocab);
        Self::wordpiece_vocab(&symbols.join("\n"), &config)
    }
}

/// BERT's special tokens, in the order of their ids.
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Letters that are kept, the most frequent ones: a word with another is unknown.
const LETTERS: usize = 1000;

/// The letters of words, at their beginning and within them, in order.
fn letters(words: &BTreeMap<String, i64>) -> BTreeSet<String> {
    let mut counts = BTreeMap::<char, i64>::new();
    for (word, count) in words {
        word.chars()
            .for_each(|c| *counts.entry(c).or_default() += count);
    }
    let mut kept: Vec<(char, i64)> = counts.into_iter().collect();
    kept.sort_by_key(|(c, count)| (Reverse(*count), *c));
    kept.truncate(LETTERS);
    let kept: BTreeSet<char> = kept.into_iter().map(|(c, _)| c).collect();
    let spelled = words.keys().flat_map(|word| Style::Continued.spell(word));
    let is_kept = |symbol: &String| {
        symbol
            .chars()
            .next_back()
            .is_some_and(|c| kept.contains(&c))
    };
    spelled.filter(is_kept).collect()
}

/// How often each word occurs, as a tokenizer normalises and splits captions; in order, so that nothing depends on hashing.
fn count_words<'c>(
    captions: impl Iterator<Item = &'c str>,
    inner: &tokenizers::Tokenizer,
) -> Result<BTreeMap<String, i64>, TokenizerError> {
    let mut chunks = HashMap::<&str, i64>::new();
    for chunk in captions.flat_map(str::split_whitespace) {
        *chunks.entry(chunk).or_default() += 1;
    }
    let mut words = BTreeMap::new();
    for (chunk, count) in chunks {
        let failed = |error: tokenizers::Error| TokenizerError::Encode {
            caption: chunk.to_string(),
            reason: error.to_string(),
        };
        let mut pieces = PreTokenizedString::from(chunk);
        if let Some(normalizer) = inner.get_normalizer() {
            pieces
                .normalize(|piece| tokenizers::Normalizer::normalize(normalizer, piece))
                .map_err(failed)?;
        }
        if let Some(splitter) = inner.get_pre_tokenizer() {
            splitter.pre_tokenize(&mut pieces).map_err(failed)?;
        }
        for (word, _, _) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            *words.entry(word.to_string()).or_default() += count;
        }
    }
    Ok(words)
}

/// How a word is spelled in symbols.
#[derive(Clone, Copy)]
enum Style {
    /// CLIP's: the last symbol is marked as the end of a word.
    EndOfWord,
    /// BERT's: all but the first are marked as going on.
    Continued,
}

/// What stands in front of a piece that goes on.
const CONTINUED: &str = "##";

impl Style {
    /// The symbols of a word before any merge.
    fn spell(self, word: &str) -> Vec<String> {
        let last = word.chars().count().saturating_sub(1);
        let symbols = word.chars().enumerate().map(|(at, c)| match self {
            Self::EndOfWord if at == last => format!("{c}{}", clip::END_OF_WORD),
            Self::Continued if at > 0 => format!("{CONTINUED}{c}"),
            Self::EndOfWord | Self::Continued => c.to_string(),
        });
        symbols.collect()
    }

    /// Two symbols as one.
    fn join(self, left: &str, right: &str) -> String {
        let right = match self {
            Self::EndOfWord => right,
            Self::Continued => right.strip_prefix(CONTINUED).unwrap_or(right),
        };
        format!("{left}{right}")
    }
}

/// Words as symbols, and how often each pair of neighbours occurs.
struct Learner {
    style: Style,
    symbols: Vec<String>,
    ids: HashMap<String, u32>,
    words: Vec<(Vec<u32>, i64)>,
    counts: HashMap<Pair, i64>,
    places: HashMap<Pair, HashSet<usize>>,
}

impl Learner {
    fn new(symbols: Vec<String>, words: BTreeMap<String, i64>, style: Style) -> Self {
        let ids = symbols.iter().cloned().zip(0_u32..).collect();
        let mut learner = Self {
            style,
            symbols,
            ids,
            words: Vec::new(),
            counts: HashMap::new(),
            places: HashMap::new(),
        };
        for (word, count) in words {
            let spelled = learner.spell(&word);
            learner.words.push((spelled, count));
            learner.count_pairs_of(learner.words.len() - 1, 1);
        }
        learner
    }

    /// The symbols of a word before any merge, as far as they are known.
    fn spell(&self, word: &str) -> Vec<u32> {
        let symbols = self.style.spell(word).into_iter();
        symbols
            .filter_map(|symbol| self.ids.get(&symbol).copied())
            .collect()
    }

    /// Adds (`sign` 1) or takes away (-1) the pairs of word `index`; returns them.
    fn count_pairs_of(&mut self, index: usize, sign: i64) -> Vec<Pair> {
        let (word, count) = &self.words[index];
        let pairs = word
            .windows(2)
            .map(|two| (two[0], two[1]))
            .collect::<Vec<_>>();
        for &pair in &pairs {
            *self.counts.entry(pair).or_default() += sign * count;
            if sign > 0 {
                self.places.entry(pair).or_default().insert(index);
            }
        }
        pairs
    }

    /// Merges the most frequent pair, of equals the one with the smallest ids, until there are `vocab` symbols.
    fn learn(mut self, vocab: usize) -> (Vec<String>, Vec<(String, String)>) {
        let mut merges = Vec::new();
        let mut queue = self
            .counts
            .iter()
            .map(|(&pair, &count)| (count, Reverse(pair)))
            .collect::<BinaryHeap<_>>();
        while self.symbols.len() < vocab {
            let Some((count, Reverse(pair))) = queue.pop() else {
                break;
            };
            // An entry whose count has changed since it was queued has a successor in the queue, or is gone.
            if self.counts.get(&pair) != Some(&count) {
                continue;
            }
            if count < MIN_COUNT {
                break;
            }
            let (left, right) = (
                self.symbols[pair.0 as usize].clone(),
                self.symbols[pair.1 as usize].clone(),
            );
            let joined = self.id_of(self.style.join(&left, &right));
            for changed in self.merge(pair, joined) {
                queue.push((self.counts[&changed], Reverse(changed)));
            }
            merges.push((left, right));
        }
        (self.symbols, merges)
    }

    /// The id of a symbol, new or not: two merges can spell the same one.
    fn id_of(&mut self, symbol: String) -> u32 {
        let next = self.symbols.len() as u32;
        let id = *self.ids.entry(symbol.clone()).or_insert(next);
        if id == next {
            self.symbols.push(symbol);
        }
        id
    }

    /// Replaces `pair` by `joined` in all words; returns the pairs whose counts changed and are not zero.
    fn merge(&mut self, pair: Pair, joined: u32) -> BTreeSet<Pair> {
        let mut changed = BTreeSet::new();
        for index in self.places.remove(&pair).unwrap_or_default() {
            changed.extend(self.count_pairs_of(index, -1));
            let word = &mut self.words[index].0;
            *word = merged(word, pair, joined);
            changed.extend(self.count_pairs_of(index, 1));
        }
        changed.retain(|pair| self.counts[pair] > 0);
        changed
    }
}

/// `word` with every `pair`, from the left, replaced by `joined`.
fn merged(word: &[u32], pair: Pair, joined: u32) -> Vec<u32> {
    let mut out = Vec::with_capacity(word.len());
    let mut at = 0;
    while at < word.len() {
        if at + 1 < word.len() && (word[at], word[at + 1]) == pair {
            out.push(joined);
            at += 2;
        } else {
            out.push(word[at]);
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTIONS: [&str; 4] = [
        "A small red circle.",
        "a small  blue square, left of a red circle",
        "Ein Café CAFÉ",
        "aaaa aaaaaaa red",
    ];

    #[test]
    fn the_same_captions_in_any_order_give_the_same_bytes() {
        let one = Tokenizer::train_bpe(CAPTIONS.into_iter(), 560)
            .expect("trains")
            .to_json()
            .expect("saves");
        for _ in 0..4 {
            let again = Tokenizer::train_bpe(CAPTIONS.into_iter().rev(), 560).expect("trains");
            assert_eq!(again.to_json().expect("saves"), one);
        }
    }

    #[test]
    fn the_end_token_has_the_highest_id_and_padding_the_lowest() {
        let tokenizer = Tokenizer::train_bpe(CAPTIONS.into_iter(), 524).expect("trains");
        assert_eq!(tokenizer.vocab_size(), 524);
        let batch = tokenizer
            .encode_batch(&["a red circle", "x"], 16)
            .expect("encodes");
        for row in 0..2 {
            let at = batch
                .row(row)
                .iter()
                .enumerate()
                .max_by_key(|&(_, id)| *id)
                .map(|(at, _)| at);
            assert_eq!(at, Some(batch.lengths[row] - 1));
            assert_eq!(batch.row(row)[0], 522);
            assert!(
                batch.row(row)[batch.lengths[row]..]
                    .iter()
                    .all(|&id| id == 0)
            );
        }
    }

    #[test]
    fn frequent_words_become_one_token_and_unseen_ones_still_have_a_spelling() {
        let tokenizer = Tokenizer::train_bpe(CAPTIONS.into_iter(), 4096).expect("trains");
        assert!(
            tokenizer.vocab_size() < 700,
            "so few captions cannot fill 4096"
        );
        assert_eq!(tokenizer.encode("RED circle").expect("encodes").len(), 2);
        for text in ["unseen ☂ words", "naïve café 日本", "a aa aaa aaaa"] {
            let ids = tokenizer.encode(text).expect("encodes");
            assert_eq!(tokenizer.decode(&ids).expect("decodes").trim(), text);
        }
    }

    #[test]
    fn a_saved_tokenizer_reads_back_the_same() {
        let trained = Tokenizer::train_bpe(CAPTIONS.into_iter(), 600).expect("trains");
        let saved = trained.to_json().expect("saves");
        let read = Tokenizer::from_json(saved.as_bytes()).expect("reads");
        assert_eq!(read.to_json().expect("saves"), saved);
        let captions = ["A red café", "something else entirely"];
        let rows = trained.encode_batch(&captions, 77).expect("encodes");
        assert_eq!(read.encode_batch(&captions, 77).expect("encodes"), rows);
    }

    #[test]
    fn too_small_a_vocabulary_and_no_captions_are_errors() {
        let small = Tokenizer::train_bpe(CAPTIONS.into_iter(), 513).expect_err("is too small");
        assert!(small.to_string().contains("at least 514"), "{small}");
        let none = Tokenizer::train_bpe(["", "  "].into_iter(), 600).expect_err("has no words");
        assert!(matches!(none, TokenizerError::NoCaptions));
    }

    #[test]
    fn word_pieces_are_learnt_the_same_from_captions_in_any_order() {
        let captions: Vec<String> = (0..400)
            .map(|i| {
                format!(
                    "A réd square number{} beside the blue circle {}",
                    i % 23,
                    i % 7
                )
            })
            .collect();
        let learn = |captions: &mut dyn Iterator<Item = &String>| {
            let texts: Vec<&str> = captions.map(String::as_str).collect();
            Tokenizer::train_wordpiece(texts.into_iter(), 120).unwrap()
        };
        let tokenizer = learn(&mut captions.iter());
        let again = learn(&mut captions.iter().rev());
        assert_eq!(tokenizer.to_json().unwrap(), again.to_json().unwrap());
        assert!(tokenizer.vocab_size() <= 120);
        assert_eq!(tokenizer.mask_id(), Some(4));
        assert_eq!(tokenizer.pad_id(), 0);
        let tokens = tokenizer.tokens("A red square, and a zebra").unwrap();
        assert_eq!(tokens[1..4], ["a", "red", "square"]);
        let none = Tokenizer::train_wordpiece(["", " "].into_iter(), 120);
        assert!(matches!(none, Err(TokenizerError::NoCaptions)));
    }
}
