//! What can go wrong late and can be seen early: before the first step, a sample of everything is looked at.

use anyhow::{bail, ensure};
use data::{Source, probe};

use crate::{
    input::image_reader::{decoded, decoding},
    recipe::Recipe,
};

/// Rows of a source that are opened.
const OPENED: usize = 32;

/// Pictures of a source that are decoded.
const DECODED: usize = 4;

/// Bytes of a parameter in training: itself, its gradient, and AdamW's two moments.
const BYTES_A_PARAMETER: u64 = 16;

/// Opens a sample of the rows of a source, spread over it, and decodes a few.
///
/// # Errors
///
/// If every one of them fails: pictures that are URLs, a wrong folder, files that are no pictures.
pub(crate) fn pictures(source: &dyn Source, recipe: &Recipe) -> anyhow::Result<()> {
    probe(source, OPENED)?;
    let options = decoding(recipe);
    let step = source.len().div_ceil(DECODED).max(1);
    let mut failed = None;
    let mut tried = 0;
    for row in (0..source.len()).step_by(step) {
        tried += 1;
        match decoded(source, row, &options) {
            Ok(_) => return Ok(()),
            Err(error) => _ = failed.get_or_insert(error),
        }
    }
    match failed {
        Some(error) => {
            bail!("not one of the {tried} pictures that were tried can be used; the first: {error}")
        }
        None => Ok(()),
    }
}

/// Checks that a training can fit into so many bytes of memory at all: its parameters, and its pictures of `side` pixels
/// where it reads any.
///
/// # Errors
///
/// Names the keys and what they would take.
pub(crate) fn memory(
    recipe: &Recipe,
    parameters: u64,
    side: Option<usize>,
    bytes: Option<u64>,
) -> anyhow::Result<()> {
    let Some(bytes) = bytes else {
        return Ok(());
    };
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    // Of a locked tower there are the parameters alone.
    let each = if recipe.model.lock.is_empty() {
        BYTES_A_PARAMETER
    } else {
        BYTES_A_PARAMETER / 4
    };
    let wanted = parameters.saturating_mul(each);
    ensure!(
        wanted <= bytes,
        "the model has {:.1} million parameters: with what training keeps of each they take {:.1} GB, and there are {:.1}; \
         lower `d_model` or `n_layers` of its towers",
        parameters as f64 / 1e6,
        gigabytes(wanted),
        gigabytes(bytes)
    );
    let Some(side) = side.map(|side| side as u64) else {
        return Ok(());
    };
    let batches = recipe.data.prefetch as u64 + 2;
    let picture = side
        .saturating_mul(side)
        .saturating_mul(3 * size_of::<f32>() as u64);
    let wanted = picture
        .saturating_mul(recipe.train.batch as u64)
        .saturating_mul(batches);
    ensure!(
        wanted <= bytes,
        "{batches} batches of {} pictures of {side} x {side} pixels take {:.1} GB, and there are {:.1}; lower \
         `train.batch` or `data.prefetch`",
        recipe.train.batch,
        gigabytes(wanted),
        gigabytes(bytes)
    );
    Ok(())
}
