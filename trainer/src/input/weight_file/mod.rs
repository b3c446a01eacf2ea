//! Weight files of a folder as they are found: safetensors or PyTorch's, in one file or several, whose names and keys
//! wrappers have changed. Nothing in them is executed, and values are read one tensor after another.

mod find;
mod index;
mod pytorch;
mod safetensors;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use burn::{module::Module, tensor::TensorData};
use pytorch_reader::Tensor;
use transformer::{Bindings, Entry, TensorSource, WeightsError, check_keys, load_from};

use index::{Index, is_index};

pub use find::{HF, OPEN_CLIP};

/// A module with the parameters of a folder.
#[derive(Debug)]
pub struct Loaded<M> {
    /// The module.
    pub module: M,
    /// The file they are in, or the index of those they are in.
    pub path: PathBuf,
    /// What a person should know of them, a sentence each, without the file's name.
    pub notes: Vec<String>,
}

/// Loads every parameter of `module` from the weights of a folder. `names` are what their file may be called, first to
/// last; `bindings` are the namings that its keys may follow, the likeliest first.
///
/// # Errors
///
/// Names the file that is missing or cannot be read, and the key that does not fit.
pub fn load<M: Module>(
    folder: &Path,
    names: &[&str],
    module: M,
    bindings: &[Bindings],
) -> anyhow::Result<Loaded<M>> {
    let path = find::find(folder, names)?;
    let name = || path.display().to_string();
    let (tensors, bindings, nested) = fitting(&path, bindings).with_context(name)?;
    let loaded = load_from(module, bindings, &tensors).with_context(name)?;
    let mut notes = Vec::new();
    if let Some(key) = nested {
        notes.push(format!(
            "the weights stand under `{key}`; what stands beside it is not read"
        ));
    }
    if !loaded.prefix.is_empty() {
        let prefix = loaded.prefix;
        notes.push(format!("`{prefix}` was taken off the front of the keys"));
    }
    if !loaded.zeros.is_empty() {
        let keys = loaded.zeros.join(", ");
        notes.push(format!("{keys} is not in the file and starts at zero"));
    }
    if let Some(first) = loaded.not_finite.first() {
        let count = loaded.not_finite.len();
        notes.push(format!(
            "warning: {count} of its tensors hold NaN or infinities, the first is `{first}`; the model cannot give \
             numbers with them"
        ));
    }
    Ok(Loaded {
        module: loaded.module,
        path,
        notes,
    })
}

/// Whether the weights of a folder hold a tensor whose key is `ending`, or ends in a dot and `ending`.
///
/// # Errors
///
/// Names the file that is missing or cannot be read.
pub fn holds(folder: &Path, names: &[&str], ending: &str) -> anyhow::Result<bool> {
    let path = find::find(folder, names)?;
    let tensors = Tensors::open(&path).with_context(|| path.display().to_string())?;
    let is_it = |key: &&str| {
        let stem = key.strip_suffix(ending);
        stem.is_some_and(|stem| stem.is_empty() || stem.ends_with('.'))
    };
    Ok(tensors.keys().iter().any(is_it))
}

/// The tensors of a file whose keys fit a naming: as they are, or those that a checkpoint of a training keeps under a key
/// of its own. Where nothing fits, the tensors as they are, whose fault is then told.
fn fitting<'a>(
    path: &Path,
    bindings: &'a [Bindings],
) -> anyhow::Result<(Tensors, &'a Bindings, Option<&'static str>)> {
    let fits = |tensors: &Tensors| {
        bindings
            .iter()
            .find(|bindings| check_keys(bindings, tensors).is_ok())
    };
    let likeliest = bindings.first().context("a model has a naming")?;
    let tensors = Tensors::open(path)?;
    if let Some(bindings) = fits(&tensors) {
        return Ok((tensors, bindings, None));
    }
    let mut inner = None;
    if !tensors.is_safetensors() {
        for key in pytorch::NESTED {
            // Most keys are not there.
            let Ok(nested) = Tensors::open_nested(path, key) else {
                continue;
            };
            if let Some(bindings) = fits(&nested) {
                return Ok((nested, bindings, Some(key)));
            }
            if inner.is_none() && !nested.keys().is_empty() {
                inner = Some((nested, likeliest, Some(key)));
            }
        }
    }
    Ok(inner.unwrap_or((tensors, likeliest, None)))
}

/// The tensors of one file, or of the files that an index names, none of them read yet.
#[derive(Debug, Default)]
pub struct Tensors {
    entries: BTreeMap<String, (Entry, Place)>,
    files: Vec<File>,
}

#[derive(Debug)]
enum Place {
    Safetensors(usize, safetensors::Place),
    Pytorch(Box<Tensor>),
}

impl Tensors {
    /// Opens a safetensors file, a file of PyTorch's, or the files that an index names.
    ///
    /// # Errors
    ///
    /// If it is neither, or a file that the index names is not there.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let name = path.file_name().and_then(|name| name.to_str());
        let mut tensors = Self::default();
        if name.is_some_and(is_index) {
            tensors.add_indexed(path)?;
        } else {
            tensors.add(path, None)?;
        }
        Ok(tensors)
    }

    fn open_nested(path: &Path, key: &str) -> anyhow::Result<Self> {
        let mut tensors = Self::default();
        for (key, entry, tensor) in pytorch::entries(path, Some(key))? {
            tensors.insert(key, entry, Place::Pytorch(Box::new(tensor)), false)?;
        }
        Ok(tensors)
    }

    fn is_safetensors(&self) -> bool {
        !self.files.is_empty()
    }

    fn add_indexed(&mut self, path: &Path) -> anyhow::Result<()> {
        let index = Index::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let shards = index.shards();
        let missing: Vec<&str> = shards
            .iter()
            .filter(|shard| !folder.join(shard).is_file())
            .map(String::as_str)
            .collect();
        if let Some(first) = missing.first() {
            bail!(
                "{first} is not there, which the index names ({} of {} files are missing); is the download complete?",
                missing.len(),
                shards.len()
            );
        }
        for shard in &shards {
            self.add(&folder.join(shard), Some((&index, shard)))
                .with_context(|| shard.clone())?;
        }
        let lost = index
            .keys()
            .find(|(key, _)| !self.entries.contains_key(*key));
        if let Some((key, shard)) = lost {
            bail!(
                "the index says that `{key}` is in {shard}, and it is not; is the download complete?"
            );
        }
        Ok(())
    }

    /// Adds the tensors of a file. A tensor that lies in several of an index's files is that of the file it names.
    fn add(&mut self, path: &Path, of: Option<(&Index, &str)>) -> anyhow::Result<()> {
        let is_here = |key: &str| {
            of.is_none_or(|(index, shard)| index.shard_of(key).is_none_or(|named| named == shard))
        };
        let is_safetensors = path
            .extension()
            .is_some_and(|ending| ending == "safetensors");
        if is_safetensors {
            let mut file = File::open(path)?;
            let number = self.files.len();
            for (key, entry, place) in safetensors::entries(path, &mut file)? {
                if is_here(&key) {
                    self.insert(key, entry, Place::Safetensors(number, place), of.is_some())?;
                }
            }
            self.files.push(file);
        } else {
            for (key, entry, tensor) in pytorch::entries(path, None)? {
                if is_here(&key) {
                    self.insert(key, entry, Place::Pytorch(Box::new(tensor)), of.is_some())?;
                }
            }
        }
        Ok(())
    }

    /// Adds a tensor of a file alone, or of one of several files of an index.
    fn insert(
        &mut self,
        key: String,
        entry: Entry,
        place: Place,
        is_indexed: bool,
    ) -> anyhow::Result<()> {
        let is_new = !self.entries.contains_key(&key);
        ensure!(
            is_new || !is_indexed,
            "`{key}` lies in another of the files too, and their index does not say which counts; add it to the index"
        );
        ensure!(is_new, "`{key}` stands in the file twice; save it again");
        self.entries.insert(key, (entry, place));
        Ok(())
    }
}

impl TensorSource for Tensors {
    fn keys(&self) -> Vec<&str> {
        self.entries.keys().map(String::as_str).collect()
    }

    fn entry(&self, key: &str) -> Option<Entry> {
        self.entries.get(key).map(|(entry, _)| entry.clone())
    }

    fn read(&self, key: &str) -> Result<TensorData, WeightsError> {
        let (entry, place) = self.entries.get(key).ok_or_else(|| WeightsError::Missing {
            keys: vec![key.into()],
        })?;
        let data = match place {
            Place::Safetensors(number, place) => {
                safetensors::read(&self.files[*number], *place, &entry.shape)
            }
            Place::Pytorch(tensor) => pytorch::read(tensor),
        };
        data.map_err(|error| WeightsError::Values {
            key: key.into(),
            reason: format!("{error:#}"),
        })
    }
}

/// Says what a file is that its name does not tell.
///
/// # Errors
///
/// If it is something that people find in place of weights.
fn tell_other_kinds(path: &Path) -> anyhow::Result<()> {
    let mut start = Vec::new();
    File::open(path)?.take(64).read_to_end(&mut start)?;
    ensure!(
        !start.starts_with(b"version https://git-lfs"),
        "a Git LFS pointer in place of the weights; fetch them with `git lfs pull`"
    );
    let text = String::from_utf8_lossy(&start).to_lowercase();
    ensure!(
        !text.trim_start().starts_with("<!doctype html") && !text.trim_start().starts_with("<html"),
        "a page of HTML in place of the weights; the download went wrong"
    );
    ensure!(
        !start.starts_with(b"PK\x03\x04") || path.extension().is_some_and(|e| e != "safetensors"),
        "a file of PyTorch's by its content; name it pytorch_model.bin"
    );
    Ok(())
}
