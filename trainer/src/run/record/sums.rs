//! The checksums of a record, and how a folder is removed.

use std::{fs, path::Path};

use anyhow::Context;
use sha2::{Digest, Sha256};

/// The list of checksums, in the format of `sha256sum`.
pub(super) const SUMS: &str = "SHA256SUMS";

/// The SHA-256 of some bytes in hexadecimal.
pub(super) fn sum(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Removes a folder that may not be there.
pub(super) fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be removed", folder.display()))
        }
        _ => Ok(()),
    }
}
