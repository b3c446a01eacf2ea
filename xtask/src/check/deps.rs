//! Who may depend on whom. The graph is that of ARCHITECTURE.md: a new edge is a decision, made there and here.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::tidy::{self, Source};
use crate::cargo::cargo;

/// Each crate and the workspace crates it may use; what stands side by side does not see each other.
const ALLOWED: &[(&str, &[&str])] = &[
    ("kernels", &[]),
    ("precision", &["kernels"]),
    ("checkpointing", &["precision", "kernels"]),
    ("peft", &["checkpointing", "precision", "kernels"]),
    (
        "transformer",
        &["peft", "checkpointing", "precision", "kernels"],
    ),
    (
        "vision-encoder",
        &[
            "transformer",
            "peft",
            "checkpointing",
            "precision",
            "kernels",
        ],
    ),
    (
        "text-encoder",
        &[
            "transformer",
            "peft",
            "checkpointing",
            "precision",
            "kernels",
        ],
    ),
    (
        "fusion",
        &[
            "vision-encoder",
            "text-encoder",
            "transformer",
            "peft",
            "checkpointing",
            "precision",
            "kernels",
        ],
    ),
    ("optimizer", &["checkpointing", "precision", "kernels"]),
    ("data", &[]),
    (
        "trainer",
        &[
            "fusion",
            "vision-encoder",
            "text-encoder",
            "transformer",
            "peft",
            "optimizer",
            "checkpointing",
            "precision",
            "kernels",
            "data",
        ],
    ),
    ("testing", &[]),
    ("xtask", &[]),
];

/// The crate that picks the backend, and the only one whose features may name one.
const TOP: &str = "trainer";

/// The one file that names backends: it opens the device.
const NAMES_BACKENDS: &str = "trainer/src/device/mod.rs";

/// What the tests of every crate may use, and nothing else.
const TESTING: &str = "testing";

/// Crates that never link Burn: `xtask` must build in seconds, `data` yields plain bytes and text.
const WITHOUT_BURN: &[&str] = &["xtask", "data"];

/// Burn's features that bring a backend.
const BACKENDS: &[&str] = &[
    "candle", "cpu", "cuda", "flex", "libtorch", "metal", "ndarray", "rocm", "tch", "vulkan",
    "webgpu", "wgpu",
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
    #[serde(default)]
    features: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `None` for `[dependencies]`, otherwise `dev` or `build`.
    kind: Option<String>,
    features: Vec<String>,
    uses_default_features: bool,
}

pub(super) fn check() -> Result<()> {
    let mut command = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let output = command.output().context("cannot start `cargo metadata`")?;
    if !output.status.success() {
        bail!(
            "cargo metadata failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cargo metadata: unexpected JSON")?;
    let mut faults: Vec<String> = metadata.packages.iter().flat_map(package_faults).collect();
    for source in tidy::sources()? {
        faults.extend(backend_cfgs(&source));
    }
    tidy::report(faults)
}

fn package_faults(package: &Package) -> Vec<String> {
    let name = &package.name;
    let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| known == name) else {
        return vec![format!(
            "crate `{name}` has no place in the graph: give it one in ARCHITECTURE.md and in xtask/src/check/deps.rs"
        )];
    };
    let mut faults = Vec::new();
    for dependency in &package.dependencies {
        let to = &dependency.name;
        let ours = ALLOWED.iter().any(|(known, _)| known == to);
        let for_tests = to == TESTING && dependency.kind.as_deref() == Some("dev");
        if ours && !for_tests && !allowed.contains(&to.as_str()) {
            faults.push(format!(
                "`{name}` must not depend on `{to}`: it may use {}",
                listed(allowed)
            ));
        }
        if to == "burn" || to.starts_with("burn-") {
            faults.extend(burn_faults(name, dependency));
        }
    }
    if name != TOP {
        faults.extend(forwarded_backends(package));
    }
    faults
}

fn burn_faults(name: &str, burn: &Dependency) -> Vec<String> {
    if WITHOUT_BURN.contains(&name) {
        return vec![format!("`{name}` must not depend on `{}`", burn.name)];
    }
    if burn.kind.is_some() || name == TESTING {
        return Vec::new(); // Tests need a backend from somewhere.
    }
    let mut faults = Vec::new();
    if burn.uses_default_features {
        faults.push(format!(
            "`{name}`: `{}` needs `default-features = false`",
            burn.name
        ));
    }
    for feature in burn.features.iter().filter(|f| is_backend(f)) {
        faults.push(format!(
            "`{name}` brings the backend `{feature}` of `{}`: only a feature of `{TOP}` may, or [dev-dependencies]",
            burn.name
        ));
    }
    faults
}

/// Features below the trainer that forward to a backend, such as `cuda = ["burn/cuda"]`.
fn forwarded_backends(package: &Package) -> Vec<String> {
    let forwards = |enabled: &&String| {
        let mut parts = enabled.split('/');
        parts
            .next()
            .is_some_and(|to| to.trim_end_matches('?') == "burn")
            && parts.next().is_some_and(is_backend)
    };
    let mut faults = Vec::new();
    for (feature, enabled) in &package.features {
        if let Some(enabled) = enabled.iter().find(forwards) {
            faults.push(format!(
                "`{}`: its feature `{feature}` enables `{enabled}`; backends are features of `{TOP}` alone",
                package.name
            ));
        }
    }
    faults
}

fn is_backend(feature: &str) -> bool {
    BACKENDS.contains(&feature)
}

/// Conditional compilation on a backend: code must be generic over all of them.
fn backend_cfgs(source: &Source) -> Vec<String> {
    let names_backend = |line: &str| {
        line.contains("cfg")
            && BACKENDS
                .iter()
                .any(|name| line.contains(&format!("feature = \"{name}\"")))
    };
    if source.path == NAMES_BACKENDS {
        return Vec::new();
    }
    let lines = source.text.lines().enumerate();
    lines
        .filter(|(_, line)| source.is_rust() && names_backend(line))
        .map(|(i, _)| {
            format!(
                "{}:{}: a backend in a `cfg`; use the `Device` instead",
                source.path,
                i + 1
            )
        })
        .collect()
}

fn listed(crates: &[&str]) -> String {
    if crates.is_empty() {
        return "none of ours".to_owned();
    }
    crates.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `cargo metadata` prints, cut down to what we read.
    fn package(name: &str, dependencies: &str, features: &str) -> Package {
        let json = format!(
            r#"{{"name": "{name}", "dependencies": [{dependencies}], "features": {{{features}}}}}"#
        );
        serde_json::from_str(&json).unwrap()
    }

    fn dependency(name: &str, kind: &str, features: &str, default: bool) -> String {
        format!(
            r#"{{"name": "{name}", "kind": {kind}, "features": [{features}], "uses_default_features": {default}}}"#
        )
    }

    fn faults(name: &str, dependencies: &[String]) -> Vec<String> {
        package_faults(&package(name, &dependencies.join(","), ""))
    }

    #[test]
    fn edges_that_point_downward_pass() {
        let down = ["transformer", "peft"].map(|to| dependency(to, "null", "", true));
        assert_eq!(faults("vision-encoder", &down), [""; 0]);
    }

    #[test]
    fn an_edge_upward_or_sideways_is_named_with_what_is_allowed() {
        let sideways = faults(
            "vision-encoder",
            &[dependency("text-encoder", "null", "", true)],
        );
        assert_eq!(
            sideways,
            [
                "`vision-encoder` must not depend on `text-encoder`: it may use transformer, peft, checkpointing, precision, kernels"
            ]
        );
        let upward = faults("peft", &[dependency("transformer", r#""dev""#, "", true)]);
        assert_eq!(
            upward,
            [
                "`peft` must not depend on `transformer`: it may use checkpointing, precision, kernels"
            ]
        );
    }

    #[test]
    fn helpers_of_tests_are_for_tests() {
        let helpers = |kind| [dependency(TESTING, kind, "", true)];
        assert_eq!(faults("fusion", &helpers(r#""dev""#)), [""; 0]);
        assert!(faults("fusion", &helpers("null"))[0].contains("must not depend on `testing`"));
    }

    #[test]
    fn a_backend_below_the_trainer_is_allowed_to_tests_only() {
        let burn = |kind| dependency("burn", kind, r#""std", "flex""#, false);
        assert_eq!(faults("fusion", &[burn(r#""dev""#)]), [""; 0]);
        let found = faults("fusion", &[burn("null")]);
        assert!(
            found.len() == 1 && found[0].contains("brings the backend `flex`"),
            "{found:?}"
        );
    }

    #[test]
    fn burns_default_features_are_refused() {
        let found = faults("trainer", &[dependency("burn", "null", "", true)]);
        assert_eq!(
            found,
            ["`trainer`: `burn` needs `default-features = false`"]
        );
    }

    #[test]
    fn only_the_trainer_forwards_backend_features() {
        let forward = r#""gpu": ["burn/cuda"]"#;
        assert!(package_faults(&package("trainer", "", forward)).is_empty());
        let found = package_faults(&package("peft", "", forward));
        assert!(
            found.len() == 1 && found[0].contains("`gpu` enables `burn/cuda`"),
            "{found:?}"
        );
    }

    #[test]
    fn burn_stays_out_of_xtask_and_data() {
        for name in WITHOUT_BURN {
            let found = faults(name, &[dependency("burn", r#""dev""#, "", false)]);
            assert_eq!(found, [format!("`{name}` must not depend on `burn`")]);
        }
    }

    #[test]
    fn a_crate_without_a_place_in_the_graph_is_a_fault() {
        assert!(faults("utils", &[])[0].contains("no place in the graph"));
    }

    #[test]
    fn a_backend_in_a_cfg_is_found_with_its_line() {
        let text = format!(
            "fn a() {{}}\n#[{}(feature = \"cuda\")]\nfn b() {{}}\n",
            "cfg"
        );
        let source = Source {
            path: "peft/src/lib.rs".into(),
            text,
        };
        let found = backend_cfgs(&source);
        assert_eq!(
            found,
            ["peft/src/lib.rs:2: a backend in a `cfg`; use the `Device` instead"]
        );
    }
}
