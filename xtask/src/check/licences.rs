//! What every crate that is linked in may be licensed under, and crates that nothing may bring.

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use spdx::{Expression, ParseMode};

use super::tidy;
use crate::cargo::cargo;

/// Licences under which a program may be given away in binaries, with nothing but a notice; and MPL-2.0, which asks for the
/// source of the files that are under it alone.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates with a file for a licence, whose text was read, and what it is.
const READ: &[(&str, &str)] = &[("cfg_block", "Apache-2.0")];

/// Crates that nothing may bring, and why.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "nothing here talks to a network"),
    ("native-tls", "nothing here talks to a network"),
    ("serde_pickle", "weights never execute"),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
}

pub(super) fn check() -> Result<()> {
    let mut command = cargo(&["metadata", "--format-version", "1", "--all-features"]);
    let output = command.output().context("cannot start `cargo metadata`")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cargo metadata: unexpected JSON")?;
    tidy::report(metadata.packages.iter().filter_map(fault).collect())
}

fn fault(package: &Package) -> Option<String> {
    let Package { name, version, .. } = package;
    if let Some((_, why)) = BANNED.iter().find(|(banned, _)| banned == name) {
        return Some(format!("`{name}` {version} must not be used: {why}"));
    }
    let read = READ.iter().find(|(known, _)| known == name);
    let licence = package.license.as_deref();
    let Some(licence) = licence.or(read.map(|(_, licence)| *licence)) else {
        return Some(format!(
            "`{name}` {version} names no licence: read its file, and list it in xtask/src/check/licences.rs"
        ));
    };
    // Older crates separate alternatives by a slash.
    let Ok(expression) = Expression::parse_mode(licence, ParseMode::LAX) else {
        return Some(format!(
            "`{name}` {version}: `{licence}` is no licence expression"
        ));
    };
    let is_allowed = expression.evaluate(|wanted| {
        let id = wanted.license.id();
        id.is_some_and(|id| ALLOWED.contains(&id.name))
    });
    (!is_allowed).then(|| {
        format!(
            "`{name}` {version} is under `{licence}`, which xtask/src/check/licences.rs does not allow"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, licence: Option<&str>) -> Option<String> {
        fault(&Package {
            name: name.to_owned(),
            version: "1.2.3".to_owned(),
            license: licence.map(str::to_owned),
        })
    }

    #[test]
    fn one_allowed_alternative_is_enough_and_all_parts_are_needed() {
        for licence in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0-only OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert_eq!(refusal("a", Some(licence)), None, "{licence}");
        }
        for licence in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "AGPL-3.0-or-later"] {
            let refusal = refusal("a", Some(licence)).unwrap();
            assert!(
                refusal.starts_with(&format!("`a` 1.2.3 is under `{licence}`")),
                "{refusal}"
            );
        }
    }

    #[test]
    fn what_is_banned_or_says_nothing_is_told() {
        assert!(
            refusal("openssl-sys", Some("MIT"))
                .unwrap()
                .contains("must not be used")
        );
        assert!(refusal("a", None).unwrap().contains("names no licence"));
        assert_eq!(refusal("cfg_block", None), None);
        assert!(
            refusal("a", Some("mine"))
                .unwrap()
                .contains("no licence expression")
        );
    }
}
