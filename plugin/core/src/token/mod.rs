//! The caller's token: a JWT access token (RFC 9068), checked header first, then time, then signature.
//!
//! Only a signature's validity is remembered; time, audience and status are checked on every use.

pub(crate) mod cache;
mod claims;
pub mod dpop;
pub(crate) mod ed25519;
mod header;
mod keys;
mod stopped;
mod verifier;

pub use claims::{Claims, is_read};
pub use keys::{KeySet, KeySetError};
pub use stopped::{AGENT, Stopped};
pub use verifier::{Accepted, Verifier};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;

/// Why a token is not accepted. The display form is for the `error_description` of RFC 6750 section 3.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Larger than [`MAX_TOKEN`].
    #[error("the token is longer than {MAX_TOKEN} bytes")]
    TooLong,
    /// Not a compact JWS (RFC 7515 section 7.1), or its header or claims are not acceptable JSON.
    #[error("the token is not a signed JWT that this gateway reads: {0}")]
    Malformed(&'static str),
    /// `typ` does not say access token (RFC 9068 section 4).
    #[error("the token is not an access token: its `typ` must be at+jwt")]
    Type,
    /// `alg` is not one of EdDSA, ES256, RS256, or not the key's.
    #[error("the token is signed with an algorithm that is not accepted")]
    Algorithm,
    /// `iss` is nobody this gateway trusts.
    #[error("the token's issuer is not trusted here")]
    Issuer,
    /// `kid` names no key of the issuer.
    #[error("the token is signed with a key that its issuer does not publish")]
    UnknownKey,
    /// The signature does not verify.
    #[error("the token's signature is wrong")]
    Signature,
    /// `exp` has passed.
    #[error("the token has expired; get a new one")]
    Expired,
    /// `nbf` or `iat` lies ahead.
    #[error("the token is not valid yet; check the clocks")]
    NotYetValid,
}

impl TokenError {
    /// A short name for counting.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::TooLong => "token_too_long",
            Self::Malformed(_) => "malformed_token",
            Self::Type => "wrong_type",
            Self::Algorithm => "wrong_algorithm",
            Self::Issuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
        }
    }
}

#[cfg(test)]
mod tests;
