//! The tokenizer: from where it comes, and whether the text tower can read what it says.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use data::Source;
use text_encoder::{
    TextConfig, TextPooling,
    tokenizer::{Cleaning, LoadedTokenizer, Padding, Tokenizer, TokenizerError},
};

use super::{
    TOKENIZER,
    weights::{WeightsFolder, tokenizer_files},
};
use crate::{
    device::Backend,
    files,
    recipe::{Reading, Recipe, Tokens},
};

/// A tokenizer, and what was said of it.
pub(crate) struct Captions {
    /// The tokenizer, with its cleaning and its padding token.
    pub tokenizer: Tokenizer,
    /// The file of its vocabulary, or how it came about.
    pub from: String,
    /// The most tokens of a caption that its files name.
    pub max_length: Option<usize>,
    /// Lines that say what comes from where.
    pub log_lines: Vec<String>,
}

impl Captions {
    /// The tokenizer that a recipe names, or that is learnt from the captions of `source`; what the recipe says of its
    /// reading goes before what the files say.
    ///
    /// # Errors
    ///
    /// Names the file and what is wrong with it, or the key.
    pub(crate) fn resolve(
        recipe: &Recipe,
        weights: Option<&WeightsFolder>,
        source: Option<&dyn Source>,
    ) -> anyhow::Result<Self> {
        let captions = match &recipe.tokens {
            Tokens::Bpe(learnt) => Self::learnt(source, |captions| {
                Tokenizer::train_bpe(captions.iter().copied(), learnt.vocab)
            })?,
            Tokens::Wordpiece(learnt) => Self::learnt(source, |captions| {
                Tokenizer::train_wordpiece(captions.iter().copied(), learnt.vocab)
            })?,
            Tokens::Clip(file) => {
                let path = file.path.as_path();
                let bytes = files::read_file(path, files::VOCABULARY).with_context(remedy)?;
                let tokenizer =
                    Tokenizer::clip_bpe(&bytes).with_context(|| path.display().to_string())?;
                Self::plain(tokenizer, path.display().to_string())
            }
            Tokens::File(file) => Self::beside(file.path.as_path())?,
            Tokens::Pretrained(_) => {
                let weights = weights.context("`model.pretrained` names no folder of weights")?;
                match &weights.run {
                    Some(run) => Self::of_record(run, &weights.path)?,
                    None => Self::opened(weights.tokenizer()?, &weights.path),
                }
            }
        };
        captions.overruled(&recipe.tokens.reading())
    }

    /// A vocabulary that is learnt from the captions of `source`.
    fn learnt(
        source: Option<&dyn Source>,
        learn: impl FnOnce(&[&str]) -> Result<Tokenizer, TokenizerError>,
    ) -> anyhow::Result<Self> {
        let source = source.context("there are no captions to learn a vocabulary from")?;
        let captions: Vec<_> = (0..source.len()).map(|row| source.caption(row)).collect();
        let captions: Vec<&str> = captions.iter().map(|caption| &**caption).collect();
        let tokenizer = learn(&captions).context("learning the vocabulary from the captions")?;
        Ok(Self::plain(
            tokenizer,
            "learnt from the captions".to_owned(),
        ))
    }

    fn plain(tokenizer: Tokenizer, from: String) -> Self {
        let log_lines = format!("captions: {} tokens ({from})", tokenizer.vocab_size());
        Self {
            tokenizer,
            from,
            max_length: None,
            log_lines: vec![log_lines],
        }
    }

    fn opened(opened: LoadedTokenizer, folder: &Path) -> Self {
        let from = folder.join(opened.vocabulary_from).display().to_string();
        let size = opened.tokenizer.vocab_size();
        let mut log_lines = vec![format!("captions: {size} tokens ({from})")];
        let notes = opened.notes.into_iter();
        log_lines
            .extend(notes.map(|(what, value, file)| format!("captions: {what}: {value} ({file})")));
        Self {
            tokenizer: opened.tokenizer,
            from,
            max_length: opened.max_length,
            log_lines,
        }
    }

    /// The tokenizer of a record, for the run itself.
    ///
    /// # Errors
    ///
    /// Names the file and what is wrong with it.
    pub(crate) fn recorded(recipe: &Recipe, record: &Path) -> anyhow::Result<Self> {
        let path = record.join(TOKENIZER);
        Ok(Self::plain(
            saved(recipe, &path)?,
            path.display().to_string(),
        ))
    }

    /// The tokenizer of a record that another run starts from, which cleans and cuts captions as its recipe says.
    fn of_record(recipe: &Recipe, record: &Path) -> anyhow::Result<Self> {
        let path = record.join(TOKENIZER);
        let tokenizer = saved(recipe, &path)?;
        let cleaning = tokenizer.cleaning().name();
        let mut captions = Self::plain(tokenizer, path.display().to_string());
        captions.max_length = recipe.tokens.reading().context;
        captions.log_lines.push(format!(
            "captions: cleaning: {cleaning} (the recipe of {})",
            record.display()
        ));
        Ok(captions)
    }

    /// A vocabulary's file, with the files that say more of it where they stand beside it.
    fn beside(path: &Path) -> anyhow::Result<Self> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let bytes = files::read_file(path, files::VOCABULARY).with_context(remedy)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        // What stands around it says how it is used, but brings no other vocabulary.
        let mut found = tokenizer_files(folder)?;
        let merges = found.merges_txt.take();
        found.tokenizer_json = None;
        (found.vocab_json, found.vocab_txt) = (None, None);
        (found.spiece_model, found.tokenizer_model) = (None, None);
        if !found.put(name, bytes.clone()) {
            // A file of another name can only be a tokenizer.json.
            found.tokenizer_json = Some(bytes);
        }
        if found.vocab_json.is_some() {
            found.merges_txt = merges;
        }
        let opened = Tokenizer::from_files(&found).with_context(|| path.display().to_string())?;
        Ok(Self::opened(opened, folder))
    }

    fn overruled(mut self, reading: &Reading) -> anyhow::Result<Self> {
        if let Some(cleaning) = reading.cleaning {
            self.tokenizer = self.tokenizer.with_cleaning(cleaning);
            self.log_lines.push(format!(
                "captions: cleaning: {} (tokens.cleaning of the recipe)",
                cleaning.name()
            ));
        }
        if let Some(pad) = &reading.pad {
            let id = self.tokenizer.id_of(pad).with_context(|| {
                format!(
                    "`tokens.pad` is {pad:?}, which is no token of this vocabulary; give the padding token as it is \
                     spelled there"
                )
            })?;
            self.tokenizer = self.tokenizer.with_pad_id(id);
            self.log_lines.push(format!(
                "captions: padded with {pad:?}, token {id} (tokens.pad of the recipe)"
            ));
        }
        Ok(self)
    }

    /// How captions are read, with everything said: what a run writes into its recipe.
    pub(crate) fn reading(&self, context: usize) -> Reading {
        Reading {
            cleaning: Some(self.tokenizer.cleaning()),
            pad: self.tokenizer.token(self.tokenizer.pad_id()),
            context: Some(context),
        }
    }
}

fn remedy() -> &'static str {
    "set `tokens.path` to a vocabulary file"
}

/// The tokenizer of a record; captions are cleaned as in training.
///
/// # Errors
///
/// Names the file and what is wrong with it.
fn saved(recipe: &Recipe, path: &Path) -> anyhow::Result<Tokenizer> {
    let json = files::read_file(path, files::VOCABULARY)?;
    let tokenizer = Tokenizer::from_json(&json).with_context(|| path.display().to_string())?;
    // Records of before `tokens.cleaning` leave it out.
    let cleaning = recipe
        .tokens
        .reading()
        .cleaning
        .unwrap_or(match recipe.tokens {
            Tokens::Clip(_) => Cleaning::Lower,
            _ => Cleaning::AsIs,
        });
    Ok(tokenizer.with_cleaning(cleaning))
}

/// The most tokens of a caption: what the recipe says, or else the least of what the tokenizer's files and the text
/// tower say.
///
/// # Errors
///
/// If the recipe asks for more than the tower has positions.
pub(crate) fn context(
    recipe: &Recipe,
    max_length: Option<usize>,
    text: &TextConfig,
) -> anyhow::Result<usize> {
    let wanted = recipe.tokens.reading().context;
    if let Some(wanted) = wanted {
        ensure!(
            wanted <= text.context,
            "`tokens.context` is {wanted}, and the text tower has {} positions; give {} or fewer",
            text.context,
            text.context
        );
    }
    Ok(wanted
        .or(max_length)
        .unwrap_or(text.context)
        .min(text.context))
}

/// Checks that a tokenizer is one that a text tower can read.
///
/// # Errors
///
/// If it knows a token that the tower has no row for, or ends captions with another token than the tower pools at.
pub(crate) fn check(tokenizer: &Tokenizer, text: &TextConfig) -> anyhow::Result<()> {
    let remedy = "use the tokenizer of these weights (`tokens.path`)";
    let rows = text.vocab_size;
    let pad = tokenizer.pad_id() as usize;
    ensure!(
        pad < rows,
        "the tokenizer pads with token {pad}, the text tower has {rows}; {remedy}"
    );
    let greatest = tokenizer.max_id() as usize;
    ensure!(
        greatest < rows,
        "the tokenizer has tokens up to {greatest}, the text tower has {rows}, from 0; {remedy}"
    );
    ensure!(
        !(tokenizer.pads_left() && text.trims()),
        "the tokenizer pads on the left, where a caption's features would hang on the longest caption beside it; set \
         `padding_side` in tokenizer_config.json to right"
    );
    let end = tokenizer.end_id().map(|id| id as usize);
    match text.pooling {
        TextPooling::FirstOf(wanted) => ensure!(
            end == Some(wanted as usize),
            "the text tower pools at token {wanted}, and the tokenizer {}; {remedy}",
            ends(end)
        ),
        TextPooling::HighestId if end != Some(greatest) => bail!(
            "the text tower pools at the highest token of a caption, which is {greatest} where a caption has it, and \
             the tokenizer {}; {}",
            ends(end),
            end.map_or(remedy.to_owned(), |end| format!(
                "set `text_config.eos_token_id` in config.json to {end}"
            ))
        ),
        TextPooling::HighestId | TextPooling::First | TextPooling::Last => {}
    }
    Ok(())
}

fn ends(end: Option<usize>) -> String {
    end.map_or("ends captions with no token of its own".to_owned(), |end| {
        format!("ends captions with token {end}")
    })
}

/// Pads as the text tower needs it: to the longest of the batch where that changes nothing.
pub(crate) fn padded(tokenizer: Tokenizer, text: &TextConfig) -> Tokenizer {
    let padding = if text.trims() {
        Padding::Longest {
            multiple: Backend::built().token_multiple(),
        }
    } else {
        Padding::Context
    };
    tokenizer.with_padding(padding)
}
