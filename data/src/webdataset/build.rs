//! Going through the shards of a set, once.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::index::{Index, Tally};
use super::pattern::Shards;
use super::scan::{Rules, Scan};
use crate::kind::{self, ENOUGH, TAR};
use crate::rows::Rows;
use crate::{Error, Ledger};

/// Goes through the shards.
///
/// # Errors
///
/// If no sample can be used.
pub(super) fn build(shards: &Shards, rules: &Rules) -> Result<Index, Error> {
    let mut index = Index {
        rows: Rows::new(),
        lengths: Vec::new(),
        bytes: Vec::new(),
        skipped: Ledger::new(),
        unended: Tally::default(),
        damaged: Tally::default(),
        unusable: Tally::default(),
        ignored: 0,
    };
    for pattern in &shards.unmatched {
        index.unusable(Path::new(pattern), "no file has such a name".into());
    }
    for path in &shards.paths {
        let before = index.rows.len();
        let bytes = add(&mut index, path, rules);
        index.bytes.push(bytes);
        index.lengths.push(index.rows.len() - before);
    }
    if index.rows.len() == 0 {
        return Err(Error::NoSamples {
            pattern: shards.name.clone(),
            shards: shards.paths.len(),
            skipped: Box::new(index.skipped),
        });
    }
    Ok(index)
}

/// Goes through one shard, and gives its size in bytes.
fn add(index: &mut Index, path: &Path, rules: &Rules) -> u64 {
    let number = index.lengths.len() as u32;
    let read = open(path).and_then(|(file, bytes)| {
        Scan::new(path, (number, bytes), rules, index).run(file)?;
        Ok(bytes)
    });
    read.unwrap_or_else(|message| {
        index.unusable(path, other_kind(path).unwrap_or(message));
        0
    })
}

/// Opens a shard, and gives its size in bytes.
fn open(path: &Path) -> Result<(File, u64), String> {
    // Look before opening: to open a pipe would wait for ever.
    let found = fs::metadata(path).map_err(|error| error.to_string())?;
    if found.is_dir() {
        return Err("it is a folder; name the shards in it, such as `*.tar`".into());
    }
    if !found.is_file() {
        return Err("it is a device or a pipe, not a file".into());
    }
    if found.len() == 0 {
        return Err("it is empty (0 bytes)".into());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    Ok((file, found.len()))
}

/// What a file is in place of an archive, by its first bytes.
fn other_kind(path: &Path) -> Option<String> {
    let (file, _) = open(path).ok()?;
    let mut start = Vec::new();
    file.take(ENOUGH as u64).read_to_end(&mut start).ok()?;
    let found = kind::of(&start).filter(|found| *found != TAR && found.words != "binary data")?;
    Some(format!(
        "it is {}, not a tar archive; {}",
        found.words, found.remedy
    ))
}
