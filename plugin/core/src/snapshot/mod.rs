//! How snapshots travel from the token service to whoever decides by them, so that neither an old one nor a frozen one passes.
//!
//! An answer is a text of lines: a signed [`Head`], and documents. The head names the [`Manifest`] by its digest, the
//! manifest every part by its: what is held already is not sent again, and what comes is known by what it is. Reads as:
//! [`signed`] (who vouches), [`parts`] (what there is), [`assembly`] (from answers to a whole revision).

pub mod assembly;
pub mod parts;
pub mod signed;

use serde::{Deserialize, Serialize};

/// `typ` of a head.
pub const HEAD: &str = "writ-snapshot+jwt";

/// `typ` of what a key says about the next one.
pub const INTRODUCTION: &str = "writ-snapshot-key+jwt";

/// What is signed of a revision, in every answer anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// [`writ_policy::snapshot::FORMAT`]
    pub format: u32,
    /// The issuer whose tokens callers bring (`iss`, compared exactly).
    pub iss: String,
    /// Whom it is for: a gateway's id.
    pub aud: String,
    /// Counts the times that the service was restored to an earlier state.
    pub epoch: u64,
    /// Counts up within an epoch.
    pub revision: u64,
    /// When it was signed (NumericDate).
    pub iat: u64,
    /// Until when anything may be decided by it (NumericDate).
    pub exp: u64,
    /// The digest of the manifest.
    pub manifest: String,
}

impl Head {
    /// Whether this is what the service said after `other`, or the same.
    #[must_use]
    pub fn is_as_new_as(&self, other: &Self) -> bool {
        (self.epoch, self.revision, self.iat) >= (other.epoch, other.revision, other.iat)
    }
}

/// What one signing key says about the next.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Introduction {
    /// The thumbprint (RFC 7638) of the key that may sign from now on.
    pub introduces: String,
}
