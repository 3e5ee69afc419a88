//! What fields say of another server: its URL, and the token that it is asked with.

use std::path::PathBuf;

use axum::http::{
    HeaderName, HeaderValue,
    header::{
        ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, HOST, InvalidHeaderValue, TRANSFER_ENCODING,
        UPGRADE,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use zeroize::Zeroizing;

use super::{ConfigError, is_loopback_host, raw::Source};

/// Headers that no token could be in, beside those about the content.
const SAYS_WHAT_IS_SENT: [HeaderName; 5] = [
    ACCEPT_ENCODING,
    CONNECTION,
    HOST,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Where a token is: best in a file, else in an environment variable; never in the configuration itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenAt<'a> {
    /// The table that both fields are in.
    pub(super) table: &'a str,
    /// `token_file`.
    pub(super) file: Option<&'a PathBuf>,
    /// `token_env`.
    pub(super) variable: Option<&'a String>,
}

/// What a server is asked with.
#[derive(Clone, Copy, Debug)]
pub(super) enum Secret {
    /// What [`TokenAt`] leads to.
    Token,
    /// Nothing: anybody may ask.
    None,
}

/// An https URL without secrets: one of a loopback host may use http.
pub(super) fn url(
    source: &Source,
    table: &str,
    given: &str,
    secret: Secret,
) -> Result<Url, ConfigError> {
    // Without what may be a secret in it: the message goes to the log.
    let parsed = Url::parse(given);
    let shown = parsed.as_ref().map_or_else(|_| "…".to_owned(), bare);
    let field = format!("{table}.url");
    let wrong = |problem: &str| source.wrong(&field, &shown, problem);
    let url = parsed
        .as_ref()
        .map_err(|e| wrong(&format!("is not a URL ({e})")))?
        .clone();
    match url.scheme() {
        "https" => {}
        "http" if is_loopback_host(&url) => {}
        _ => return Err(wrong("must be https: only a loopback host may use http")),
    }
    bears_nothing(&url).map_err(|what| {
        wrong(&format!(
            "must have no {what}, which logs would show; {}",
            match secret {
                Secret::Token => format!("`{table}.token_file` is for the server's token"),
                Secret::None => "leave it out".to_owned(),
            }
        ))
    })?;
    Ok(url)
}

/// Says what of a URL could be a secret.
fn bears_nothing(url: &Url) -> Result<(), &'static str> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err("user info");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("query and no fragment");
    }
    Ok(())
}

/// Scheme, host and path of a URL.
fn bare(url: &Url) -> String {
    let mut url = url.clone();
    // A URL that can have no user info has none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// A header that a server knows this service by; its value is not shown.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The header's name.
    pub name: HeaderName,
    /// What it says.
    pub value: HeaderValue,
}

impl Credential {
    /// `Authorization` (RFC 9110 section 11.6.2) with a token of a scheme.
    ///
    /// # Errors
    /// When that is nothing a header may say.
    pub fn authorization(scheme: &str, token: &SecretString) -> Result<Self, InvalidHeaderValue> {
        let value = Zeroizing::new(format!("{scheme} {}", token.expose_secret()));
        Self::new(AUTHORIZATION, &value)
    }

    fn new(name: HeaderName, value: &str) -> Result<Self, InvalidHeaderValue> {
        let mut value = HeaderValue::from_str(value)?;
        value.set_sensitive(true);
        Ok(Self { name, value })
    }
}

/// The bearer token, where there is one.
pub(super) fn token(source: &Source, at: TokenAt<'_>) -> Result<Option<SecretString>, ConfigError> {
    let Some(given) = given(source, at)? else {
        return Ok(None);
    };
    // RFC 6750 section 2.1: what a bearer token is written with.
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    match given.token() {
        token if !token.is_empty() && token.chars().all(fits) => {
            Ok(Some(SecretString::from(token)))
        }
        _ => Err(given.wrong("holds no bearer token (RFC 6750 section 2.1)")),
    }
}

/// What a server is shown that knows this service by a token of a scheme, or by what it says in another header, where there is
/// such a token.
pub(super) fn credential(
    source: &Source,
    at: TokenAt<'_>,
    scheme: &str,
    header: Option<&str>,
) -> Result<Option<Credential>, ConfigError> {
    let Some(header) = header else {
        let token = token(source, at)?;
        let shown = token.map(|token| Credential::authorization(scheme, &token));
        return shown
            .transpose()
            .map_err(|e| source.wrong(&format!("{}.token_file", at.table), "", e.to_string()));
    };
    let field = format!("{}.token_header", at.table);
    let wrong = |problem: &str| source.wrong(&field, header, problem);
    let name = header
        .parse::<HeaderName>()
        .ok()
        .filter(|name| !SAYS_WHAT_IS_SENT.contains(name) && !name.as_str().starts_with("content-"))
        .ok_or_else(|| wrong("is no header that a token could be in; name the one that the receiver documents, such as x-api-key"))?;
    let Some(given) = given(source, at)? else {
        let problem = "is without effect: name the file with its value in token_file";
        return Err(wrong(problem));
    };
    let value = given.token();
    let fits = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if value.is_empty() || !value.bytes().all(fits) {
        return Err(given.wrong(
            "must hold what the header says, in ASCII and on one line (RFC 9110 section 5.5)",
        ));
    }
    let shown = Credential::new(name, value).map_err(|e| wrong(&e.to_string()))?;
    Ok(Some(shown))
}

/// A token as it was found, and where.
struct Given<'a> {
    source: &'a Source,
    field: String,
    shown: String,
    text: Zeroizing<String>,
}

impl Given<'_> {
    fn token(&self) -> &str {
        self.text.trim()
    }

    fn wrong(&self, problem: &str) -> ConfigError {
        self.source.wrong(&self.field, &self.shown, problem)
    }
}

fn given<'a>(source: &'a Source, at: TokenAt<'_>) -> Result<Option<Given<'a>>, ConfigError> {
    let named = |field: &str| format!("{}.{field}", at.table);
    let (field, shown, text) = match (at.file, at.variable) {
        (None, None) => return Ok(None),
        (Some(_), Some(name)) => {
            let problem = "is given beside token_file; leave one of them out";
            return Err(source.wrong(&named("token_env"), name, problem));
        }
        (Some(path), None) => {
            let shown = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|e| {
                let problem = format!("cannot be read: {e}");
                source.wrong(&named("token_file"), &shown, &problem)
            })?;
            ("token_file", shown, text)
        }
        (None, Some(name)) => {
            let text = source.variable(name).ok_or_else(|| {
                let problem = "is not set in the environment; set it where the command runs, or name a file in token_file";
                source.wrong(&named("token_env"), name, problem)
            })?;
            ("token_env", name.clone(), text.to_owned())
        }
    };
    Ok(Some(Given {
        source,
        field: named(field),
        shown,
        text: Zeroizing::new(text),
    }))
}
