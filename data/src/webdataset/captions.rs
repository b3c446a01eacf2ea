//! What the caption of a sample is: the text of an entry, a key of its JSON, or its class.

use super::WebDatasetConfig;
use super::key::{CAPTIONS, Part};
use crate::choice;
use crate::json::{fields, mend};
use crate::rows::check_caption;
use crate::shown::plain;
use crate::{ClassList, Error, Reason, Templates};

/// The part of a recipe that says how shards are read.
pub(super) const SECTION: &str = "data.webdataset";

/// The key of captions unless a recipe says another.
pub(super) const USUAL_KEY: &str = "caption";

/// What a caption entry holds, or why it is not read.
pub(super) type Text = Result<Vec<u8>, Reason>;

/// How captions are made.
#[derive(Debug)]
pub(super) struct Captions {
    key: String,
    labels: bool,
    classes: Option<ClassList>,
    templates: Templates,
    limit: usize,
}

impl Captions {
    /// With `labels` a caption is the class of its sample.
    pub(super) fn new(config: &WebDatasetConfig, labels: bool) -> Result<Self, Error> {
        let name_alone = ["{}".to_owned()];
        let templates = if labels {
            &name_alone[..]
        } else {
            &config.templates
        };
        Ok(Self {
            key: config.caption_key.clone(),
            labels,
            classes: config.classes.as_ref().map(ClassList::open).transpose()?,
            templates: Templates::new(templates.iter().cloned())?,
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
            format!(
                "it has {size} bytes, over the limit of {limit} (`{SECTION}.max_caption_bytes`)"
            ),
        ))
    }

    /// The captions of sample `number` from its entries, of the first of `txt`, `json` and `cls` that has one. Metadata
    /// are often JSON without a caption, so that only the wanted key makes it one. A key may hold several.
    pub(super) fn choose(
        &self,
        [text, json, class]: [Option<Text>; CAPTIONS.len()],
        number: usize,
    ) -> Result<Vec<String>, Reason> {
        let captions = if let Some(text) = text.filter(|_| !self.labels) {
            vec![self.text(&text?)?]
        } else if let Some(json) = json.filter(|_| !self.labels || self.key != Part::CLASS) {
            match (self.json(json?)?, class) {
                (Some(captions), _) => captions,
                (None, Some(class)) if !self.labels => vec![self.class(&class?, number)?],
                (None, _) => return Err(bad(1, format!("there is no key `{}`", self.key))),
            }
        } else {
            vec![self.class(&class.ok_or(Reason::NoCaption)??, number)?]
        };
        for caption in &captions {
            check_caption(caption, self.limit, SECTION)?;
        }
        Ok(captions)
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

    /// The captions in the wanted key, or in the first well-known one where nobody has said which is wanted.
    fn json(&self, mut bytes: Vec<u8>) -> Result<Option<Vec<String>>, Reason> {
        mend(&mut bytes);
        // A key that is wanted several times is found in its first place.
        let mut keys = [self.key.as_str(); choice::CAPTIONS.len() + 1];
        if self.key == USUAL_KEY {
            keys[1..].copy_from_slice(&choice::CAPTIONS);
        }
        let found = fields(&bytes, keys).map_err(|message| bad(1, message))?;
        let mut found = found.into_iter().zip(keys);
        let Some((field, key)) = found.find_map(|(field, key)| Some((field?, key))) else {
            return Ok(None);
        };
        let captions = field
            .texts(self.labels)
            .map_err(|found| bad(1, format!("the value of `{key}` is {found}, not a text")))?;
        Ok(Some(captions.into_iter().map(Into::into).collect()))
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
                format!(
                    "`{}` is no class number from 0 to {last} (`{SECTION}.classes`)",
                    plain(&text)
                ),
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
