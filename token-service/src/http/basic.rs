//! HTTP Basic credentials as OAuth has them: id and secret form-urlencoded (RFC 6749 section 2.3.1).

use axum::http::{HeaderMap, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

/// Longer than any id and secret of ours, encoded.
const MAX_BYTES: usize = 1024;

/// An id and the secret presented for it.
#[derive(Debug)]
pub struct Credentials {
    /// Who it claims to be.
    pub id: String,
    secret: Zeroizing<String>,
}

impl Credentials {
    /// The secret, to be compared with [`crate::secret::SecretHash::verify`].
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.secret
    }
}

/// Reads the one `Authorization: Basic` header; `None` when there is none, more than one, or it is malformed.
#[must_use]
pub fn credentials(headers: &HeaderMap) -> Option<Credentials> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (only, None) = (all.next()?.as_bytes(), all.next()) else {
        return None;
    };
    let (scheme, encoded) = only.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") || encoded.len() > MAX_BYTES {
        return None;
    }
    let pair = Zeroizing::new(STANDARD.decode(encoded.trim_ascii()).ok()?);
    let colon = pair.iter().position(|b| *b == b':')?;
    let (id, secret) = (pair.get(..colon)?, pair.get(colon + 1..)?);
    Some(Credentials {
        id: decoded(id)?.to_string(),
        secret: decoded(secret)?,
    })
}

/// Undoes form-urlencoding; `None` when that leaves no UTF-8.
fn decoded(encoded: &[u8]) -> Option<Zeroizing<String>> {
    let mut plain = Zeroizing::new(Vec::with_capacity(encoded.len()));
    let mut rest = encoded.iter();
    while let Some(byte) = rest.next() {
        plain.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: Option<&u8>| {
                    char::from(*b?)
                        .to_digit(16)
                        .and_then(|d| u8::try_from(d).ok())
                };
                (digit(rest.next())? << 4) | digit(rest.next())?
            }
            other => *other,
        });
    }
    String::from_utf8(plain.to_vec()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        credentials(&headers).map(|c| (c.id.clone(), c.secret().to_owned()))
    }

    fn basic(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    #[test]
    fn id_and_secret_are_form_decoded() {
        assert_eq!(
            read(&[&basic("edge:s3cret")]),
            Some(("edge".into(), "s3cret".into()))
        );
        assert_eq!(
            read(&[&basic("a%3Ab:c+d%2B:e")]),
            Some(("a:b".into(), "c d+:e".into()))
        );
        assert_eq!(
            read(&[&basic("edge:s").replace("Basic", "bASIC")]),
            Some(("edge".into(), "s".into()))
        );
    }

    #[test]
    fn anything_else_is_no_credential() {
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[&basic("edge:s"), &basic("edge:s")]), None);
        for bad in [
            "Bearer x",
            "Basic",
            "Basic !!",
            &basic("no-colon"),
            &basic("a:%zz"),
            &basic("a:%f"),
            &basic("a:%ff"),
        ] {
            assert_eq!(read(&[bad]), None, "{bad}");
        }
        assert_eq!(read(&[&basic(&"x".repeat(2000))]), None);
    }
}
