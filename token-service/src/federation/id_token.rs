//! The ID token, checked (OpenID Connect Core section 3.1.3.7).

use chrono::DateTime;
use jiff::Timestamp;
use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, Nonce, SignatureVerificationError,
    core::{CoreIdToken, CoreIdTokenVerifier, CoreJwsSigningAlgorithm},
};
use serde_json::{Map, Value};

use crate::{config::federation::Provider as Config, oauth::strict_json};

/// What may sign: never a shared secret, never nothing.
pub(super) const ALGORITHMS: [CoreJwsSigningAlgorithm; 8] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// What fits a subject (OpenID Connect Core section 2); a session id is not longer either.
const MAX_ID: usize = 255;

/// Who signed in, on the provider's word.
#[derive(Debug)]
pub(super) struct SignedIn {
    /// Who they are there.
    pub(super) subject: String,
    /// Their session there.
    pub(super) sid: Option<String>,
    /// All that it says.
    pub(super) claims: Map<String, Value>,
    /// The token itself.
    pub(super) token: String,
}

/// Why an ID token is not taken.
#[derive(Debug, thiserror::Error)]
pub enum IdTokenError {
    /// It is of a key that is not known, yet.
    #[error("it is signed with a key that the provider does not publish")]
    UnknownKey,
    /// Signature, issuer, audience, times or nonce are wrong.
    #[error("{0}")]
    Claims(ClaimsVerificationError),
    /// OpenID Connect Core section 3.1.3.6.
    #[error("its at_hash is not that of the access token")]
    AccessTokenHash,
    /// OpenID Connect Core section 3.1.3.7, point 5.
    #[error("it was issued to another party (azp)")]
    AuthorizedParty,
    /// RFC 8725 section 2.4: two readers could see two documents.
    #[error("it is malformed")]
    Malformed,
    /// OpenID Connect Core section 2.
    #[error("its sub has none or more than {MAX_ID} characters")]
    Subject,
}

impl From<ClaimsVerificationError> for IdTokenError {
    fn from(error: ClaimsVerificationError) -> Self {
        match error {
            ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            ) => Self::UnknownKey,
            other => Self::Claims(other),
        }
    }
}

impl From<SignatureVerificationError> for IdTokenError {
    fn from(error: SignatureVerificationError) -> Self {
        ClaimsVerificationError::SignatureVerification(error).into()
    }
}

/// Checks an ID token that came with `access_token` and answers the request with `nonce`.
pub(super) fn verify(
    config: &Config,
    verifier: CoreIdTokenVerifier<'_>,
    (token, access_token): (&CoreIdToken, &AccessToken),
    nonce: &Nonce,
    now: Timestamp,
) -> Result<SignedIn, IdTokenError> {
    let skew = i64::try_from(config.clock_skew.as_secs()).unwrap_or(0);
    let now = now.as_second();
    let verifier = verifier
        .set_allowed_algs(ALGORITHMS)
        .set_time_fn(move || {
            DateTime::from_timestamp(now.saturating_sub(skew), 0).unwrap_or_default()
        })
        .set_issue_time_verifier_fn(move |iat| match iat.timestamp() {
            iat if iat > now.saturating_add(skew) => Err("it is from the future".to_owned()),
            _ => Ok(()),
        })
        .set_auth_time_verifier_fn({
            let max_age = config
                .max_age
                .map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
            move |at| match (max_age, at) {
                (None, _) => Ok(()),
                (Some(_), None) => {
                    Err("it does not say when the user signed in (auth_time)".to_owned())
                }
                (Some(age), Some(at))
                    if at.timestamp() < now.saturating_sub(age).saturating_sub(skew) =>
                {
                    Err("the user signed in too long ago".to_owned())
                }
                _ => Ok(()),
            }
        });
    let checked = token.claims(&verifier, nonce)?;

    if let Some(expected) = checked.access_token_hash() {
        let key = token.signing_key(&verifier)?;
        let hash = AccessTokenHash::from_token(access_token, token.signing_alg()?, key)
            .map_err(|_| IdTokenError::AccessTokenHash)?;
        if hash != *expected {
            return Err(IdTokenError::AccessTokenHash);
        }
    }
    let text = token.to_string();
    let claims = strict_json::payload(&text).ok_or(IdTokenError::Malformed)?;
    match claims.get("azp") {
        None => {}
        Some(Value::String(party)) if *party == config.client_id => {}
        Some(_) => return Err(IdTokenError::AuthorizedParty),
    }
    Ok(SignedIn {
        subject: id(claims.get("sub")).ok_or(IdTokenError::Subject)?,
        sid: id(claims.get("sid")),
        claims,
        token: text,
    })
}

/// A subject or session id.
pub(super) fn id(value: Option<&Value>) -> Option<String> {
    let text = value?.as_str()?;
    ((1..=MAX_ID).contains(&text.len()) && !text.chars().any(char::is_control))
        .then(|| text.to_owned())
}
