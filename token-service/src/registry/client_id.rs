//! An agent's OAuth `client_id`: a short id, or the URL of its Client ID Metadata Document.

use std::fmt;

use url::{Host, Url};

use super::Id;

/// More than any URL that a person would publish a document under.
const MAX_URL: usize = 512;

/// A checked `client_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(String);

/// Why a text is no [`ClientId`].
#[derive(Debug, thiserror::Error)]
#[error(
    "{given:?} is not a valid client id: use 1 to 64 letters, digits, '.', '_' or '-', or the https URL, with a path, of a client metadata document"
)]
pub struct ClientIdError {
    given: String,
}

impl ClientId {
    /// Checks a text.
    ///
    /// # Errors
    /// When it is neither an [`Id`] nor a URL that may name a metadata document.
    pub fn parse(text: &str) -> Result<Self, ClientIdError> {
        if Id::parse(text).is_ok() || document_url(text).is_some() {
            return Ok(Self(text.to_owned()));
        }
        Err(ClientIdError {
            given: text.chars().take(80).collect(),
        })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the client's metadata document is, for a client that is named by one.
    #[must_use]
    pub fn document(&self) -> Option<Url> {
        document_url(&self.0)
    }
}

/// The URL of a Client ID Metadata Document (draft-ietf-oauth-client-id-metadata-document section 3): https, a path, no
/// dot segments, fragment, user info or query, and a host name, written exactly as a URL parser would write it.
fn document_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.scheme() == "https"
        && matches!(
            url.host(),
            Some(Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_))
        )
        && url.path() != "/"
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
        && url.query().is_none();
    (plain && text.len() <= MAX_URL && url.as_str() == text).then_some(url)
}

impl From<Id> for ClientId {
    fn from(id: Id) -> Self {
        Self(id.to_string())
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for ClientId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl std::str::FromStr for ClientId {
    type Err = ClientIdError;

    fn from_str(text: &str) -> Result<Self, ClientIdError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_named_by_a_short_id_or_by_its_document() {
        for good in [
            "assistant",
            "https://app.example/client.json",
            "https://app.example:8443/a/b",
        ] {
            assert!(ClientId::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://app.example/client.json",
            "https://app.example",
            "https://app.example/",
            "https://app.example/a/../b",
            "https://APP.example/a",
            "https://u@app.example/a",
            "https://app.example/a#b",
            "https://app.example/a?b",
            "urn:a:b",
            "",
        ] {
            assert!(ClientId::parse(bad).is_err(), "{bad}");
        }
    }
}
