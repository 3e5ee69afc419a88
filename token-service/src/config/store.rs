//! `[store]`: a database elsewhere than in the data directory.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use url::Url;

use super::{Config, ConfigError, raw::Source};
use crate::store::Place;

const URL: &str = "store.url";
const PASSWORD_FILE: &str = "store.password_file";
/// What a URL may say beside where the database is, as `libpq` names it.
const PARAMETERS: [&str; 7] = [
    "application_name",
    "host",
    "options",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
];
const SSL_MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    pub(super) url: Option<String>,
    password_file: Option<PathBuf>,
}

impl Config {
    /// Where the database is.
    #[must_use]
    pub fn place(&self) -> Place {
        let in_data_dir = || Place::Directory(self.data_dir.clone());
        self.store.clone().unwrap_or_else(in_data_dir)
    }
}

pub(super) fn check(source: &Source) -> Result<Option<Place>, ConfigError> {
    let raw = &source.values.store;
    let Some(given) = raw.url.as_deref() else {
        return match &raw.password_file {
            None => Ok(None),
            Some(path) => Err(source.wrong(
                PASSWORD_FILE,
                &path.display().to_string(),
                "goes with `store.url`: SQLite has no password",
            )),
        };
    };
    // Nothing of it is repeated before it is known to hold no password.
    let mut url =
        Url::parse(given).map_err(|e| source.wrong(URL, "…", format!("is not a URL ({e})")))?;
    let place = Place::Postgres(Box::new(url.clone()));
    let shown = place.to_string();
    let wrong = |problem: &str| source.wrong(URL, &shown, problem);
    if !matches!(url.scheme(), "postgres" | "postgresql") {
        return Err(wrong(
            "must be postgres://USER@HOST/DATABASE; without it the database is in `data_dir`",
        ));
    }
    if url.path().trim_start_matches('/').is_empty() || url.fragment().is_some() {
        return Err(wrong("must name a database: postgres://USER@HOST/DATABASE"));
    }
    for (name, value) in url.query_pairs() {
        if name == "password" {
            return Err(wrong(
                "must hold no password among its parameters: put it into the file that `store.password_file` names",
            ));
        }
        if !PARAMETERS.contains(&&*name) {
            let known = PARAMETERS.join(", ");
            return Err(wrong(&format!(
                "has an unknown parameter {name:?}; there are {known}"
            )));
        }
        if name == "sslmode" && !SSL_MODES.contains(&&*value) {
            let known = SSL_MODES.join(", ");
            return Err(wrong(&format!("sslmode must be one of {known}")));
        }
        if name.starts_with("ssl")
            && name != "sslmode"
            && let Err(error) = std::fs::metadata(&*value)
        {
            return Err(wrong(&format!(
                "{name} = {value:?} cannot be read: {error}"
            )));
        }
    }
    if url.password().is_some() && !source.is_overridden(URL) {
        return Err(wrong(
            "must hold no password in a file: put it into the file that `store.password_file` names, or the URL into WRIT_STORE_URL",
        ));
    }
    if !is_here(&url) && !url.query_pairs().any(|(name, _)| name == "sslmode") {
        url.query_pairs_mut().append_pair("sslmode", "verify-full");
    }
    if let Some(path) = &raw.password_file
        && url.password().is_none()
    {
        let encoded = password(source, path)?;
        url.set_password(Some(&encoded))
            .map_err(|()| wrong("takes no password: it names no host"))?;
    }
    Ok(Some(Place::Postgres(Box::new(url))))
}

/// Whether it is on this machine, where nobody is in between: a Unix socket or a loopback address.
pub(crate) fn is_here(url: &Url) -> bool {
    let named = url.query_pairs().find(|(name, _)| name == "host");
    let host = match &named {
        Some((_, host)) => host,
        None => url.host_str().unwrap_or_default(),
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.is_empty()
        || host.starts_with('/')
        || host.starts_with("%2F")
        || host == "localhost"
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// What is in the file without the end of its line, as a URL writes it.
fn password(source: &Source, path: &Path) -> Result<String, ConfigError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|e| source.wrong(PASSWORD_FILE, &shown, format!("cannot be read: {e}")))?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        return Err(source.wrong(PASSWORD_FILE, &shown, "holds no password"));
    }
    Ok(password.bytes().map(|b| format!("%{b:02X}")).collect())
}
