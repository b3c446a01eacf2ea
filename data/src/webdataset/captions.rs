//! What the caption of a sample is: the text of an entry, a key of its JSON, or its class.

use super::WebDatasetConfig;
use super::group::Text;
use super::key::{CAPTIONS, Part};
use crate::json::{Field, fields};
use crate::rows::check_caption;
use crate::{ClassList, Error, Reason, Templates};

/// How captions are made.
#[derive(Debug)]
pub(super) struct Captions {
    key: String,
    classes: Option<ClassList>,
    templates: Templates,
    limit: usize,
}

impl Captions {
    pub(super) fn new(config: &WebDatasetConfig) -> Result<Self, Error> {
        Ok(Self {
            key: config.caption_key.clone(),
            classes: config.classes.as_ref().map(ClassList::open).transpose()?,
            templates: Templates::new(config.templates.iter().cloned())?,
            limit: config.max_caption_bytes,
        })
    }

    /// Whether the entry of a caption is small enough to be read.
    pub(super) fn check_size(&self, number: usize, size: u64) -> Result<(), Reason> {
        let limit = self.limit;
        if size <= limit as u64 {
            return Ok(());
        }
        Err(bad(
            number,
            format!("it has {size} bytes, over the limit of {limit} (`max_caption_bytes`)"),
        ))
    }

    /// The caption of sample `number` from its entries, the first of `txt`, `json` and `cls` that has one. Metadata
    /// are often JSON without a caption, so that only the wanted key makes it one.
    pub(super) fn choose(
        &self,
        [text, json, class]: [Option<Text>; CAPTIONS.len()],
        number: usize,
    ) -> Result<String, Reason> {
        let caption = if let Some(text) = text {
            self.text(&text?)?
        } else if let Some(json) = json {
            match (self.json(&json?)?, class) {
                (Some(caption), _) => caption,
                (None, Some(class)) => self.class(&class?, number)?,
                (None, None) => return Err(bad(1, format!("there is no key `{}`", self.key))),
            }
        } else {
            self.class(&class.ok_or(Reason::NoCaption)??, number)?
        };
        check_caption(&caption, self.limit)?;
        Ok(caption)
    }

    /// A text without its byte order mark and the line break at its end.
    fn text(&self, bytes: &[u8]) -> Result<String, Reason> {
        let text = utf8(0, bytes)?;
        Ok(text
            .strip_prefix('\u{feff}')
            .unwrap_or(text)
            .trim_end_matches(['\r', '\n'])
            .to_owned())
    }

    fn json(&self, bytes: &[u8]) -> Result<Option<String>, Reason> {
        let found = fields(bytes, [self.key.as_str()]);
        match found.map_err(|message| bad(1, message))? {
            [Some(Field::Text(caption))] => Ok(Some(caption)),
            [Some(Field::Other(found))] => Err(bad(
                1,
                format!("the value of `{}` is {found}, not a text", self.key),
            )),
            [None] => Ok(None),
        }
    }

    fn class(&self, bytes: &[u8], number: usize) -> Result<String, Reason> {
        let text = utf8(2, bytes)?.trim();
        let Some(classes) = &self.classes else {
            return Ok(text.to_owned());
        };
        let names = classes.names();
        let class = text.parse().ok().and_then(|class: usize| names.get(class));
        let class = class.ok_or_else(|| {
            let text: String = text.chars().take(40).collect();
            let last = names.len() - 1;
            bad(
                2,
                format!("`{text}` is no class number from 0 to {last} (`classes`)"),
            )
        })?;
        Ok(self.templates.fill_one(number, class))
    }
}

fn utf8(number: usize, bytes: &[u8]) -> Result<&str, Reason> {
    std::str::from_utf8(bytes).map_err(|_| bad(number, "it is not UTF-8".into()))
}

fn bad(number: usize, message: String) -> Reason {
    Reason::BadCaption {
        extension: Part::Caption(number).extension(),
        message,
    }
}
