//! A logout token, checked (OpenID Connect Back-Channel Logout 1.0 section 2.6).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use openidconnect::{
    JsonWebKey as _,
    core::{CoreJsonWebKey, CoreJwsSigningAlgorithm},
};
use serde_json::{Map, Value};

use super::id_token::{ALGORITHMS, id};
use crate::{config::federation::Provider as Config, oauth::strict_json};

/// The member of `events` that makes it one.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How old one may be: for so long it is remembered that it was used.
pub(super) const MAX_AGE_S: i64 = 600;

/// Whom a provider has signed out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LogoutToken {
    /// Who they are there.
    pub(super) subject: Option<String>,
    /// Which session of theirs it was.
    pub(super) sid: Option<String>,
    /// Its own id.
    pub(super) jti: String,
}

/// Why a logout token is not taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LogoutTokenError {
    /// Not a JWS in compact form with JSON in it.
    #[error("logout_token is not a JWS of JSON without repeated names")]
    Malformed,
    /// Section 2.4, on explicit typing (RFC 8725 section 3.11).
    #[error("typ must be logout+jwt")]
    Type,
    /// Critical header parameters, of which none is understood.
    #[error("crit names something that is not understood here")]
    Critical,
    /// Unsigned, signed with a shared secret, or with something unknown.
    #[error("alg must be an asymmetric signature")]
    Algorithm,
    /// No published key of that id.
    #[error("the key that it names is not published")]
    UnknownKey,
    /// The signature is another's.
    #[error("the signature is wrong")]
    Signature,
    /// A claim is missing or wrong.
    #[error("{0}")]
    Claim(&'static str),
}

/// A token taken apart, not checked yet.
struct Parts<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl<'a> Parts<'a> {
    fn of(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        if claims.contains('.') {
            return None;
        }
        Some(Self {
            signed,
            signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
            header: strict_json::object(&URL_SAFE_NO_PAD.decode(header).ok()?)?,
            claims: strict_json::object(&URL_SAFE_NO_PAD.decode(claims).ok()?)?,
        })
    }
}

/// Checks a token with a provider's keys.
pub(super) fn verify(
    token: &str,
    keys: &[CoreJsonWebKey],
    config: &Config,
    now: Timestamp,
) -> Result<LogoutToken, LogoutTokenError> {
    let parts = Parts::of(token).ok_or(LogoutTokenError::Malformed)?;
    check_signature(&parts, keys)?;
    check_claims(&parts.claims, config, now.as_second())
}

fn check_signature(parts: &Parts<'_>, keys: &[CoreJsonWebKey]) -> Result<(), LogoutTokenError> {
    let header = |name: &str| parts.header.get(name);
    // RFC 7515 section 4.1.9: the `application/` may be left out.
    match header("typ")
        .and_then(Value::as_str)
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        Some("logout+jwt" | "application/logout+jwt") => {}
        _ => return Err(LogoutTokenError::Type),
    }
    if header("crit").is_some() || header("b64").is_some() {
        return Err(LogoutTokenError::Critical);
    }
    let alg = header("alg")
        .and_then(|alg| serde_json::from_value::<CoreJwsSigningAlgorithm>(alg.clone()).ok())
        .filter(|alg| ALGORITHMS.contains(alg))
        .ok_or(LogoutTokenError::Algorithm)?;
    let kid = header("kid").and_then(Value::as_str);
    let mut named = keys
        .iter()
        .filter(|key| kid.is_none_or(|kid| key.key_id().is_some_and(|id| id.as_str() == kid)))
        .peekable();
    if named.peek().is_none() {
        return Err(LogoutTokenError::UnknownKey);
    }
    // A key that cannot be used with the algorithm verifies nothing.
    let good = |key: &CoreJsonWebKey| {
        key.verify_signature(&alg, parts.signed.as_bytes(), &parts.signature)
            .is_ok()
    };
    if named.any(good) {
        Ok(())
    } else {
        Err(LogoutTokenError::Signature)
    }
}

fn check_claims(
    claims: &Map<String, Value>,
    config: &Config,
    now: i64,
) -> Result<LogoutToken, LogoutTokenError> {
    let wrong = |told| Err(LogoutTokenError::Claim(told));
    let claim = |name: &str| claims.get(name);
    let skew = i64::try_from(config.clock_skew.as_secs()).unwrap_or(0);
    if claim("iss").and_then(Value::as_str) != Some(config.issuer.as_str()) {
        return wrong("iss is not this provider");
    }
    let for_us = match claim("aud") {
        Some(Value::String(aud)) => *aud == config.client_id,
        Some(Value::Array(all)) => all
            .iter()
            .any(|aud| aud.as_str() == Some(config.client_id.as_str())),
        _ => false,
    };
    if !for_us {
        return wrong("aud is not this service");
    }
    let Some(iat) = claim("iat").and_then(Value::as_i64) else {
        return wrong("iat is missing");
    };
    if iat > now.saturating_add(skew) {
        return wrong("iat is in the future");
    }
    if iat < now.saturating_sub(MAX_AGE_S) {
        return wrong("iat is more than ten minutes ago; send another");
    }
    match claim("exp").and_then(Value::as_i64) {
        None => return wrong("exp is missing"),
        Some(exp) if exp <= now.saturating_sub(skew) => {
            return wrong("it has expired; send another");
        }
        Some(_) => {}
    }
    if claim("nonce").is_some() {
        return wrong("nonce must not be there");
    }
    match claim("events").and_then(|events| events.get(EVENT)) {
        Some(Value::Object(_)) => {}
        _ => return wrong("events does not name a back-channel logout"),
    }
    let Some(jti) = id(claim("jti")) else {
        return wrong("jti is missing");
    };
    let named = |name: &'static str, told: &'static str| match (claim(name), id(claim(name))) {
        (None, _) => Ok(None),
        (Some(_), Some(text)) => Ok(Some(text)),
        (Some(_), None) => Err(LogoutTokenError::Claim(told)),
    };
    let token = LogoutToken {
        subject: named("sub", "sub is malformed")?,
        sid: named("sid", "sid is malformed")?,
        jti,
    };
    if token.subject.is_none() && token.sid.is_none() {
        return wrong("it names neither sub nor sid");
    }
    Ok(token)
}
