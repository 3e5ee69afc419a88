//! The JOSE header (RFC 7515 section 4), read strictly and before anything else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use writ_policy::Value;

use super::TokenError;
use super::keys::Algorithm;
use crate::message::parse_strict;

/// A header that may go on to signature verification.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) key_id: String,
    /// `typ` in lower case, without `application/` (RFC 7515 section 4.1.9).
    pub(crate) kind: String,
}

/// Splits a compact JWS into its header and its payload; neither is verified yet.
pub(crate) fn split(token: &str) -> Result<(Header, Value), TokenError> {
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(TokenError::Malformed("it does not have three parts"));
    };
    let header = read(&object(header, "its header is not acceptable JSON")?)?;
    Ok((
        header,
        object(payload, "its claims are not acceptable JSON")?,
    ))
}

fn object(part: &str, problem: &'static str) -> Result<Value, TokenError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| TokenError::Malformed("it is not base64url"))?;
    match parse_strict(&bytes) {
        Ok(value @ Value::Object(_)) => Ok(value),
        _ => Err(TokenError::Malformed(problem)),
    }
}

fn read(header: &Value) -> Result<Header, TokenError> {
    let (mut algorithm, mut key_id, mut kind) = (None, None, None);
    let members = header
        .as_object()
        .map_err(|_| TokenError::Malformed("its header is not an object"))?;
    for (name, value) in members.iter() {
        let Value::String(name) = name else { continue };
        match (name.as_ref(), value) {
            ("alg", Value::String(value)) => algorithm = Algorithm::from_name(value),
            ("kid", Value::String(value)) => key_id = Some(value.to_string()),
            ("typ", Value::String(value)) => kind = Some(value.to_ascii_lowercase()),
            // A key or a place to get one from, chosen by whoever made the token.
            ("jku" | "jwk" | "x5u" | "x5c", _) => {
                return Err(TokenError::Malformed("its header brings its own key"));
            }
            ("crit", _) => return Err(TokenError::Malformed("its header has critical extensions")),
            _ => {}
        }
    }
    let kind = kind.ok_or(TokenError::Type)?;
    Ok(Header {
        kind: kind
            .strip_prefix("application/")
            .map_or(kind.clone(), str::to_owned),
        algorithm: algorithm.ok_or(TokenError::Algorithm)?,
        key_id: key_id.ok_or(TokenError::UnknownKey)?,
    })
}
