//! `.manifest` of an OPA bundle: what the bundle is, and which parts of `data` it speaks for.

use serde::Deserialize;
use serde_json::{Map, Value};
use writ_policy::engine::Module;

/// Its name, at the root.
pub(super) const NAME: &str = ".manifest";

/// The longest revision that is kept, in bytes.
const LONGEST_REVISION: usize = 256;

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or with a member of the wrong type.
    #[error("is not a manifest: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Rego before version 1.
    #[error(
        "rego_version {0} is not supported: Writ reads version 1; `opa fmt --v0-v1` rewrites it"
    )]
    Version(u8),
    /// A revision that would not fit.
    #[error("revision is longer than {LONGEST_REVISION} bytes")]
    Revision,
    /// Roots that say something twice.
    #[error("the roots {0:?} and {1:?} overlap")]
    Overlap(String, String),
    /// A file that the roots do not cover.
    #[error("{0} is outside of its roots {1:?}")]
    Outside(String, Vec<String>),
}

/// As OPA writes it; members that say nothing here, such as `metadata`, are passed over.
#[derive(Debug, Deserialize)]
pub(super) struct Manifest {
    #[serde(default)]
    revision: String,
    roots: Option<Vec<String>>,
    rego_version: Option<u8>,
}

pub(super) fn read(text: &str) -> Result<Manifest, ManifestError> {
    let manifest: Manifest = serde_json::from_str(text)?;
    match manifest.rego_version {
        None | Some(1) => {}
        Some(other) => return Err(ManifestError::Version(other)),
    }
    if manifest.revision.len() > LONGEST_REVISION {
        return Err(ManifestError::Revision);
    }
    Ok(manifest)
}

impl Manifest {
    /// Checks that everything lies under the roots; answers with the revision, where there is one.
    pub(super) fn govern(
        self,
        modules: &[Module],
        data: &Map<String, Value>,
    ) -> Result<Option<String>, ManifestError> {
        if let Some(roots) = self.roots {
            let roots: Vec<String> = roots
                .iter()
                .map(|r| r.trim_matches('/').to_owned())
                .collect();
            for (at, one) in roots.iter().enumerate() {
                if let Some(other) = roots
                    .iter()
                    .skip(at + 1)
                    .find(|other| covers(one, other.as_str()) || covers(other, one))
                {
                    return Err(ManifestError::Overlap(one.clone(), other.clone()));
                }
            }
            let covered = |path: &str| roots.iter().any(|root| covers(root, path));
            for module in modules {
                if let Some(package) = package(&module.text)
                    && !covered(&package.replace('.', "/"))
                {
                    let told = format!("{} (package {package})", module.path);
                    return Err(ManifestError::Outside(told, roots));
                }
            }
            if let Some(path) = outside(data, "", &roots) {
                return Err(ManifestError::Outside(format!("data at {path}"), roots));
            }
        }
        Ok(Some(self.revision).filter(|revision| !revision.is_empty()))
    }
}

/// Whether `path` is `root` or below it. The empty root covers everything.
fn covers(root: &str, path: &str) -> bool {
    root.is_empty()
        || path
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The first value that lies under no root. As deep as parsed data is.
fn outside(data: &Map<String, Value>, at: &str, roots: &[String]) -> Option<String> {
    data.iter().find_map(|(key, value)| {
        let path = format!("{at}/{key}").trim_start_matches('/').to_owned();
        if roots.iter().any(|root| covers(root, &path)) {
            return None;
        }
        match value {
            Value::Object(below) if !below.is_empty() => outside(below, &path, roots),
            _ => Some(path),
        }
    })
}

/// The package that a module names. One that does not parse is refused for that later.
fn package(text: &str) -> Option<String> {
    let package = writ_policy::authoring::package_of(text)?;
    Some(package.trim_start_matches("data.").to_owned())
}
