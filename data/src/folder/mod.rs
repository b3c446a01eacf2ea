//! Folders of pictures, one for each class.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::picture;
use crate::recognise::Held;
use crate::rows::Rows;
use crate::walk::Walk;
use crate::{ClassList, Error, Sample, SampleError, Source, Templates};

/// The part of a recipe that says how folders of classes are read.
const SECTION: &str = "data.folder";

/// How to read an [`ImageFolder`]. The names of the fields are the names of the options in a recipe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ImageFolderConfig {
    /// The captions, each with one `{}` for the class: `a photo of a {}.` Pictures take them in turn.
    pub templates: Vec<String>,
    /// Pictures of more bytes are skipped: 64 MiB.
    pub max_image_bytes: u64,
}

impl Default for ImageFolderConfig {
    fn default() -> Self {
        Self {
            templates: vec!["a photo of a {}.".into()],
            max_image_bytes: 64 << 20,
        }
    }
}

/// Pictures in sub-folders that are named after their class. Pictures are read when a sample is asked for.
///
/// Classes are the sub-folders in order of their names, in which an underscore stands for a space; the pictures of a
/// class are all those below its folder, in order of their paths. Pair `i` is picture `i` with its class in template
/// `i` modulo their number.
///
/// The folder of a class may be a symbolic link; below it only files are followed, so that links cannot loop.
#[derive(Debug)]
pub struct ImageFolder {
    name: String,
    root: PathBuf,
    max_image_bytes: u64,
    templates: Templates,
    classes: ClassList,
    /// For each picture its class and its path from the root.
    rows: Rows<usize>,
    notes: Vec<String>,
}

impl ImageFolder {
    /// Lists the pictures of a folder, and reads none of them.
    ///
    /// # Errors
    ///
    /// If a folder cannot be read, none has a picture, two classes have the same name, or a template has no place for
    /// the class.
    pub fn open(root: impl AsRef<Path>, config: &ImageFolderConfig) -> Result<Self, Error> {
        let root = root.as_ref();
        let templates = Templates::new(config.templates.iter().cloned())?;
        let mut walk = Walk::new(root);
        let folders = walk.class_folders()?;
        let held = Held::of(root)?;
        let mut rows = Rows::new();
        let mut filled: Vec<String> = Vec::new();
        for (class, folder) in folders.iter().enumerate() {
            let pictures = walk.pictures(folder)?;
            if !pictures.is_empty() {
                filled.push(folder.clone());
            }
            for path in pictures {
                rows.push(class, &path, "");
            }
        }
        // What is no folder of classes is best told by what lies in it.
        if let Some(error) = held.no_classes(root, &filled) {
            return Err(error);
        }
        let name = root.display().to_string();
        let note = held.note().map(|note| format!("{name}: {note}"));
        let names: Vec<_> = folders.iter().map(|f| f.replace('_', " ")).collect();
        Ok(Self {
            classes: ClassList::from_names(&name, names.iter().map(String::as_str))?,
            name,
            root: root.into(),
            max_image_bytes: config.max_image_bytes,
            templates,
            rows,
            notes: walk.notes(&[]).into_iter().chain(note).collect(),
        })
    }

    /// Lists the pictures of a folder; the captions are the names of the classes.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_labels(root: impl AsRef<Path>, config: &ImageFolderConfig) -> Result<Self, Error> {
        let config = ImageFolderConfig {
            templates: vec!["{}".into()],
            ..config.clone()
        };
        Self::open(root, &config)
    }

    /// The classes, in order of their folders; those without pictures are among them.
    pub fn classes(&self) -> &ClassList {
        &self.classes
    }

    /// The number of the class of pair `index`.
    ///
    /// # Panics
    ///
    /// If `index` is not below `len()`.
    pub fn class(&self, index: usize) -> usize {
        *self.rows.place(index)
    }
}

impl Source for ImageFolder {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, SampleError> {
        let limit = (SECTION, self.max_image_bytes);
        let path = self.rows.name(index);
        picture::sample(&self.root, path, limit, self.caption(index))
    }

    fn caption(&self, index: usize) -> Cow<'_, str> {
        let class = &self.classes.names()[self.class(index)];
        self.templates.fill_one(index, class).into()
    }

    fn image_key(&self, index: usize) -> Cow<'_, str> {
        self.rows.name(index).into()
    }

    fn kind(&self) -> &'static str {
        "a folder of classes"
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }
}

#[cfg(test)]
mod tests;
