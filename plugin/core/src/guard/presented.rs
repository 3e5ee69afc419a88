//! What a request brings to prove itself, whatever it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use writ_policy::credential::Credential;

use super::Rogue;
use crate::config::CREDENTIAL_HEADERS;

/// The credentials of a request and what it says of its body, as they came.
#[derive(Debug, Default)]
pub struct Presented<'a> {
    authorization: Option<&'a [u8]>,
    /// Whether `authorization` was sent more than once, or a token was put in the URL.
    ambiguous: bool,
    /// The first value of another header that carries credentials.
    key: Option<&'a [u8]>,
    cookie: bool,
    digest: Option<&'a [u8]>,
    digest_repeated: bool,
}

impl<'a> Presented<'a> {
    /// Reads header names in lower case with their values, `:path` among them.
    pub fn read(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut presented = Self::default();
        for (name, value) in headers {
            match name {
                "authorization" => {
                    presented.ambiguous |= presented.authorization.is_some();
                    presented.authorization.get_or_insert(value);
                }
                "content-digest" => {
                    presented.digest_repeated |= presented.digest.is_some();
                    presented.digest.get_or_insert(value);
                }
                "cookie" => presented.cookie = true,
                // RFC 6750 section 2.3, which MCP forbids.
                ":path" => presented.ambiguous |= has_token(value),
                other if CREDENTIAL_HEADERS.contains(&other) => {
                    presented.key.get_or_insert(value);
                }
                _ => {}
            }
        }
        presented
    }

    /// The token, and whether it is presented as a minted token is (RFC 6750 section 2.1).
    pub(super) fn token(&self) -> Result<(&'a str, bool), Rogue> {
        let authorization = self.authorization.map(std::str::from_utf8);
        match authorization {
            Some(Ok(value)) if !self.ambiguous => match value.split_once(' ') {
                Some((scheme, token)) if is_token_scheme(scheme) => {
                    let token = token.trim_matches(' ');
                    Ok((token, scheme.eq_ignore_ascii_case("bearer")))
                }
                _ => Err(Rogue::unknown(self.kind())),
            },
            _ => Err(Rogue::unknown(self.kind())),
        }
    }

    /// What kind of credential it looks like, by its form alone.
    pub(super) fn kind(&self) -> Credential {
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).unwrap_or_default();
        match (self.authorization.map(text), self.key.map(text)) {
            (Some(value), _) => by_form(value),
            (None, Some(value)) => by_form(value),
            (None, None) if self.ambiguous => Credential::Opaque,
            (None, None) if self.cookie => Credential::Cookie,
            (None, None) => Credential::None,
        }
    }

    pub(super) fn digest(&self) -> SentDigest {
        match self.digest {
            None => SentDigest::None,
            Some(_) if self.digest_repeated => SentDigest::Repeated,
            Some(digest) => SentDigest::Once(digest.trim_ascii().to_vec()),
        }
    }
}

/// What `Content-Digest` (RFC 9530) a request was sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SentDigest {
    /// None.
    None,
    /// This.
    Once(Vec<u8>),
    /// Several, of which nobody says which one counts.
    Repeated,
}

impl SentDigest {
    /// Whether it says nothing else than `digest`.
    pub(super) fn agrees_with(&self, digest: &str) -> bool {
        match self {
            Self::None => true,
            Self::Once(sent) => super::same(sent, digest.as_bytes()),
            Self::Repeated => false,
        }
    }
}

/// The schemes behind which a token stands as it is; `token` is GitHub's.
fn is_token_scheme(scheme: &str) -> bool {
    ["bearer", "dpop", "token"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known))
}

/// What the value of a header with a credential looks like.
fn by_form(value: &str) -> Credential {
    let (scheme, rest) = value.split_once(' ').unwrap_or(("", value));
    let rest = rest.trim_matches(' ');
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => basic(rest),
        // AWS Signature Version 4.
        "aws4-hmac-sha256" | "aws4-ecdsa-p256-sha256" => Credential::Aws,
        _ => Credential::by_prefix(rest),
    }
}

/// A token is often sent as the password, or as the name, of a Basic credential.
fn basic(encoded: &str) -> Credential {
    let decoded = STANDARD.decode(encoded).unwrap_or_default();
    let pair = std::str::from_utf8(&decoded).unwrap_or_default();
    let (name, password) = pair.split_once(':').unwrap_or((pair, ""));
    [password, name]
        .into_iter()
        .map(Credential::by_prefix)
        .find(|kind| *kind != Credential::Opaque)
        .unwrap_or(Credential::Basic)
}

fn has_token(path: &[u8]) -> bool {
    let query = path.splitn(2, |byte| *byte == b'?').nth(1);
    query.is_some_and(|query| {
        form_urlencoded::parse(query).any(|(name, _)| name.eq_ignore_ascii_case("access_token"))
    })
}
