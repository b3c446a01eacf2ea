//! wgpu: on Linux it wants the Vulkan loader and a driver; elsewhere the system has what it needs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cargo;

/// Mesa's software driver before this crashes in Burn's tuning of SPIR-V kernels.
const OLDEST_MESA: u32 = 25;

const PACKAGES: [&str; 2] = ["libvulkan1", "mesa-vulkan-drivers"];

pub(super) fn install() -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    let mesa = version("Installed");
    if has_driver() && mesa.is_none_or(|version| version >= OLDEST_MESA) {
        return Ok(());
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let is_debian = release.lines().any(|line| line == "ID=debian");
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let by_hand = format!(
        "no Vulkan driver that works was found; install the Vulkan loader and a driver: a GPU's, or Mesa's software one from \
         version {OLDEST_MESA} (Debian: `apt-get install {}`)",
        PACKAGES.join(" ")
    );
    let (true, Some(codename)) = (is_debian, codename) else {
        bail!("{by_hand}");
    };
    eprintln!("no Vulkan driver that works was found: installing Mesa's software one");
    root(&["apt-get", "update", "-qq"]).context(by_hand.clone())?;
    if version("Candidate").is_none_or(|version| version < OLDEST_MESA) {
        backports(codename)?;
    }
    let mut words = vec!["apt-get", "install", "-y", "-qq", "--no-install-recommends"];
    let release = format!("{codename}-backports");
    if version("Candidate").is_none_or(|version| version < OLDEST_MESA) {
        words.extend(["-t", &release]);
    }
    words.extend(PACKAGES);
    root(&words).context(by_hand)
}

/// Whether some Vulkan driver says where it is.
fn has_driver() -> bool {
    let places = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d"].map(Path::new);
    let listed = places.iter().filter_map(|place| place.read_dir().ok());
    listed.flatten().flatten().count() > 0
}

/// The major version of Mesa's drivers that apt has `Installed`, or would (its `Candidate`).
fn version(which: &str) -> Option<u32> {
    let mut apt = Command::new("apt-cache");
    let output = apt
        .args(["policy", PACKAGES[1]])
        .env("LC_ALL", "C")
        .output();
    let text = String::from_utf8(output.ok()?.stdout).ok()?;
    let mut lines = text.lines().filter_map(|line| line.trim().split_once(": "));
    let (_, version) = lines.find(|(name, _)| *name == which)?;
    version.split('.').next()?.parse().ok()
}

/// Makes the newer packages of a Debian release known, from where its others come.
fn backports(codename: &str) -> Result<()> {
    let mirror = mirror(codename).context("apt does not say where its packages come from")?;
    let line = format!("deb {mirror} {codename}-backports main\n");
    let file = tempfile(&line)?;
    let target = "/etc/apt/sources.list.d/shoestring-backports.list";
    root(&["install", "-m", "644", &file, target])?;
    root(&["apt-get", "update", "-qq"])
}

/// The address that the release's own packages come from.
fn mirror(codename: &str) -> Option<String> {
    let output = Command::new("apt-get")
        .args(["indextargets", "--format", "$(RELEASE) $(REPO_URI)"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let wanted = |line: &&str| line.split(' ').next() == Some(codename);
    let line = text.lines().find(wanted)?;
    Some(line.split(' ').nth(1)?.trim_end_matches('/').to_owned())
}

fn tempfile(text: &str) -> Result<String> {
    let path = std::env::temp_dir().join(format!("shoestring-{}.list", std::process::id()));
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    Ok(path.display().to_string())
}

/// Runs a command as root, through sudo where we are not.
fn root(words: &[&str]) -> Result<()> {
    let id = Command::new("id").arg("-u").output()?;
    let is_root = String::from_utf8_lossy(&id.stdout).trim() == "0";
    let (program, arguments) = words.split_first().context("a command")?;
    let mut command = Command::new(if is_root { program } else { "sudo" });
    if !is_root {
        command.arg(program);
    }
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    cargo::run(&mut command)
}
