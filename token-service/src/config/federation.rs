//! Where people sign in: identity providers of their organisations, and the local directory beside them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::{ConfigError, duration, is_loopback_host, raw::Source};
use crate::registry::Id;

/// The biggest logo.
const MAX_LOGO: u64 = 64 * 1024;
/// A name that fits a button.
const MAX_NAME: usize = 64;

/// `[federation]` as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFederation {
    local_directory: Option<RawLocalDirectory>,
    #[serde(default)]
    provider: Vec<RawProvider>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawLocalDirectory {
    Switch(bool),
    Word(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProvider {
    id: String,
    name: String,
    logo: Option<PathBuf>,
    issuer: String,
    client_id: String,
    client_auth: Option<String>,
    client_secret_file: Option<PathBuf>,
    client_secret_env: Option<String>,
    scopes: Option<Vec<String>>,
    #[serde(default)]
    email_domains: Vec<String>,
    user_names: Option<String>,
    clock_skew: Option<String>,
    max_age: Option<String>,
    #[serde(default)]
    id_jag: bool,
    #[serde(default)]
    claims: RawClaims,
    #[serde(default)]
    groups: RawGroups,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClaims {
    user_name: Option<String>,
    display_name: Option<String>,
    email: Option<String>,
    groups: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGroups {
    #[serde(default)]
    map: BTreeMap<String, String>,
    allow: Option<BTreeSet<String>>,
    prefix: Option<String>,
}

/// Where people sign in.
#[derive(Clone, Debug, Default)]
pub struct Federation {
    /// Identity providers, in the order of the sign-in page.
    pub providers: Vec<Provider>,
    /// What the local directory is for.
    pub local_directory: LocalDirectory,
}

/// What the local directory is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalDirectory {
    /// People sign in with it, beside the providers or without any.
    #[default]
    Offered,
    /// For when the providers are out of reach: behind a link, and so recorded.
    BreakGlass,
    /// Nobody signs in with it.
    Closed,
}

/// An OpenID Connect provider that people sign in at.
#[derive(Clone, Debug)]
pub struct Provider {
    /// What it is called in URLs and on the command line.
    pub id: Id,
    /// What people know it by.
    pub name: String,
    /// Its picture.
    pub logo: Option<Logo>,
    /// Its issuer identifier, compared exactly.
    pub issuer: String,
    /// What this service is called there.
    pub client_id: String,
    /// How this service proves itself there.
    pub client_auth: ClientAuth,
    /// What it is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// The domains whose e-mail addresses lead to it, in lower case.
    pub email_domains: BTreeSet<String>,
    /// How its people are called here.
    pub user_names: UserNames,
    /// Which claims say what.
    pub claims: Claims,
    /// What becomes of its groups.
    pub groups: Groups,
    /// Whether its word is enough for a client to act for its people (ID-JAG), without anybody being asked.
    pub id_jag: bool,
    /// How far its clock may be off.
    pub clock_skew: Duration,
    /// How long ago people may have proved themselves there.
    pub max_age: Option<Duration>,
}

/// A picture that the service serves itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logo {
    /// Its media type.
    pub content_type: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// How this service proves itself at a provider (OpenID Connect Core section 9).
#[derive(Clone, Debug)]
pub enum ClientAuth {
    /// Not at all: PKCE alone.
    None,
    /// With a secret in the header.
    Basic(SecretString),
    /// With a secret in the form.
    Post(SecretString),
}

/// How a provider's people are called here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserNames {
    /// `NAME@PROVIDER`, or an address of one of the provider's own domains as it is: no other provider's people can
    /// be called the same.
    Qualified,
    /// As the provider calls them.
    AsGiven,
}

/// Which claims say what: names, or JSON pointers (RFC 6901) where they begin with a slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// What the user is called.
    pub user_name: String,
    /// Their name for people.
    pub display_name: String,
    /// Their e-mail address.
    pub email: String,
    /// Their groups.
    pub groups: String,
}

/// What becomes of a provider's groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// Groups with another name here.
    pub map: BTreeMap<String, String>,
    /// Of the others, those that are taken; all when absent.
    pub allow: Option<BTreeSet<String>>,
    /// What the others begin with here.
    pub prefix: String,
}

pub(super) fn check(source: &Source) -> Result<Federation, ConfigError> {
    let raw = &source.values.federation;
    let mut providers: Vec<Provider> = Vec::with_capacity(raw.provider.len());
    for (at, given) in raw.provider.iter().enumerate() {
        let fields = Fields { source, at };
        let provider = fields.provider(given)?;
        for other in &providers {
            if other.id == provider.id {
                return Err(fields.wrong("id", &given.id, "is another provider's id too"));
            }
            if other.issuer == provider.issuer {
                let problem = "is another provider's issuer too; one entry serves them both";
                return Err(fields.wrong("issuer", &given.issuer, problem));
            }
            if let Some(domain) = other
                .email_domains
                .intersection(&provider.email_domains)
                .next()
            {
                let problem = "leads to another provider already";
                return Err(fields.wrong("email_domains", domain, problem));
            }
        }
        if provider.user_names == UserNames::AsGiven && raw.provider.len() > 1 {
            let problem = "needs a provider that is alone: with several, one could call its people by the names of another's";
            return Err(fields.wrong("user_names", "as_given", problem));
        }
        providers.push(provider);
    }
    Ok(Federation {
        local_directory: local_directory(source, providers.is_empty())?,
        providers,
    })
}

fn local_directory(source: &Source, alone: bool) -> Result<LocalDirectory, ConfigError> {
    let field = "federation.local_directory";
    let chosen = match &source.values.federation.local_directory {
        None if alone => LocalDirectory::Offered,
        None => LocalDirectory::BreakGlass,
        Some(RawLocalDirectory::Switch(true)) => LocalDirectory::Offered,
        Some(RawLocalDirectory::Switch(false)) => LocalDirectory::Closed,
        Some(RawLocalDirectory::Word(word)) if word == "break_glass" => LocalDirectory::BreakGlass,
        Some(RawLocalDirectory::Word(word)) => {
            return Err(source.wrong(field, word, "must be true, false or \"break_glass\""));
        }
    };
    if alone && chosen != LocalDirectory::Offered {
        let problem = "needs a provider: without one, nobody could sign in";
        return Err(source.wrong(field, "", problem));
    }
    Ok(chosen)
}

/// The fields of one provider, to name them in errors.
#[derive(Clone, Copy)]
struct Fields<'a> {
    source: &'a Source,
    at: usize,
}

impl Fields<'_> {
    fn wrong(self, field: &str, value: &str, problem: impl Into<String>) -> ConfigError {
        let field = format!("federation.provider[{}].{field}", self.at);
        self.source.wrong(&field, value, problem)
    }

    fn provider(self, raw: &RawProvider) -> Result<Provider, ConfigError> {
        let id = Id::parse(&raw.id).map_err(|e| self.wrong("id", &raw.id, e.to_string()))?;
        let name = raw.name.trim();
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            let problem = "must be 1 to 64 bytes without control characters";
            return Err(self.wrong("name", &raw.name, problem));
        }
        if raw.client_id.is_empty() {
            let problem = "must be the id that the provider knows this service by";
            return Err(self.wrong("client_id", "", problem));
        }
        Ok(Provider {
            name: name.to_owned(),
            logo: raw.logo.as_deref().map(|p| self.logo(p)).transpose()?,
            issuer: self.issuer(&raw.issuer)?,
            client_id: raw.client_id.clone(),
            client_auth: self.client_auth(raw)?,
            scopes: self.scopes(raw.scopes.as_deref())?,
            email_domains: self.email_domains(&raw.email_domains)?,
            user_names: self.user_names(raw.user_names.as_deref())?,
            claims: self.claims(&raw.claims)?,
            groups: self.groups(&raw.groups, &id)?,
            id_jag: raw.id_jag,
            clock_skew: self.duration(
                "clock_skew",
                raw.clock_skew.as_deref().unwrap_or("30s"),
                0,
                300,
            )?,
            max_age: raw
                .max_age
                .as_deref()
                .map(|text| self.duration("max_age", text, 60, 30 * 24 * 3600))
                .transpose()?,
            id,
        })
    }

    fn duration(
        self,
        field: &str,
        text: &str,
        least: u64,
        most: u64,
    ) -> Result<Duration, ConfigError> {
        duration::parse(text, &(least..=most)).map_err(|problem| self.wrong(field, text, problem))
    }

    fn issuer(self, given: &str) -> Result<String, ConfigError> {
        let wrong = |problem: &str| self.wrong("issuer", given, problem);
        let url = Url::parse(given).map_err(|e| wrong(&format!("is not a URL ({e})")))?;
        match url.scheme() {
            "https" => {}
            "http" if is_loopback_host(&url) => {}
            _ => {
                return Err(wrong(
                    "must be an https URL: only a loopback host may use http",
                ));
            }
        }
        if url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some()
        {
            let problem =
                "must have no query, fragment or user info (OpenID Connect Discovery section 3)";
            return Err(wrong(problem));
        }
        Ok(given.to_owned())
    }

    fn client_auth(self, raw: &RawProvider) -> Result<ClientAuth, ConfigError> {
        let secret = match (&raw.client_secret_file, &raw.client_secret_env) {
            (Some(path), None) => Some(self.secret_in_file(path)?),
            (None, Some(name)) => Some(self.secret_in_variable(name)?),
            (None, None) => None,
            (Some(_), Some(name)) => {
                let problem = "is given beside client_secret_file; leave one of them out";
                return Err(self.wrong("client_secret_env", name, problem));
            }
        };
        let method = raw.client_auth.as_deref();
        match (method.unwrap_or("client_secret_basic"), secret) {
            ("client_secret_basic", Some(secret)) => Ok(ClientAuth::Basic(secret)),
            ("client_secret_post", Some(secret)) => Ok(ClientAuth::Post(secret)),
            ("none", None) => Ok(ClientAuth::None),
            ("client_secret_basic" | "client_secret_post", None) => {
                let problem = "needs client_secret_file or client_secret_env; for a public client say \"none\"";
                Err(self.wrong("client_auth", method.unwrap_or_default(), problem))
            }
            (other, _) => {
                let problem =
                    "must be client_secret_basic, client_secret_post, or none without a secret";
                Err(self.wrong("client_auth", other, problem))
            }
        }
    }

    fn secret_in_file(self, path: &Path) -> Result<SecretString, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| {
            self.wrong("client_secret_file", &shown, format!("cannot be read: {e}"))
        })?;
        match text.trim_end_matches(['\r', '\n']) {
            "" => Err(self.wrong(
                "client_secret_file",
                &shown,
                "is empty; it must hold the secret",
            )),
            secret => Ok(SecretString::from(secret)),
        }
    }

    fn secret_in_variable(self, name: &str) -> Result<SecretString, ConfigError> {
        match self.source.variable(name) {
            Some(secret) if !secret.is_empty() => Ok(SecretString::from(secret)),
            _ => {
                let problem = "is not set in the environment; it must hold the secret";
                Err(self.wrong("client_secret_env", name, problem))
            }
        }
    }

    fn scopes(self, given: Option<&[String]>) -> Result<Vec<String>, ConfigError> {
        let Some(given) = given else {
            return Ok(vec!["profile".to_owned(), "email".to_owned()]);
        };
        // RFC 6749 section 3.3: what a scope is written with.
        let fits = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        if let Some(bad) = given.iter().find(|s| s.is_empty() || !s.chars().all(fits)) {
            return Err(self.wrong("scopes", bad, "is not a scope (RFC 6749 section 3.3)"));
        }
        Ok(given.iter().filter(|s| *s != "openid").cloned().collect())
    }

    fn email_domains(self, given: &[String]) -> Result<BTreeSet<String>, ConfigError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let domain = |text: &String| {
            let lower = text.to_ascii_lowercase();
            let well_formed = lower.contains('.')
                && lower.chars().all(fits)
                && lower.split('.').all(|label| !label.is_empty());
            let problem = "is not a domain; write it as example.com";
            well_formed
                .then_some(lower)
                .ok_or_else(|| self.wrong("email_domains", text, problem))
        };
        given.iter().map(domain).collect()
    }

    fn user_names(self, given: Option<&str>) -> Result<UserNames, ConfigError> {
        match given {
            None | Some("qualified") => Ok(UserNames::Qualified),
            Some("as_given") => Ok(UserNames::AsGiven),
            Some(other) => Err(self.wrong("user_names", other, "must be qualified or as_given")),
        }
    }

    fn claims(self, raw: &RawClaims) -> Result<Claims, ConfigError> {
        let claim = |field: &str, given: &Option<String>, default: &str| {
            let name = given.as_deref().unwrap_or(default);
            if name.is_empty() {
                return Err(self.wrong(&format!("claims.{field}"), "", "must name a claim"));
            }
            Ok(name.to_owned())
        };
        Ok(Claims {
            user_name: claim("user_name", &raw.user_name, "preferred_username")?,
            display_name: claim("display_name", &raw.display_name, "name")?,
            email: claim("email", &raw.email, "email")?,
            groups: claim("groups", &raw.groups, "groups")?,
        })
    }

    fn groups(self, raw: &RawGroups, id: &Id) -> Result<Groups, ConfigError> {
        let fits = |text: &str| text.len() <= 128 && !text.chars().any(char::is_control);
        let problem = "must have at most 128 bytes and no control characters";
        if let Some(bad) = raw.map.values().find(|g| g.is_empty() || !fits(g)) {
            return Err(self.wrong("groups.map", bad, problem));
        }
        let prefix = raw.prefix.clone().unwrap_or_else(|| format!("{id}:"));
        if !fits(&prefix) {
            return Err(self.wrong("groups.prefix", &prefix, problem));
        }
        Ok(Groups {
            map: raw.map.clone(),
            allow: raw.allow.clone(),
            prefix,
        })
    }

    fn logo(self, path: &Path) -> Result<Logo, ConfigError> {
        let shown = path.display().to_string();
        let wrong = |problem: String| self.wrong("logo", &shown, problem);
        let content_type = match path.extension().and_then(|e| e.to_str()) {
            Some("svg") => "image/svg+xml",
            Some("png") => "image/png",
            Some("jpg" | "jpeg") => "image/jpeg",
            Some("webp") => "image/webp",
            _ => {
                return Err(wrong(
                    "must be a file named *.svg, *.png, *.jpg or *.webp".to_owned(),
                ));
            }
        };
        let size = std::fs::metadata(path)
            .map_err(|e| wrong(format!("cannot be read: {e}")))?
            .len();
        if size > MAX_LOGO {
            return Err(wrong(format!(
                "has {size} bytes; a logo has at most {MAX_LOGO}"
            )));
        }
        let bytes = std::fs::read(path).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        Ok(Logo {
            content_type,
            bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const CORP: &str = "[[federation.provider]]\nid = \"corp\"\nname = \"Example Corp\"\nissuer = \"https://login.example.com\"\nclient_id = \"writ\"\n";

    fn load(toml: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("writ.toml");
        std::fs::write(&path, toml).unwrap();
        let secret = ("CORP_SECRET".to_owned(), "s3cret".to_owned());
        Config::load(Some(&path), [secret])
    }

    fn provider(more: &str) -> Provider {
        let toml = format!("{CORP}client_secret_env = \"CORP_SECRET\"\n{more}");
        load(&toml).unwrap().federation.providers.remove(0)
    }

    #[test]
    fn a_provider_needs_little_and_its_groups_are_its_own() {
        let corp = provider("");
        assert_eq!(corp.scopes, ["profile", "email"]);
        assert_eq!(corp.claims.user_name, "preferred_username");
        assert_eq!(corp.groups.prefix, "corp:");
        assert_eq!(corp.user_names, UserNames::Qualified);
        assert_eq!(corp.clock_skew, Duration::from_secs(30));
    }

    #[test]
    fn with_a_provider_the_local_directory_is_for_emergencies() {
        let federation = load("").unwrap().federation;
        assert_eq!(federation.local_directory, LocalDirectory::Offered);
        let public = format!("{CORP}client_auth = \"none\"\n");
        let federation = load(&public).unwrap().federation;
        assert_eq!(federation.local_directory, LocalDirectory::BreakGlass);
        for (written, meant) in [
            ("true", LocalDirectory::Offered),
            ("false", LocalDirectory::Closed),
            ("\"break_glass\"", LocalDirectory::BreakGlass),
        ] {
            let toml = format!("[federation]\nlocal_directory = {written}\n{public}");
            assert_eq!(load(&toml).unwrap().federation.local_directory, meant);
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!(
            "{:?}",
            load(&format!("{CORP}client_secret_env = \"CORP_SECRET\"\n")).unwrap()
        );
        assert!(!shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field_and_file() {
        let public = format!("{CORP}client_auth = \"none\"\n");
        let two = |more: &str| {
            format!(
                "{public}[[federation.provider]]\nid = \"b\"\nname = \"B\"\nissuer = \"https://b.example\"\nclient_id = \"w\"\nclient_auth = \"none\"\n{more}"
            )
        };
        let with = |from: &str, to: &str| public.replace(from, to);
        for (toml, field, problem) in [
            (
                CORP.to_owned(),
                "provider[0].client_auth",
                "client_secret_file",
            ),
            (
                with("https://login", "http://login"),
                "provider[0].issuer",
                "loopback",
            ),
            (
                with("login.example.com", "login.example.com?x"),
                "provider[0].issuer",
                "query",
            ),
            (
                with("\"corp\"", "\"a corp\""),
                "provider[0].id",
                "not a valid id",
            ),
            (
                with("\"Example Corp\"", "\"\""),
                "provider[0].name",
                "1 to 64",
            ),
            (
                with("\"none\"", "\"tls\""),
                "provider[0].client_auth",
                "client_secret_post",
            ),
            (
                format!("{public}client_secret_env = \"NONE_SUCH\""),
                "provider[0].client_secret_env",
                "not set",
            ),
            (
                format!("{public}client_secret_file = \"/none\""),
                "provider[0].client_secret_file",
                "cannot be read",
            ),
            (
                format!("{public}email_domains = [\"@x\"]"),
                "provider[0].email_domains",
                "not a domain",
            ),
            (
                format!("{public}logo = \"corp.gif\""),
                "provider[0].logo",
                "*.svg",
            ),
            (
                format!("{public}scopes = [\"a b\"]"),
                "provider[0].scopes",
                "not a scope",
            ),
            (
                format!("{public}clock_skew = \"1h\""),
                "provider[0].clock_skew",
                "between 0s and 5m",
            ),
            (format!("{public}colour = 1"), "colour", "unknown field"),
            (
                format!("{public}client_secret = \"x\""),
                "client_secret",
                "unknown field",
            ),
            (
                two("").replace("\"b\"", "\"corp\""),
                "provider[1].id",
                "another",
            ),
            (
                two("").replace("https://b.example", "https://login.example.com"),
                "provider[1].issuer",
                "another",
            ),
            (
                two("user_names = \"as_given\""),
                "provider[1].user_names",
                "alone",
            ),
            (
                "[federation]\nlocal_directory = false".to_owned(),
                "federation.local_directory",
                "needs a provider",
            ),
            (
                format!("[federation]\nlocal_directory = \"maybe\"\n{public}"),
                "federation.local_directory",
                "break_glass",
            ),
        ] {
            let message = load(&toml).unwrap_err().to_string();
            assert!(message.contains(field), "{message}");
            assert!(message.contains(problem), "{message}");
            assert!(message.contains("writ.toml"), "{message}");
        }
    }
}
