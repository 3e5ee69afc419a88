//! The parts under test, built when they are not there yet.
//!
//! Cargo builds a test's own crate only; these ask it for the rest, which costs nothing when all is fresh.
//! `WRIT_BIN` and `WRIT_WASM` name finished files instead.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// The root of the repository.
pub fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The `writ` binary, in the profile this crate was built with.
pub fn writ() -> Result<PathBuf> {
    let profile = if cfg!(debug_assertions) {
        "dev"
    } else {
        "release"
    };
    writ_in(profile)
}

/// The `writ` binary as it is released; for measuring.
pub fn writ_release() -> Result<PathBuf> {
    writ_in("release")
}

fn writ_in(profile: &str) -> Result<PathBuf> {
    if let Some(named) = named_by("WRIT_BIN")? {
        return Ok(named);
    }
    build(&[
        "--profile",
        profile,
        "-p",
        "writ-token-service",
        "--bin",
        "writ",
    ])?;
    let folder = if profile == "dev" { "debug" } else { profile };
    built(Path::new(folder).join("writ"))
}

/// The filter.
pub fn wasm() -> Result<PathBuf> {
    if let Some(named) = named_by("WRIT_WASM")? {
        return Ok(named);
    }
    build(&[
        "--profile",
        "wasm",
        "--target",
        "wasm32-wasip1",
        "-p",
        "writ-plugin",
    ])?;
    built(Path::new("wasm32-wasip1/wasm/writ_plugin.wasm").to_owned())
}

fn named_by(variable: &str) -> Result<Option<PathBuf>> {
    let Some(named) = std::env::var_os(variable).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let named = PathBuf::from(named);
    ensure!(
        named.is_file(),
        "{variable} names {}, which is not a file",
        named.display()
    );
    Ok(Some(named))
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

fn built(file: PathBuf) -> Result<PathBuf> {
    let path = target().join(file);
    ensure!(
        path.is_file(),
        "cargo succeeded, but {} is not there",
        path.display()
    );
    Ok(path)
}

fn build(arguments: &[&str]) -> Result<()> {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(workspace())
        .arg("build")
        .arg("--quiet")
        .args(arguments);
    // What cargo sets for the running test would make it rebuild crates that read it.
    for (name, _) in std::env::vars_os() {
        let about_the_test = name.to_string_lossy();
        if [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
            "CARGO_PRIMARY_",
        ]
        .iter()
        .any(|prefix| about_the_test.starts_with(prefix))
        {
            cargo.env_remove(&name);
        }
    }
    let output = cargo
        .output()
        .context("cannot run cargo: install it from https://rustup.rs")?;
    if !output.status.success() {
        bail!(
            "`cargo build {}` failed:\n{}",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}
