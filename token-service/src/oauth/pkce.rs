//! Proof Key for Code Exchange (RFC 7636): S256 and nothing else.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::params::Params;

/// A `code_challenge` of method S256: the base64url text of 32 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge(String);

/// Why an authorization request's PKCE parameters are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PkceError {
    /// OAuth 2.1 section 4.1.1: every client uses PKCE.
    #[error("code_challenge is missing: every authorization request must use PKCE with S256")]
    Missing,
    /// RFC 7636 section 4.4.1: `plain` protects nothing from who reads the request.
    #[error("code_challenge_method must be S256")]
    NotS256,
    /// RFC 7636 section 4.2.
    #[error("code_challenge is not the base64url form of a SHA-256 digest")]
    Malformed,
}

impl Challenge {
    /// Reads the challenge of an authorization request.
    ///
    /// # Errors
    /// When there is none, or it is not one of method S256. An absent method means `plain` (RFC 7636 section 4.3).
    pub fn from_params(params: &Params) -> Result<Self, PkceError> {
        let challenge = params.get("code_challenge").ok_or(PkceError::Missing)?;
        if params.get("code_challenge_method") != Some("S256") {
            return Err(PkceError::NotS256);
        }
        Self::parse(challenge).ok_or(PkceError::Malformed)
    }

    /// A challenge in its text form, if it is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digest = URL_SAFE_NO_PAD.decode(text).ok()?;
        (digest.len() == 32).then(|| Self(text.to_owned()))
    }

    /// The text form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `verifier` is well formed (RFC 7636 section 4.1) and is what the challenge was made from.
    #[must_use]
    pub fn answers(&self, verifier: &str) -> bool {
        let unreserved =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        let well_formed = (43..=128).contains(&verifier.len()) && verifier.bytes().all(unreserved);
        let expected = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        well_formed && bool::from(expected.as_bytes().ct_eq(self.0.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn read(query: &str) -> Result<Challenge, PkceError> {
        Challenge::from_params(&Params::parse(query.as_bytes()).unwrap())
    }

    #[test]
    fn the_example_of_the_rfc_holds() {
        let challenge = read(&format!(
            "code_challenge={CHALLENGE}&code_challenge_method=S256"
        ))
        .unwrap();
        assert!(challenge.answers(VERIFIER));
        assert!(!challenge.answers(&VERIFIER.replace('d', "e")));
    }

    #[test]
    fn the_challenge_itself_is_no_answer() {
        assert!(!Challenge::parse(CHALLENGE).unwrap().answers(CHALLENGE));
    }

    #[test]
    fn only_s256_is_taken() {
        assert_eq!(read(""), Err(PkceError::Missing));
        assert_eq!(
            read(&format!("code_challenge={CHALLENGE}")),
            Err(PkceError::NotS256)
        );
        let plain = format!("code_challenge={VERIFIER}&code_challenge_method=plain");
        assert_eq!(read(&plain), Err(PkceError::NotS256));
        let short = "code_challenge=abc&code_challenge_method=S256";
        assert_eq!(read(short), Err(PkceError::Malformed));
    }

    #[test]
    fn a_verifier_outside_the_grammar_is_refused() {
        let short = "a".repeat(42);
        let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(short.as_bytes()));
        assert!(!Challenge::parse(&digest).unwrap().answers(&short));
    }
}
