//! Which column or key holds the pictures and which the captions, where nobody has said so.

use std::path::Path;

use crate::shown::list;
use crate::{Error, MissingColumn};

/// The usual names of paths, and of pictures in a file, in the order in which they are tried.
pub(crate) const IMAGES: [&str; 19] = [
    "filepath",
    "file_name",
    "filename",
    "image_path",
    "img_path",
    "image_file",
    "path",
    "file",
    "image",
    "img",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "bytes",
    "image_url",
    "img_url",
    "url",
    "URL",
];

/// The usual names of captions, in the order in which they are tried.
pub(crate) const CAPTIONS: [&str; 13] = [
    "title",
    "caption",
    "text",
    "captions",
    "sentences",
    "texts",
    "sentence",
    "description",
    "blip_caption",
    "alt_text",
    "raw",
    "caption_0",
    "TEXT",
];

/// The names that are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) image: &'a str,
    pub(crate) caption: &'a str,
}

/// The names that were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) image: String,
    pub(crate) caption: String,
    /// What was chosen, in words, where it is not what was looked for.
    pub(crate) note: Option<String>,
}

/// The name that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Image,
    Caption,
}

impl Wanted<'_> {
    /// Finds the names among those that are there.
    ///
    /// A name that a recipe says is taken or missing. Of the two usual names the other is wanted where one is there: a
    /// file that was made for them and lacks one is more likely wrong than odd. Only where neither is there, or a recipe
    /// says one, the well-known names are tried.
    pub(crate) fn among(&self, has: impl Fn(&str) -> bool, noun: &str) -> Result<Chosen, Side> {
        let (image, caption) = (has(self.image), has(self.caption));
        let (usual_image, usual_caption) = (self.image == IMAGES[0], self.caption == CAPTIONS[0]);
        if !image && (!usual_image || (caption && usual_caption)) {
            return Err(Side::Image);
        }
        if !caption && (!usual_caption || (image && usual_image)) {
            return Err(Side::Caption);
        }
        let (image_name, images) = pick(self.image, image, &IMAGES, &has).ok_or(Side::Image)?;
        let (caption_name, captions) =
            pick(self.caption, caption, &CAPTIONS, &has).ok_or(Side::Caption)?;
        let mut notes = Vec::new();
        if !image {
            notes.push(said("pictures", noun, image_name, &images));
        }
        if !caption {
            notes.push(said("captions", noun, caption_name, &captions));
        }
        Ok(Chosen {
            image: image_name.to_owned(),
            caption: caption_name.to_owned(),
            note: (!notes.is_empty()).then(|| notes.join("; ")),
        })
    }

    /// The error for a name that is not among those that are there.
    pub(crate) fn missing(
        &self,
        side: Side,
        path: &Path,
        names: &[String],
        (noun, place, options): (&'static str, String, [&'static str; 2]),
        hint: Option<String>,
    ) -> Error {
        let (wanted, option, known) = match side {
            Side::Image => (self.image, options[0], &IMAGES[..]),
            Side::Caption => (self.caption, options[1], &CAPTIONS[..]),
        };
        let known = known
            .iter()
            .find(|known| names.iter().any(|name| name == *known));
        let near = known.copied().or_else(|| nearest(wanted, names));
        let hint = hint.or_else(|| near.map(|name| format!(" Did you mean `{name}`?")));
        Box::new(MissingColumn {
            path: path.into(),
            noun,
            wanted: wanted.to_owned(),
            option,
            place,
            found: match names {
                [] => format!("no {noun}"),
                _ => list(names.iter().map(String::as_str)),
            },
            hint: hint.unwrap_or_default(),
            likely: near.unwrap_or("...").to_owned(),
        })
        .into()
    }
}

/// The name that is taken, and other well-known names that are there, too.
fn pick<'a>(
    wanted: &'a str,
    is_there: bool,
    known: &[&'static str],
    has: impl Fn(&str) -> bool,
) -> Option<(&'a str, Vec<&'static str>)>
where
    'static: 'a,
{
    if is_there {
        return Some((wanted, Vec::new()));
    }
    let mut there = known.iter().copied().filter(|name| has(name));
    Some((there.next()?, there.collect()))
}

fn said(what: &str, noun: &str, name: &str, others: &[&str]) -> String {
    let taken = format!("{what} are taken from {noun} `{name}`");
    match others {
        [] => taken,
        others => format!("{taken} (and not from {})", list(others.iter().copied())),
    }
}

/// The name that is most like the wanted one, if any is like it.
fn nearest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    let likeness = |name: &str| strsim::jaro_winkler(&wanted, name.trim().to_lowercase().as_str());
    let scored = names.iter().map(|name| (likeness(name), name.as_str()));
    let usable = |name: &str| !name.chars().any(char::is_control) && name.len() < 100;
    scored
        .filter(|(score, name)| *score > 0.8 && usable(name))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: Wanted = Wanted {
        image: "filepath",
        caption: "title",
    };

    fn among(wanted: Wanted, names: &[&str]) -> Result<[String; 2], Side> {
        let chosen = wanted.among(|name| names.contains(&name), "column");
        chosen.map(|chosen| [chosen.image, chosen.caption])
    }

    #[test]
    fn well_known_names_are_tried_in_order_where_neither_usual_name_is_there() {
        let found = among(USUAL, &["text", "image", "file_name", "caption"]);
        assert_eq!(found.unwrap(), ["file_name", "caption"]);
        let chosen = USUAL.among(|name| ["file_name", "image", "text"].contains(&name), "key");
        assert_eq!(
            chosen.unwrap().note.unwrap(),
            "pictures are taken from key `file_name` (and not from `image`); captions are taken from key `text`"
        );
        let chosen = USUAL.among(|name| ["filepath", "title"].contains(&name), "key");
        assert_eq!(chosen.unwrap().note, None);
    }

    #[test]
    fn one_usual_name_without_the_other_is_an_error() {
        assert_eq!(among(USUAL, &["filepath", "caption"]), Err(Side::Caption));
        assert_eq!(among(USUAL, &["file_name", "title"]), Err(Side::Image));
        assert_eq!(among(USUAL, &["a", "b"]), Err(Side::Image));
        assert_eq!(among(USUAL, &["path", "b"]), Err(Side::Caption));
    }

    #[test]
    fn what_a_recipe_says_is_never_replaced() {
        let set = Wanted {
            image: "pic",
            caption: "title",
        };
        assert_eq!(among(set, &["filepath", "title"]), Err(Side::Image));
        assert_eq!(among(set, &["pic", "text"]).unwrap(), ["pic", "text"]);
        let set = Wanted {
            image: "filepath",
            caption: "label",
        };
        assert_eq!(among(set, &["filepath", "title"]), Err(Side::Caption));
        assert_eq!(among(set, &["image", "label"]).unwrap(), ["image", "label"]);
    }
}
