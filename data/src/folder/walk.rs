//! The folders of classes and the pictures in them.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;

use crate::Error;
use crate::picture::has_known_extension;

/// A walk through the folders below a root.
pub(super) struct Walk<'a> {
    root: &'a Path,
    hidden: usize,
    others: usize,
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
    pub(super) fn new(root: &'a Path) -> Self {
        Self {
            root,
            hidden: 0,
            others: 0,
            links: 0,
        }
    }

    /// The names of the sub-folders of the root.
    pub(super) fn class_folders(&mut self) -> Result<BTreeSet<String>, Error> {
        let mut folders = BTreeSet::new();
        for (path, found) in self.entries("")? {
            match found {
                // A link to a folder above would make one class of all the others.
                Found::Link if self.holds_the_root(&path) => self.links += 1,
                Found::Folder | Found::Link => _ = folders.insert(path),
                Found::File => self.others += 1,
            }
        }
        Ok(folders)
    }

    /// The paths of the pictures below a folder of the root.
    pub(super) fn pictures(&mut self, folder: &str) -> Result<BTreeSet<String>, Error> {
        let mut pictures = BTreeSet::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for (path, found) in self.entries(&folder)? {
                match found {
                    Found::Folder => folders.push(path),
                    Found::Link => self.links += 1,
                    Found::File if has_known_extension(&path) => _ = pictures.insert(path),
                    Found::File => self.others += 1,
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
        let unreadable = |source| Error::Unreadable {
            path: path.clone(),
            source,
        };
        let mut entries = Vec::new();
        for entry in fs::read_dir(&path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                self.others += 1;
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

    fn holds_the_root(&self, folder: &str) -> bool {
        let real = |path: &Path| fs::canonicalize(path).ok();
        match (real(self.root), real(&self.root.join(folder))) {
            (Some(root), Some(folder)) => root.starts_with(folder),
            _ => true,
        }
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let counts = [
            (self.hidden, "hidden entries"),
            (self.others, "files that are no pictures by their names"),
            (self.links, "links to folders"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let passed: Vec<_> = counts.map(|(n, what)| format!("{n} {what}")).collect();
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
