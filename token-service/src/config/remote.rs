//! What fields say of another server: its URL, and the token that it is asked with.

use std::path::PathBuf;

use secrecy::SecretString;
use url::Url;

use super::{ConfigError, is_loopback_host, raw::Source};

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

/// The token, where there is one.
pub(super) fn token(source: &Source, at: TokenAt<'_>) -> Result<Option<SecretString>, ConfigError> {
    let named = |field: &str| format!("{}.{field}", at.table);
    let (field, given, text) = match (at.file, at.variable) {
        (None, None) => return Ok(None),
        (Some(_), Some(name)) => {
            let problem = "is given beside token_file; leave one of them out";
            return Err(source.wrong(&named("token_env"), name, problem));
        }
        (Some(path), None) => {
            let given = path.display().to_string();
            let text = std::fs::read_to_string(path).map_err(|e| {
                let problem = format!("cannot be read: {e}");
                source.wrong(&named("token_file"), &given, problem)
            })?;
            ("token_file", given, text)
        }
        (None, Some(name)) => {
            let text = source.variable(name).unwrap_or_default().to_owned();
            ("token_env", name.clone(), text)
        }
    };
    // RFC 6750 section 2.1: what a bearer token is written with.
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._~+/=".contains(c);
    match text.trim() {
        token if !token.is_empty() && token.chars().all(fits) => {
            Ok(Some(SecretString::from(token)))
        }
        _ => {
            let problem = "holds no bearer token (RFC 6750 section 2.1)";
            Err(source.wrong(&named(field), &given, problem))
        }
    }
}
