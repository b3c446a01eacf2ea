//! From the lists of a JSON file to pairs.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use super::AnnotationsConfig;
use super::parse::{self, Entry};
use crate::choice::Wanted;
use crate::json::{Field, mend};
use crate::listing::{Limits, Listing, Unit};
use crate::opening::Text;
use crate::shown::{list, plain};
use crate::{Error, Reason};

/// The part of a recipe that says how JSON files are read.
const SECTION: &str = "data.json";

/// The options that name the keys.
const OPTIONS: [&str; 2] = ["data.json.image_key", "data.json.caption_key"];

/// What a picture of Karpathy's and COCO's files has, and what an annotation of COCO's.
const IMAGE: [&str; 6] = [
    "id",
    "file_name",
    "filename",
    "filepath",
    "split",
    "sentences",
];
const ANNOTATION: [&str; 2] = ["image_id", "caption"];

type Images<'a> = [Entry<'a, { IMAGE.len() }>];
type Notes<'a> = Vec<Entry<'a, { ANNOTATION.len() }>>;
/// The path of a picture and its captions.
type Captioned<'a> = (Cow<'a, str>, Vec<Cow<'a, str>>);

/// What a file was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Karpathy,
    Coco,
    List,
}

/// Reads the file at `path`. With `labels` the captions are classes: numbers are, too, and only a list has them.
pub(super) fn load(
    path: &Path,
    config: &AnnotationsConfig,
    labels: bool,
) -> Result<(Listing, Layout), Error> {
    let mut text = read(path, config)?;
    mend(&mut text);
    let json = |message: String| Error::Json {
        path: path.into(),
        message,
    };
    let is_list = text.trim_ascii_start().first() == Some(&b'[');
    let (listing, layout) = if is_list {
        let mut loader = Loader::new(path, config, Unit::Entry("entries"));
        loader.list(&text, labels)?;
        (loader.listing, Layout::List)
    } else {
        let lists = parse::lists(&text, IMAGE, ANNOTATION).map_err(json)?;
        let Some(images) = lists.images else {
            return Err(json(unknown(&lists.keys)));
        };
        if let Some(annotations) = lists.annotations {
            let mut loader = Loader::new(path, config, Unit::Entry("annotations"));
            loader.coco(images, annotations)?;
            (loader.listing, Layout::Coco)
        } else {
            let mut loader = Loader::new(path, config, Unit::Entry("images"));
            loader.karpathy(images)?;
            (loader.listing, Layout::Karpathy)
        }
    };
    if listing.len() > 0 {
        return Ok((listing, layout));
    }
    if listing.skipped.is_empty() {
        return Err(json("0 samples: the file lists no captions".into()));
    }
    Err(Error::NothingUsable {
        path: path.into(),
        skipped: Box::new(listing.skipped),
    })
}

fn read(path: &Path, config: &AnnotationsConfig) -> Result<Vec<u8>, Error> {
    let mut text = Vec::new();
    let limit = config.max_file_bytes;
    let input = Text::open(path, 0)?.reader();
    let read = input.take(limit.saturating_add(1)).read_to_end(&mut text);
    read.map_err(|cause| Error::Unreadable {
        path: path.into(),
        cause,
    })?;
    if text.len() as u64 > limit {
        return Err(Error::Json {
            path: path.into(),
            message: format!(
                "the file has more than {limit} bytes (`{SECTION}.max_file_bytes`); write it as JSON lines, which are \
                 read one by one"
            ),
        });
    }
    Ok(text)
}

fn unknown(keys: &[String]) -> String {
    let found = match keys {
        [] => "an object without keys".to_owned(),
        keys => format!(
            "an object with the keys {}",
            list(keys.iter().map(String::as_str))
        ),
    };
    format!(
        "{found}; expected a list of objects with a path and a caption each, Karpathy's `images` with `sentences`, or \
         COCO's `images` and `annotations`"
    )
}

struct Loader<'a> {
    path: &'a Path,
    config: &'a AnnotationsConfig,
    listing: Listing,
}

impl<'a> Loader<'a> {
    fn new(path: &'a Path, config: &'a AnnotationsConfig, unit: Unit) -> Self {
        let limits = Limits {
            section: SECTION,
            image: config.max_image_bytes,
            caption: config.max_caption_bytes,
        };
        Self {
            path,
            config,
            listing: Listing::new(path, config.image_root.as_deref(), limits, unit),
        }
    }

    fn fault(&self, message: String) -> Error {
        Error::Json {
            path: self.path.into(),
            message,
        }
    }

    /// A list of objects, each with a path and a caption or several.
    fn list(&mut self, text: &[u8], labels: bool) -> Result<(), Error> {
        let config = self.config;
        let wanted = Wanted {
            image: &config.image_key,
            caption: &config.caption_key,
        };
        let first = parse::first_keys(text);
        let chosen = wanted.among(|key| first.iter().any(|k| k == key), "key");
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(side) => {
                // A fault in the file is more than a key that is not in its beginning.
                let entries = parse::list(text, [""]).map_err(|message| self.fault(message))?;
                if entries.is_empty() {
                    return Err(self.fault("0 samples: the list is empty".into()));
                }
                let place = ("key", "the beginning of the list".to_owned(), OPTIONS);
                return Err(wanted.missing(side, self.path, &first, place, None));
            }
        };
        let keys = [&*chosen.image, &*chosen.caption, "split"];
        let entries = parse::list(text, keys).map_err(|message| self.fault(message))?;
        let mut splits = Splits::new(config.split.as_deref());
        for (number, entry) in entries.into_iter().enumerate() {
            let pairs = entry
                .map_err(no_object)
                .and_then(|[path, captions, split]| {
                    if !splits.takes(split) {
                        return Ok(None);
                    }
                    let path = wanted_text(keys[0], path, false)?;
                    let captions = captions.ok_or_else(|| no_key(keys[1]))?;
                    let captions = captions
                        .texts(labels)
                        .map_err(|found| no_text(keys[1], found))?;
                    Ok(Some((path, captions)))
                });
            self.keep(number, pairs);
        }
        chosen
            .note
            .into_iter()
            .for_each(|note| self.listing.note(note));
        self.tell(&splits)
    }

    /// Karpathy's file: pictures with their sentences.
    fn karpathy(&mut self, images: Vec<Entry<'_, { IMAGE.len() }>>) -> Result<(), Error> {
        let mut splits = Splits::new(self.config.split.as_deref());
        for (number, image) in images.into_iter().enumerate() {
            let pairs = image.map_err(no_object).and_then(|image| {
                let [_, file_name, filename, folder, split, sentences] = image;
                if !splits.takes(split) {
                    return Ok(None);
                }
                let path = file(file_name, filename, folder)?;
                let sentences = sentences.ok_or_else(|| no_key("sentences"))?;
                let sentences = sentences.texts(false);
                Ok(Some((
                    path,
                    sentences.map_err(|found| no_text("sentences", found))?,
                )))
            });
            self.keep(number, pairs);
        }
        self.tell(&splits)
    }

    /// COCO's file: pictures, and captions that name them. The captions of a picture come one after the other.
    fn coco(
        &mut self,
        images: Vec<Entry<'_, { IMAGE.len() }>>,
        annotations: Notes<'_>,
    ) -> Result<(), Error> {
        if !annotations.is_empty() && !annotations.iter().any(|a| matches!(a, Ok([_, Some(_)]))) {
            return Err(self.fault(
                "no annotation has a `caption`; of COCO's files `captions_*.json` have them, `instances_*.json` do not"
                    .into(),
            ));
        }
        let mut splits = Splits::new(self.config.split.as_deref());
        let (files, by_id) = files(&images, &mut splits);
        let mut pairs: Vec<(usize, usize, Cow<'_, str>)> = Vec::with_capacity(annotations.len());
        for (number, annotation) in annotations.into_iter().enumerate() {
            let pair = annotation.map_err(no_object).and_then(|[image, caption]| {
                let id = wanted_text("image_id", image, true)?;
                let whose = match by_id.get(id.as_ref()) {
                    Some(Some(image)) => {
                        return Ok((*image, number, wanted_text("caption", caption, false)?));
                    }
                    Some(None) => "several pictures",
                    None => "no picture",
                };
                Err(bad(format!("`image_id` {} is the id of {whose}", cut(&id))))
            });
            match pair {
                Ok(pair) => pairs.push(pair),
                Err(reason) => self.listing.skip(number as u64, reason),
            }
        }
        pairs.sort_by_key(|(image, ..)| *image);
        let mut used = 0;
        let mut last = None;
        for (image, number, caption) in pairs {
            used += usize::from(last.replace(image) != Some(image));
            if let Some(file) = &files[image] {
                let pair = file.clone().map(|file| Some((file, vec![caption])));
                self.keep(number, pair);
            }
        }
        if used < images.len() {
            let left = images.len() - used;
            self.listing.note(format!(
                "{left} of {} pictures have no caption",
                images.len()
            ));
        }
        self.tell(&splits)
    }

    /// Keeps the pairs of an entry; `None` is an entry of another split.
    fn keep(&mut self, number: usize, pairs: Result<Option<Captioned<'_>>, Reason>) {
        let number = number as u64;
        match pairs {
            Ok(None) => {}
            Ok(Some((path, captions))) => {
                for caption in captions {
                    if let Err(reason) = self.listing.push(number, &path, &caption) {
                        self.listing.skip(number, reason);
                    }
                }
            }
            Err(reason) => self.listing.skip(number, reason),
        }
    }

    /// Says which splits there are, or that the wanted one is not.
    fn tell(&mut self, splits: &Splits) -> Result<(), Error> {
        if splits.found.is_empty() && splits.wanted.is_none() {
            return Ok(());
        }
        let found: Vec<_> = splits
            .found
            .iter()
            .map(|(name, n)| format!("{} {n}", cut(name)))
            .collect();
        let found = if found.is_empty() {
            "no key `split`".to_owned()
        } else {
            format!("pictures by split: {}", found.join(", "))
        };
        match splits.wanted {
            None => self.listing.note(format!(
                "{found}; all are taken (`{SECTION}.split` takes one)"
            )),
            Some(wanted) if splits.taken > 0 => self
                .listing
                .note(format!("{found}; {} of `{wanted}` are taken", splits.taken)),
            Some(wanted) => {
                return Err(self.fault(format!(
                    "no picture has the split `{}` (`{SECTION}.split`); {found}",
                    plain(wanted)
                )));
            }
        }
        Ok(())
    }
}

/// A file of a picture, or why there is none; nothing where the picture is of another split.
type Named<'a> = Option<Result<Cow<'a, str>, Reason>>;

/// The files of COCO's pictures, and their numbers by id; an id that several files have is nobody's.
fn files<'a>(
    images: &Images<'a>,
    splits: &mut Splits,
) -> (Vec<Named<'a>>, HashMap<String, Option<usize>>) {
    let mut by_id = HashMap::with_capacity(images.len());
    let mut files = Vec::with_capacity(images.len());
    let path_of = |fields: &[Option<Field<'a>>; IMAGE.len()]| {
        let [_, file_name, filename, folder, ..] = fields.clone();
        file(file_name, filename, folder)
    };
    for (number, image) in images.iter().enumerate() {
        let Ok(fields) = image else {
            // It has no id by which a caption could name it.
            files.push(None);
            continue;
        };
        let [id, .., split, _] = fields.clone();
        if let Some(id) = id.and_then(|id| id.text(true).ok()) {
            let is_same = |first: usize| {
                first == number
                    || images[first]
                        .as_ref()
                        .is_ok_and(|first| path_of(first).ok() == path_of(fields).ok())
            };
            let known = by_id.entry(id.into_owned()).or_insert(Some(number));
            *known = known.filter(|first| is_same(*first));
        }
        files.push(splits.takes(split).then(|| path_of(fields)));
    }
    (files, by_id)
}

/// The path of a picture: its folder, if it has one, and its name.
fn file<'a>(
    file_name: Option<Field<'a>>,
    filename: Option<Field<'a>>,
    folder: Option<Field<'a>>,
) -> Result<Cow<'a, str>, Reason> {
    let name = file_name.or(filename);
    let name = wanted_text("file_name", name, false)?;
    match folder.map(|folder| folder.text(false)) {
        Some(Ok(folder)) if !folder.is_empty() => Ok(format!("{folder}/{name}").into()),
        _ => Ok(name),
    }
}

/// The splits that were met, and the one that is wanted.
struct Splits<'a> {
    wanted: Option<&'a str>,
    found: BTreeMap<String, usize>,
    taken: usize,
}

impl<'a> Splits<'a> {
    fn new(wanted: Option<&'a str>) -> Self {
        Self {
            wanted,
            found: BTreeMap::new(),
            taken: 0,
        }
    }

    /// Counts a picture, and says whether it is taken.
    fn takes(&mut self, split: Option<Field<'_>>) -> bool {
        let split = split.and_then(|split| split.text(false).ok());
        let taken = self.wanted.is_none_or(|wanted| {
            split
                .as_deref()
                .is_some_and(|split| split == wanted || (wanted == "train" && split == "restval"))
        });
        self.taken += usize::from(taken);
        if let Some(split) = split {
            // There are a handful; a file with more has something else there.
            if self.found.len() < 32 || self.found.contains_key(&*split) {
                *self.found.entry(split.into_owned()).or_default() += 1;
            }
        }
        taken
    }
}

fn wanted_text<'a>(
    key: &str,
    field: Option<Field<'a>>,
    numbers: bool,
) -> Result<Cow<'a, str>, Reason> {
    let field = field.ok_or_else(|| no_key(key))?;
    field.text(numbers).map_err(|found| no_text(key, found))
}

fn cut(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    plain(&start).into_owned()
}

fn no_object(found: &str) -> Reason {
    bad(format!("expected an object, found {found}"))
}

fn no_key(key: &str) -> Reason {
    bad(format!("there is no key `{key}`"))
}

fn no_text(key: &str, found: &str) -> Reason {
    bad(format!("the value of `{key}` is {found}, not a text"))
}

fn bad(message: String) -> Reason {
    Reason::BadLine { message }
}
