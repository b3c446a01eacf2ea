//! The folders below a root and the pictures in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use crate::Error;
use crate::picture::has_known_extension;

/// A walk through the folders below a root.
pub(crate) struct Walk<'a> {
    root: &'a Path,
    hidden: usize,
    /// Pictures that are in no folder of a class.
    outside: usize,
    /// The extensions of other files, with their numbers: what is no extension is under the empty text.
    others: BTreeMap<String, usize>,
    links: usize,
}

/// What an entry of a folder is to a walk.
enum Found {
    Folder,
    /// A link to a folder.
    Link,
    File,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(root: &'a Path) -> Self {
        Self {
            root,
            hidden: 0,
            outside: 0,
            others: BTreeMap::new(),
            links: 0,
        }
    }

    /// The names of the sub-folders of the root.
    pub(crate) fn class_folders(&mut self) -> Result<BTreeSet<String>, Error> {
        let mut folders = BTreeSet::new();
        for (path, found) in self.entries("")? {
            match found {
                // A link to a folder above would make one class of all the others.
                Found::Link if self.holds_the_root(&path) => self.links += 1,
                Found::Folder | Found::Link => _ = folders.insert(path),
                Found::File if has_known_extension(&path) => self.outside += 1,
                Found::File => self.pass(&path),
            }
        }
        Ok(folders)
    }

    /// The paths of the pictures below a folder of the root.
    pub(crate) fn pictures(&mut self, folder: &str) -> Result<BTreeSet<String>, Error> {
        let mut pictures = BTreeSet::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for (path, found) in self.entries(&folder)? {
                match found {
                    Found::Folder => folders.push(path),
                    Found::Link => self.links += 1,
                    Found::File if has_known_extension(&path) => _ = pictures.insert(path),
                    Found::File => self.pass(&path),
                }
            }
        }
        Ok(pictures)
    }

    /// The entries of a folder that are not hidden, with their paths from the root.
    fn entries(&mut self, folder: &str) -> Result<Vec<(String, Found)>, Error> {
        let path = match folder {
            "" => self.root.to_path_buf(),
            _ => self.root.join(folder),
        };
        let unreadable = |cause| Error::Unreadable {
            path: path.clone(),
            cause,
        };
        let mut entries = Vec::new();
        for entry in fs::read_dir(&path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                self.pass("");
                continue;
            };
            if name.starts_with('.') {
                self.hidden += 1;
                continue;
            }
            let path = if folder.is_empty() {
                name.to_owned()
            } else {
                format!("{folder}/{name}")
            };
            entries.push((path, kind(&entry).map_err(unreadable)?));
        }
        Ok(entries)
    }

    /// Counts a file that is no picture.
    fn pass(&mut self, path: &str) {
        let extension = Path::new(path).extension().unwrap_or_default();
        let extension = extension.to_string_lossy().into_owned();
        *self.others.entry(extension).or_default() += 1;
    }

    fn holds_the_root(&self, folder: &str) -> bool {
        let real = |path: &Path| fs::canonicalize(path).ok();
        match (real(self.root), real(&self.root.join(folder))) {
            (Some(root), Some(folder)) => root.starts_with(folder),
            _ => true,
        }
    }

    /// What was passed over, but for files with an extension that belongs there.
    pub(crate) fn notes(&self, belongs: &[&str]) -> Vec<String> {
        let others = self.others.iter();
        let others = others.filter(|(extension, _)| !belongs.contains(&extension.as_str()));
        let others: usize = others.map(|(_, count)| count).sum();
        let passed: Vec<_> = [
            (self.hidden, ["hidden entry", "hidden entries"]),
            (
                self.outside,
                [
                    "picture that is in no sub-folder",
                    "pictures that are in no sub-folder",
                ],
            ),
            (
                others,
                [
                    "file without the name of a picture",
                    "files without the name of a picture",
                ],
            ),
            (self.links, ["link to a folder", "links to folders"]),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, [one, many])| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
        if passed.is_empty() {
            return Vec::new();
        }
        let root = self.root.display();
        vec![format!("{root}: passed over {}", passed.join(", "))]
    }
}

fn kind(entry: &DirEntry) -> io::Result<Found> {
    let kind = entry.file_type()?;
    Ok(if kind.is_dir() {
        Found::Folder
    } else if kind.is_symlink() && fs::metadata(entry.path()).is_ok_and(|target| target.is_dir()) {
        Found::Link
    } else {
        Found::File
    })
}
