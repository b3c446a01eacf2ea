//! Sentences that a class name is put into for zero-shot classification.

use crate::Error;

/// The seven templates that CLIP's authors found to do nearly as well as all eighty on ImageNet (notebook
/// `Prompt_Engineering_for_ImageNet.ipynb` of openai/CLIP).
pub const CLIP_TEMPLATES: [&str; 7] = [
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
];

/// The place of the class name.
const PLACE: &str = "{}";

/// Prompt templates, each with one `{}` where the class name goes.
///
/// ```
/// let templates = data::Templates::new(["a photo of a {}."])?;
/// assert_eq!(templates.fill("red panda").collect::<Vec<_>>(), ["a photo of a red panda."]);
/// # Ok::<(), data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates(Vec<(String, String)>);

impl Templates {
    /// Takes a list of templates.
    ///
    /// # Errors
    ///
    /// If the list is empty, or a template has no `{}` or several.
    pub fn new<T: Into<String>>(templates: impl IntoIterator<Item = T>) -> Result<Self, Error> {
        let parsed: Vec<_> = templates
            .into_iter()
            .map(|t| split(t.into()))
            .collect::<Result<_, _>>()?;
        if parsed.is_empty() {
            return Err(Error::NoTemplates);
        }
        Ok(Self(parsed))
    }

    /// The number of templates.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The prompts for one class, one a template.
    pub fn fill<'a>(&'a self, class: &'a str) -> impl Iterator<Item = String> + 'a {
        self.0
            .iter()
            .map(move |(before, after)| format!("{before}{class}{after}"))
    }

    /// The prompt for a class by template `number`, counted round the list.
    pub fn fill_one(&self, number: usize, class: &str) -> String {
        let (before, after) = &self.0[number % self.0.len()];
        format!("{before}{class}{after}")
    }
}

fn split(template: String) -> Result<(String, String), Error> {
    let found = template.matches(PLACE).count();
    match template.split_once(PLACE) {
        Some((before, after)) if found == 1 => Ok((before.to_owned(), after.to_owned())),
        _ => Err(Error::Template { template, found }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_in_a_class_name_are_left_alone() {
        let templates = Templates::new(CLIP_TEMPLATES).unwrap();
        assert_eq!(templates.len(), 7);
        assert_eq!(
            templates.fill("{}").nth(1).unwrap(),
            "a bad photo of the {}."
        );
    }

    #[test]
    fn templates_take_turns() {
        let templates = Templates::new(["a {}", "the {}"]).unwrap();
        assert_eq!(templates.fill_one(2, "cat"), "a cat");
        assert_eq!(templates.fill_one(5, "cat"), "the cat");
    }

    #[test]
    fn a_template_needs_exactly_one_place() {
        assert!(matches!(
            Templates::new(["a photo."]),
            Err(Error::Template { found: 0, .. })
        ));
        assert!(matches!(
            Templates::new(["{} or {}"]),
            Err(Error::Template { found: 2, .. })
        ));
        assert!(matches!(
            Templates::new(Vec::<String>::new()),
            Err(Error::NoTemplates)
        ));
    }
}
