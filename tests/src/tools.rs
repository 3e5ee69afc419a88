//! What a test needs from the machine: Envoy, Python, Node. A missing one is a failure that says how to
//! get it, never a test that passes by not running.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::binaries::workspace;

/// The Envoy series that Writ is made for.
const ENVOY_SERIES: &str = "/1.40.";

/// Envoy: `$ENVOY`, or a 1.40 on the PATH, or the one `make deps` installed.
pub fn envoy() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("ENVOY").filter(|value| !value.is_empty()) {
        let named = PathBuf::from(named);
        ensure!(
            is_suitable_envoy(&named),
            "ENVOY names {}, which is not an Envoy 1.40",
            named.display()
        );
        return Ok(named);
    }
    [PathBuf::from("envoy"), workspace().join(".venv/bin/envoy")]
        .into_iter()
        .find(|candidate| is_suitable_envoy(candidate))
        .context("no Envoy 1.40 found: run `make deps`, or name one with ENVOY=/path/to/envoy")
}

fn is_suitable_envoy(candidate: &Path) -> bool {
    Command::new(candidate)
        .arg("--version")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(ENVOY_SERIES))
}

/// The Python of `make deps`, with the MCP SDK in it.
pub fn python() -> Result<PathBuf> {
    let python = workspace().join(".venv/bin/python");
    let has_sdk = Command::new(&python)
        .args(["-c", "import mcp"])
        .output()
        .is_ok_and(|output| output.status.success());
    ensure!(
        has_sdk,
        "no Python with the MCP SDK at {}: run `make deps`",
        python.display()
    );
    Ok(python)
}

/// The schemathesis of `make deps`.
pub fn schemathesis() -> Result<PathBuf> {
    let schemathesis = workspace().join(".venv/bin/schemathesis");
    ensure!(
        schemathesis.is_file(),
        "there is no {}: run `make deps`",
        schemathesis.display()
    );
    Ok(schemathesis)
}

/// Node 22 or later.
pub fn node() -> Result<PathBuf> {
    [PathBuf::from("node"), workspace().join(".venv/bin/node")]
        .into_iter()
        .find(|candidate| is_suitable_node(candidate))
        .context("no Node.js 22 or later found: run `make deps`")
}

fn is_suitable_node(candidate: &Path) -> bool {
    Command::new(candidate)
        .args([
            "-e",
            "process.exit(parseInt(process.versions.node) < 22 ? 1 : 0)",
        ])
        .status()
        .is_ok_and(|status| status.success())
}

/// Chromium: `$CHROMIUM`, or Debian's.
pub fn chromium() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM").filter(|value| !value.is_empty()) {
        let named = PathBuf::from(named);
        ensure!(
            named.is_file(),
            "CHROMIUM names {}, which is not a file",
            named.display()
        );
        return Ok(named);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join("chromium"))
        .find(|candidate| candidate.is_file())
        .context("no Chromium found: run `make deps`, or name one with CHROMIUM=/path/to/chromium")
}

/// Where the clients in TypeScript and JavaScript are, once their packages are installed.
pub fn typescript_clients() -> Result<PathBuf> {
    let path = workspace().join("tests/clients/ts");
    ensure!(
        path.join("node_modules/.package-lock.json").exists(),
        "the JavaScript clients' packages are not installed: run `make deps`"
    );
    Ok(path)
}

/// Where the Python clients are.
pub fn python_clients() -> PathBuf {
    workspace().join("tests/clients/python")
}

/// Where uvx has the Python MCP SDK (`UV_CACHE_DIR`).
pub fn uv_cache() -> PathBuf {
    workspace().join(".venv/uv-cache")
}

/// The command of uvx for a script on the Python MCP SDK, which it has in [`uv_cache`].
pub fn uvx() -> Result<Vec<String>> {
    let venv = workspace().join(".venv");
    let (uvx, cache) = (venv.join("bin/uvx"), uv_cache());
    ensure!(
        uvx.is_file() && cache.is_dir(),
        "there is no {} with a cache in {}: run `make deps`",
        uvx.display(),
        cache.display()
    );
    let wanted = std::fs::read_to_string(python_clients().join("requirements.txt"))?;
    let sdk = wanted.lines().find(|line| line.starts_with("mcp=="));
    let sdk = sdk.context("requirements.txt does not name the MCP SDK")?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let python = text(&venv.join("bin/python"));
    let command = [
        &text(&uvx),
        "--offline",
        "--python",
        &python,
        "--with",
        sdk,
        "python",
    ];
    Ok(command.map(str::to_owned).into())
}
