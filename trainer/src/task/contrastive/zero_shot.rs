//! Zero-shot classification on the validation sources, where the recipe asks for it.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use data::Source;

use super::retrieval::Evaluator;
use crate::{input::sources, recipe::Recipe, task::Validation};

/// Classes that a message lists.
const LISTED: usize = 10;

/// The validation sources of a recipe with the classes of their pictures for captions. Empty where the recipe asks for no
/// zero-shot classification.
///
/// # Errors
///
/// If a source has no classes, or one that the recipe does not list: names the source, the class and the key.
pub(crate) fn labelled(recipe: &Recipe) -> anyhow::Result<Vec<Box<dyn Source>>> {
    let Some(zero_shot) = &recipe.eval.zero_shot else {
        return Ok(Vec::new());
    };
    let known: BTreeSet<&str> = zero_shot.classes.iter().map(String::as_str).collect();
    let mut sources = Vec::new();
    for source in &recipe.data.val {
        let source = sources::open_labels(source, recipe, &zero_shot.column).context(
            "the classes of pictures for zero-shot classification (`eval.zero_shot.column`)",
        )?;
        let mut unknown = BTreeSet::new();
        for row in 0..source.len() {
            let label = source.caption(row);
            if !known.contains(&*label) {
                unknown.insert(label.into_owned());
            }
        }
        if !unknown.is_empty() {
            let shown: Vec<String> = unknown
                .iter()
                .take(LISTED)
                .map(|class| format!("{class:?}"))
                .collect();
            bail!(
                "{}: {} of its classes {} not in `eval.zero_shot.classes`: {}{}; add what is missing there, spelled as in \
                 the source",
                source.name(),
                unknown.len(),
                if unknown.len() == 1 { "is" } else { "are" },
                shown.join(", "),
                if unknown.len() > LISTED { ", ..." } else { "" }
            );
        }
        sources.push(source);
    }
    Ok(sources)
}

/// Zero-shot accuracy on each of the sources that have classes, by name.
///
/// # Errors
///
/// If no picture of a source can be read.
pub(crate) fn measure(
    recipe: &Recipe,
    on: &[Validation],
    evaluator: &Evaluator<'_>,
) -> anyhow::Result<Vec<(String, f64)>> {
    let Some(zero_shot) = &recipe.eval.zero_shot else {
        return Ok(Vec::new());
    };
    let labelled = on.iter().filter_map(|on| on.labelled.as_ref());
    let measured = labelled.map(|source| {
        let (classes, templates) = (&zero_shot.classes, &zero_shot.templates);
        let accuracy = evaluator.zero_shot(source.as_ref(), classes, templates)?;
        Ok((source.name().to_string(), accuracy))
    });
    measured.collect()
}
