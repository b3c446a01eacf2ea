//! House rules that no other tool checks, over every file git tracks or would track.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// A file longer than this holds more than one idea.
const MAX_LINES: usize = 500;

/// Leftovers. Written in two parts, so that this file does not contain what it looks for.
const LEFTOVERS: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("db", "g!("),
    concat!("#[ig", "nore"),
];

/// Folders that exist on one machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("C:\\Us", "ers\\"),
];

/// Where packages come from is the reader's own setting.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("artifact", "ory"),
];

/// The one registry a lock file may name.
const LOCK_SOURCE: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// A text file of the repository.
pub(super) struct Source {
    /// Relative to the root, with forward slashes.
    pub(super) path: String,
    pub(super) text: String,
}

impl Source {
    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

pub(super) fn check() -> Result<()> {
    let sources = sources()?;
    let mut faults: Vec<String> = sources.iter().flat_map(file_faults).collect();
    faults.extend(missing_readmes(&sources));
    report(faults)
}

/// Every text file git tracks, or would track; fixtures are data and left out.
pub(super) fn sources() -> Result<Vec<Source>> {
    let mut git = Command::new("git");
    git.current_dir(cargo::root()).args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
    ]);
    let output = git
        .output()
        .context("cannot start git, which lists the files to check")?;
    if !output.status.success() {
        bail!(
            "git ls-files failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let names = String::from_utf8(output.stdout).context("a file name that is not UTF-8")?;
    let mut sources = Vec::new();
    for path in names
        .split('\0')
        .filter(|p| !p.is_empty() && !p.starts_with("fixtures/"))
    {
        // A file that is deleted but not yet committed, or that is not text, has nothing to check.
        if let Ok(text) = std::fs::read_to_string(cargo::root().join(path)) {
            sources.push(Source {
                path: path.to_owned(),
                text,
            });
        }
    }
    Ok(sources)
}

/// Prints the faults as one error, or nothing.
pub(super) fn report(faults: Vec<String>) -> Result<()> {
    if !faults.is_empty() {
        bail!("{}", faults.join("\n"));
    }
    Ok(())
}

fn file_faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if source.is_rust() {
        faults.extend(header_fault(source));
        faults.extend(length_fault(source));
        faults.extend(lines_with(source, LEFTOVERS, "a leftover"));
    }
    if source.path.ends_with("Cargo.lock") {
        faults.extend(foreign_sources(source));
    } else {
        faults.extend(lines_with(source, MACHINE_PATHS, "a path of one machine"));
        faults.extend(lines_with(source, REGISTRY_HOSTS, "a registry host"));
    }
    faults
}

fn header_fault(source: &Source) -> Option<String> {
    let documented =
        source.text.starts_with("//!") || source.text.starts_with("#![doc = include_str!");
    (!documented).then(|| {
        format!(
            "{}:1: open the file with `//!` and what it is for",
            source.path
        )
    })
}

fn length_fault(source: &Source) -> Option<String> {
    let lines = source.text.lines().count();
    (lines > MAX_LINES).then(|| {
        format!(
            "{}: {lines} lines, over {MAX_LINES}: split it by idea",
            source.path
        )
    })
}

fn lines_with(source: &Source, patterns: &[&str], what: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (i, line) in source.text.lines().enumerate() {
        for pattern in patterns.iter().filter(|pattern| line.contains(**pattern)) {
            faults.push(format!("{}:{}: {what}: `{pattern}`", source.path, i + 1));
        }
    }
    faults
}

fn foreign_sources(lock: &Source) -> Vec<String> {
    let named = lock
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("source = "));
    let mut foreign: Vec<_> = named
        .map(|s| s.trim_matches('"'))
        .filter(|s| *s != LOCK_SOURCE)
        .collect();
    foreign.sort_unstable();
    foreign.dedup();
    foreign
        .into_iter()
        .map(|found| {
            format!(
                "{}: a package from `{found}`, not from the public index",
                lock.path
            )
        })
        .collect()
}

fn missing_readmes(sources: &[Source]) -> Vec<String> {
    let exists = |path: &str| sources.iter().any(|s| s.path == path);
    let manifests = sources
        .iter()
        .filter_map(|s| s.path.strip_suffix("/Cargo.toml"));
    manifests
        .filter(|folder| !exists(&format!("{folder}/README.md")))
        .map(|folder| {
            format!("{folder}/README.md is missing: what the crate is for, and a short example")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    fn faults(path: &str, text: &str) -> Vec<String> {
        file_faults(&source(path, text))
    }

    #[test]
    fn a_documented_short_file_passes() {
        assert_eq!(
            faults("a/src/lib.rs", "//! What it is for.\nfn f() {}\n"),
            [""; 0]
        );
        assert_eq!(
            faults("a/src/lib.rs", "#![doc = include_str!(\"../README.md\")]\n"),
            [""; 0]
        );
    }

    #[test]
    fn a_file_without_docs_is_a_fault() {
        assert_eq!(
            faults("a/src/lib.rs", "fn f() {}\n"),
            ["a/src/lib.rs:1: open the file with `//!` and what it is for"]
        );
    }

    #[test]
    fn a_file_over_the_limit_is_a_fault_and_one_at_the_limit_is_not() {
        let text = |lines: usize| format!("//! A.\n{}", "\n".repeat(lines - 1));
        assert_eq!(faults("a.rs", &text(MAX_LINES)), [""; 0]);
        assert_eq!(
            faults("a.rs", &text(MAX_LINES + 1)),
            ["a.rs: 501 lines, over 500: split it by idea"]
        );
    }

    #[test]
    fn leftovers_and_machine_paths_are_named_with_their_line() {
        for (pattern, what) in [
            (LEFTOVERS[0], "a leftover"),
            (MACHINE_PATHS[0], "a path of one machine"),
        ] {
            let found = faults("a.rs", &format!("//! A.\nx {pattern}y\n"));
            assert_eq!(found, [format!("a.rs:2: {what}: `{pattern}`")]);
        }
    }

    #[test]
    fn leftovers_are_looked_for_in_rust_only_and_hosts_everywhere() {
        assert_eq!(faults("README.md", LEFTOVERS[0]), [""; 0]);
        assert_eq!(faults("README.md", REGISTRY_HOSTS[0]).len(), 1);
    }

    #[test]
    fn a_lock_file_names_the_public_index_only() {
        let lock = |from: &str| format!("[[package]]\nname = \"a\"\nsource = \"{from}\"\n");
        assert_eq!(faults("Cargo.lock", &lock(LOCK_SOURCE)), [""; 0]);
        let found = faults("Cargo.lock", &lock("sparse+https://mirror.example/index/"));
        assert!(
            found.len() == 1 && found[0].contains("mirror.example"),
            "{found:?}"
        );
    }

    #[test]
    fn a_crate_without_a_readme_is_a_fault() {
        let crates = [
            source("a/Cargo.toml", ""),
            source("a/README.md", ""),
            source("b/Cargo.toml", ""),
        ];
        let found = missing_readmes(&crates);
        assert!(
            found.len() == 1 && found[0].starts_with("b/README.md is missing"),
            "{found:?}"
        );
    }
}
