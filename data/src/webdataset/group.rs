//! The entries of one sample, as they come.

use super::captions::{Captions, Text};
use super::key::{CAPTIONS, Part};
use crate::Reason;
use crate::picture::EXTENSIONS;

/// Where the bytes of a picture are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Location {
    /// The number of the shard.
    pub(super) shard: u32,
    /// The number of the extension among the known ones.
    pub(super) extension: u32,
    /// The first byte in the shard.
    pub(super) offset: u64,
    /// How many bytes.
    pub(super) size: u64,
}

/// Where a picture is, or why it is not taken.
pub(super) type Image = Result<Location, Reason>;

/// Adjacent entries with one key.
#[derive(Debug)]
pub(super) struct Group {
    key: String,
    images: [Option<Image>; EXTENSIONS.len()],
    texts: [Option<Text>; CAPTIONS.len()],
    repeated: Option<&'static str>,
}

impl Group {
    pub(super) fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            images: [const { None }; _],
            texts: [const { None }; _],
            repeated: None,
        }
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    pub(super) fn has_image(&self) -> bool {
        self.images.iter().any(Option::is_some)
    }

    pub(super) fn has_text(&self) -> bool {
        self.texts.iter().any(Option::is_some)
    }

    pub(super) fn add_image(&mut self, number: usize, image: Image) {
        if self.images[number].replace(image).is_some() {
            self.repeated = Some(Part::Image(number).extension());
        }
    }

    pub(super) fn add_text(&mut self, number: usize, text: Text) {
        if self.texts[number].replace(text).is_some() {
            self.repeated = Some(Part::Caption(number).extension());
        }
    }

    /// The picture and its captions; `number` is that of the sample in its set.
    pub(super) fn finish(
        self,
        captions: &Captions,
        number: usize,
    ) -> Result<(Location, Vec<String>), Reason> {
        if let Some(extension) = self.repeated {
            return Err(Reason::RepeatedEntry { extension });
        }
        let image = self.images.into_iter().flatten().next();
        let image = image.ok_or(Reason::NoImage)??;
        Ok((image, captions.choose(self.texts, number)?))
    }
}
