//! Packages from PyPI in a virtual environment of our own.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// The oldest and the newest Python that torch 2.9 has packages for.
const VERSIONS: std::ops::RangeInclusive<u32> = 10..=14;

/// A virtual environment.
pub(crate) struct Venv(PathBuf);

impl Venv {
    /// Makes one in `folder`, or takes the one that is there.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let venv = Self(folder.to_path_buf());
        if venv.output("import pip").is_ok() {
            return Ok(venv);
        }
        let python = interpreter()?;
        // What an earlier attempt left half made.
        if folder.exists() {
            std::fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        if let Some(parent) = folder.parent() {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        cargo::run(Command::new(python).args(["-m", "venv"]).arg(folder)).context(
            "the virtual environment cannot be made; on Debian it needs `apt-get install python3-venv`",
        )?;
        Ok(venv)
    }

    /// The one in `folder`, if there is one.
    pub(super) fn find(folder: &Path) -> Option<Self> {
        let venv = Self(folder.to_path_buf());
        venv.python().exists().then_some(venv)
    }

    fn python(&self) -> PathBuf {
        self.program("python")
    }

    /// A program that a package brings.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        let (folder, ending) = if cfg!(windows) {
            ("Scripts", ".exe")
        } else {
            ("bin", "")
        };
        self.0.join(folder).join(format!("{name}{ending}"))
    }

    /// Installs packages, each as pip's requirement.
    pub(crate) fn install(&self, arguments: &[&str]) -> Result<()> {
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ];
        cargo::run(Command::new(self.python()).args(pip).args(arguments))
    }

    /// What a script prints.
    pub(super) fn output(&self, script: &str) -> Result<String> {
        let output = Command::new(self.python()).args(["-c", script]).output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// The folder of the packages.
    pub(super) fn packages(&self) -> Result<PathBuf> {
        Ok(self
            .output("import sysconfig; print(sysconfig.get_path('purelib'))")?
            .into())
    }
}

/// A Python that torch has packages for.
fn interpreter() -> Result<String> {
    let versioned = VERSIONS.map(|minor| format!("python3.{minor}"));
    let names = std::iter::once("python3".to_owned()).chain(versioned.rev());
    let script = format!(
        "import sys; sys.exit(not ((3, {}) <= sys.version_info[:2] <= (3, {})))",
        VERSIONS.start(),
        VERSIONS.end()
    );
    let fits = |name: &String| {
        let status = Command::new(name).args(["-c", &script]).status();
        status.is_ok_and(|status| status.success())
    };
    names.into_iter().find(fits).with_context(|| {
        format!(
            "no Python between 3.{} and 3.{} was found; on Debian: `apt-get install python3 python3-venv`",
            VERSIONS.start(),
            VERSIONS.end()
        )
    })
}
