//! Which sample an entry of a shard belongs to: the rules of the `webdataset` library for Python.

use crate::picture::EXTENSIONS;

/// The extensions of captions; where a sample has several, the first here that holds one is taken.
pub(super) const CAPTIONS: [&str; 3] = ["txt", "json", "cls"];

/// The name of an entry, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    /// The path up to the first dot of its last part.
    pub(super) key: &'a str,
    /// What the entry is to its sample, if the extension says.
    pub(super) part: Option<Part>,
}

/// What an entry is to its sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// A picture, by the number of its extension.
    Image(usize),
    /// A caption, by the number of its extension.
    Caption(usize),
}

impl<'a> Name<'a> {
    /// Takes the path of an entry apart; `None` if the entry belongs to no sample: it is hidden, has no extension, or
    /// is among the `__notes__` that some writers leave.
    pub(super) fn of(path: &'a str) -> Option<Self> {
        let is_note = |part: &str| part.len() > 4 && part.starts_with("__") && part.ends_with("__");
        if path.split('/').any(is_note) {
            return None;
        }
        let start = path.rfind('/').map_or(0, |slash| slash + 1);
        let (stem, extension) = path[start..].split_once('.')?;
        if stem.is_empty() || extension.is_empty() {
            return None;
        }
        let among = |known: &[&str]| {
            let same = |known: &&str| known.eq_ignore_ascii_case(extension);
            known.iter().position(same)
        };
        let image = among(&EXTENSIONS).map(Part::Image);
        Some(Self {
            key: &path[..start + stem.len()],
            part: image.or_else(|| among(&CAPTIONS).map(Part::Caption)),
        })
    }
}

impl Part {
    /// The extension of classes.
    pub(super) const CLASS: &str = CAPTIONS[2];

    /// The extension, without its dot.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Image(number) => EXTENSIONS[number],
            Self::Caption(number) => CAPTIONS[number],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_ends_at_the_first_dot_of_the_base_name() {
        let named = |key, part| Some(Name { key, part });
        assert_eq!(Name::of("000.jpg"), named("000", Some(Part::Image(0))));
        assert_eq!(
            Name::of("a.b/c/0.TXT"),
            named("a.b/c/0", Some(Part::Caption(0)))
        );
        assert_eq!(Name::of("a.b/0.seg.png"), named("a.b/0", None));
        assert_eq!(Name::of("./0.json"), named("./0", Some(Part::Caption(1))));
        assert_eq!(
            Name::of("../escape.cls"),
            named("../escape", Some(Part::Caption(2)))
        );
        assert_eq!(
            Name::of("/__init__.tiff"),
            named("/__init__", Some(Part::Image(7)))
        );
    }

    #[test]
    fn hidden_entries_notes_and_names_without_extension_belong_to_no_sample() {
        for path in [
            "",
            "README",
            "a.b/README",
            ".jpg",
            "a/.0.jpg",
            "a.",
            "a.b/",
            "__x__/0.jpg",
            "a/__x__",
        ] {
            assert_eq!(Name::of(path), None, "{path}");
        }
    }
}
