//! The tokenizer of a recipe.

use anyhow::{Context, ensure};
use data::Source;
use text_encoder::{
    TextConfig, TextPooling,
    tokenizer::{Cleaning, Padding, Tokenizer},
};

use crate::{
    device::Backend,
    recipe::{Recipe, Tokens},
};

/// Reads the tokenizer a recipe names, or learns one from the training captions.
///
/// # Errors
///
/// Names the file and what is wrong with it.
pub fn tokenizer(recipe: &Recipe, captions: &dyn Source) -> anyhow::Result<Tokenizer> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).with_context(|| {
            format!(
                "{}: cannot be read; set `tokens.path` to a vocabulary file",
                path.display()
            )
        })
    };
    match &recipe.tokens {
        Tokens::Bpe(bpe) => {
            let captions: Vec<String> = (0..captions.len())
                .map(|row| captions.caption(row).into_owned())
                .collect();
            Tokenizer::train_bpe(captions.iter().map(String::as_str), bpe.vocab)
                .context("learning the vocabulary from the captions")
        }
        Tokens::Clip(file) => {
            let path = file.path.as_path();
            Tokenizer::clip_bpe(&read(path)?).with_context(|| path.display().to_string())
        }
        Tokens::File(file) => {
            let path = file.path.as_path();
            Tokenizer::from_json(&read(path)?).with_context(|| path.display().to_string())
        }
    }
}

/// The tokenizer of a saved run; captions are cleaned as in training.
///
/// # Errors
///
/// Names the file and what is wrong with it.
pub fn saved(recipe: &Recipe, path: &std::path::Path) -> anyhow::Result<Tokenizer> {
    let json = std::fs::read(path).with_context(|| {
        format!(
            "{}: cannot be read; is this a run's folder?",
            path.display()
        )
    })?;
    let tokenizer = Tokenizer::from_json(&json).with_context(|| path.display().to_string())?;
    Ok(match recipe.tokens {
        Tokens::Clip(_) => tokenizer.with_cleaning(Cleaning::OpenClip),
        Tokens::Bpe(_) | Tokens::File(_) => tokenizer,
    })
}

/// Checks that a tokenizer is one that a text tower can read.
///
/// # Errors
///
/// If it has more tokens than the tower, or another end token than the tower pools at.
pub fn check(tokenizer: &Tokenizer, text: &TextConfig) -> anyhow::Result<()> {
    let remedy = "use the tokenizer of these weights (`tokens.path`)";
    ensure!(
        tokenizer.vocab_size() <= text.vocab_size,
        "the tokenizer has {} tokens, the text tower {}; {remedy}",
        tokenizer.vocab_size(),
        text.vocab_size
    );
    let end = tokenizer.end_id().map(|id| id as usize);
    let wanted = match text.pooling {
        TextPooling::FirstOf(id) => Some(id as usize),
        TextPooling::HighestId => tokenizer.vocab_size().checked_sub(1),
        TextPooling::First | TextPooling::Last => return Ok(()),
    };
    ensure!(
        end == wanted,
        "the text tower pools at token {wanted:?}, and the tokenizer ends captions with {end:?}; {remedy}"
    );
    Ok(())
}

/// Pads as the text tower needs it: to the longest of the batch where that changes nothing.
pub fn padded(tokenizer: Tokenizer, text: &TextConfig) -> Tokenizer {
    let padding = match text.trims() {
        true => Padding::Longest {
            multiple: Backend::built().token_multiple(),
        },
        false => Padding::Context,
    };
    tokenizer.with_padding(padding)
}
