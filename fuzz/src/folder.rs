//! A folder for the files that a parser is pointed at.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder that one fuzzer writes its inputs into, again and again: in memory, where the system has such a place.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// A new folder: where `TMPDIR` says, else in shared memory.
    ///
    /// # Panics
    ///
    /// If it cannot be made; there is nothing to fuzz then, as with the other methods.
    #[allow(
        clippy::new_without_default,
        reason = "it makes a folder, which no default does"
    )]
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let base = match std::env::var_os("TMPDIR") {
            None if memory.is_dir() => memory.to_path_buf(),
            _ => std::env::temp_dir(),
        };
        let folder = tempfile::Builder::new().prefix("fuzz-").tempdir_in(base);
        Self(folder.expect("a temporary folder"))
    }

    /// A new folder with three pictures, of which one is empty: `images/good.jpg`, `images/good.png` and
    /// `images/zero-bytes.png`.
    ///
    /// # Panics
    ///
    /// As [`new`](Self::new).
    pub fn with_pictures() -> Self {
        let folder = Self::new();
        folder.put("images/good.jpg", b"JPEG");
        folder.put("images/good.png", b"P");
        folder.put("images/zero-bytes.png", b"");
        folder
    }

    /// Writes a file, with its folders; what it held before is gone.
    pub fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        if fs::write(&path, bytes).is_err() {
            let parent = path.parent().expect("a file in a folder");
            fs::create_dir_all(parent).expect("the folder of a file");
            fs::write(&path, bytes).expect("a file");
        }
        path
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}
