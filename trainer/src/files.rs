//! Files: read whole within a limit, written whole or not at all.
//!
//! Only regular files are read. A pipe would be waited for, and a device has no end.

use std::{
    fmt,
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};

/// The most bytes of a text that is read: a recipe, a config, a state.
pub const TEXT: u64 = 64 << 20;

/// The most bytes of a vocabulary or a tokenizer.
pub const VOCABULARY: u64 = 256 << 20;

/// The most bytes of a file of tensors.
pub const WEIGHTS: u64 = 1 << 40;

/// The links that are followed from one path to a file; Linux follows as many.
const LINKS: usize = 40;

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// It is not there, or may not be read.
    #[error("{}: cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It has no end, or no bytes of its own.
    #[error("{}: is {found}; {}", path.display(), found.remedy())]
    NotAFile {
        /// What was named.
        path: PathBuf,
        /// What it is.
        found: Special,
    },
    /// It is larger than what is asked for can be.
    #[error("{}: has {bytes} bytes, and at most {limit} are read; is it the file that is meant?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most that is read.
        limit: u64,
    },
    /// It does not fit into memory.
    #[error("{}: its {bytes} bytes do not fit into memory", path.display())]
    NoMemory {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It is no text.
    #[error("{}: is not UTF-8, from byte {byte} on; save it as UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first byte that is not UTF-8.
        byte: usize,
    },
}

impl FileError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// What a path names where it names no regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// A folder.
    Folder,
    /// A named pipe, or one of a shell's `<(...)`.
    Pipe,
    /// A device, such as a terminal.
    Device,
    /// A socket.
    Socket,
}

impl Special {
    /// What `metadata` is of; `None` if of a regular file.
    pub fn of(metadata: &Metadata) -> Option<Self> {
        let kind = metadata.file_type();
        if kind.is_dir() {
            Some(Self::Folder)
        } else if kind.is_fifo() {
            Some(Self::Pipe)
        } else if kind.is_socket() {
            Some(Self::Socket)
        } else if kind.is_file() {
            None
        } else {
            Some(Self::Device)
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            Self::Folder => "give a file",
            Self::Pipe => "write it to a file first, and give that",
            Self::Device | Self::Socket => "give a regular file",
        }
    }
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Folder => "a folder",
            Self::Pipe => "a pipe",
            Self::Device => "a device",
            Self::Socket => "a socket",
        })
    }
}

/// The bytes of a regular file of at most `limit` bytes. A pipe, a device or a folder is refused without a wait.
///
/// # Errors
///
/// [`FileError`], which names the file.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let unreadable = |source| FileError::Unreadable {
        path: path.to_path_buf(),
        source,
    };
    let too_large = |bytes| FileError::TooLarge {
        path: path.to_path_buf(),
        bytes,
        limit,
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if let Some(found) = Special::of(&metadata) {
        return Err(FileError::NotAFile {
            path: path.to_path_buf(),
            found,
        });
    }
    let size = metadata.len();
    if size > limit {
        return Err(too_large(size));
    }
    let mut bytes = Vec::new();
    let reserved = usize::try_from(size).map(|size| bytes.try_reserve_exact(size));
    if !matches!(reserved, Ok(Ok(()))) {
        return Err(FileError::NoMemory {
            path: path.to_path_buf(),
            bytes: size,
        });
    }
    // It may grow meanwhile, and a file of /proc says that it is empty.
    let mut file = File::open(path)
        .map_err(unreadable)?
        .take(limit.saturating_add(1));
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// The text of a regular file of at most `limit` bytes.
///
/// # Errors
///
/// As [`read_file`]; if it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    String::from_utf8(read_file(path, limit)?).map_err(|error| FileError::NotText {
        path: path.to_path_buf(),
        byte: error.utf8_error().valid_up_to(),
    })
}

/// Whether both are of one file, under whatever names.
pub fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The mode that files are made with; the umask takes from it.
fn file_mode() -> Permissions {
    Permissions::from_mode(0o666)
}

/// The mode that folders are made with; the umask takes from it.
pub(crate) fn folder_mode() -> Permissions {
    Permissions::from_mode(0o777)
}

/// Writes a file of the program's own whole: to a temporary one beside it, synced, then renamed.
///
/// # Errors
///
/// Names the file.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let attempt = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .permissions(file_mode())
            .tempfile_in(folder_of(path))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    attempt().with_context(|| format!("{}: cannot be written", path.display()))
}

/// Checks a path that the user gave for an output, before the work is done that ends there.
///
/// # Errors
///
/// If it is a folder, lies in none, or is one of `inputs`, under whatever name.
pub fn check_output(
    path: &Path,
    inputs: impl IntoIterator<Item = impl AsRef<Path>>,
) -> anyhow::Result<()> {
    let target = end_of_links(path);
    let Ok(metadata) = fs::metadata(&target) else {
        let folder = folder_of(&target);
        ensure!(
            folder.is_dir(),
            "{}: cannot be written, there is no folder {}; make it first",
            path.display(),
            folder.display()
        );
        return Ok(());
    };
    ensure!(
        !metadata.is_dir(),
        "{}: is a folder; give the name of a file",
        path.display()
    );
    // What has no bytes of its own loses none.
    if !metadata.is_file() {
        return Ok(());
    }
    for input in inputs {
        let input = input.as_ref();
        let same = fs::metadata(input).is_ok_and(|input| is_same(&input, &metadata));
        ensure!(
            !same,
            "{}: is read by this command (as {}), so that writing it would destroy it; give another file",
            path.display(),
            input.display()
        );
    }
    Ok(())
}

/// Writes what the user asked for where they asked for it: into a pipe or a device as it is, to the program's own
/// standard output or error in their order, to any other file whole, as [`write()`] does. A link stays a link.
///
/// # Errors
///
/// Names the file.
pub fn write_output(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let name = || format!("{}: cannot be written", path.display());
    let target = end_of_links(path);
    let Ok(metadata) = fs::metadata(path) else {
        return write(&target, bytes);
    };
    if is_stream(io::stdout(), &metadata) {
        let mut stdout = io::stdout().lock();
        return stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .with_context(name);
    }
    if is_stream(io::stderr(), &metadata) {
        return io::stderr().write_all(bytes).with_context(name);
    }
    match Special::of(&metadata) {
        None => write(&target, bytes),
        Some(Special::Folder) => bail!("{}: is a folder; give the name of a file", path.display()),
        Some(_) => {
            let mut device = OpenOptions::new()
                .write(true)
                .open(path)
                .with_context(name)?;
            device.write_all(bytes).with_context(name)
        }
    }
}

/// Whether a file is what the program's standard output or error goes to.
fn is_stream(stream: impl AsFd, file: &Metadata) -> bool {
    let stream = stream.as_fd().try_clone_to_owned().map(File::from);
    stream
        .and_then(|stream| stream.metadata())
        .is_ok_and(|stream| is_same(&stream, file))
}

/// Where a path's links lead to, whether something is there or not.
fn end_of_links(path: &Path) -> PathBuf {
    let mut end = path.to_path_buf();
    for _ in 0..LINKS {
        match fs::read_link(&end) {
            Ok(next) => end = folder_of(&end).join(next),
            Err(_) => break,
        }
    }
    end
}

/// The folder that a file lies in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn pipe(path: &Path) {
        let made = std::process::Command::new("mkfifo").arg(path).status();
        assert!(made.unwrap().success());
    }

    #[test]
    fn only_regular_files_within_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("text"), "four").unwrap();
        assert_eq!(read_text(&path("text"), 4).unwrap(), "four");
        let error = read_file(&path("text"), 3).unwrap_err();
        assert!(matches!(
            error,
            FileError::TooLarge {
                bytes: 4,
                limit: 3,
                ..
            }
        ));
        fs::write(path("bytes"), b"ab\xff").unwrap();
        let error = read_text(&path("bytes"), 9).unwrap_err();
        assert!(matches!(error, FileError::NotText { byte: 2, .. }));
        assert!(read_file(&path("none"), 9).unwrap_err().is_missing());
        pipe(&path("pipe"));
        for (name, kind) in [
            (path("pipe"), Special::Pipe),
            (path(""), Special::Folder),
            ("/dev/zero".into(), Special::Device),
        ] {
            let error = read_file(&name, 9).unwrap_err();
            let same = matches!(&error, FileError::NotAFile { path, found } if *path == name && *found == kind);
            assert!(same, "{error:?}");
        }
    }

    #[test]
    fn files_are_made_with_the_mode_that_the_umask_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("theirs"), "").unwrap();
        write(&path("ours"), b"").unwrap();
        let mode = |name: &str| fs::metadata(path(name)).unwrap().mode();
        assert_eq!(mode("ours"), mode("theirs"));
    }

    #[test]
    fn an_output_is_no_input_and_a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("in"), "input").unwrap();
        symlink("in", path("link")).unwrap();
        for name in ["in", "link"] {
            assert!(check_output(&path(name), [path("other"), path("in")]).is_err());
        }
        check_output(&path("new"), [path("in")]).unwrap();
        assert!(check_output(&path("no/new"), [path("in")]).is_err());
        assert!(check_output(folder.path(), [path("in")]).is_err());
        write_output(&path("link"), b"output").unwrap();
        assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());
        assert_eq!(fs::read(path("in")).unwrap(), b"output");
        symlink("later", path("dangling")).unwrap();
        write_output(&path("dangling"), b"output").unwrap();
        assert_eq!(fs::read(path("later")).unwrap(), b"output");
    }

    #[test]
    fn pipes_and_devices_are_written_into() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        pipe(&path);
        let reader = std::thread::spawn({
            let path = path.clone();
            move || fs::read(path).unwrap()
        });
        write_output(&path, b"output").unwrap();
        assert_eq!(reader.join().unwrap(), b"output");
        assert!(fs::metadata(&path).unwrap().file_type().is_fifo());
        write_output(Path::new("/dev/null"), b"output").unwrap();
        assert!(write_output(Path::new("/dev/full"), b"output").is_err());
    }
}
