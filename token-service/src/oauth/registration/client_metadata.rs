//! What a client says about itself (RFC 7591 section 2, OpenID Connect Dynamic Client Registration section 2), checked as a
//! whole; and the same said back, to the client and to the policy.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::{
    audit::printable,
    config::is_loopback_host,
    oauth::{assertion, scope},
    registry::{
        Agent, ApplicationType, AuthMethod, ClientMetadata, Grant, RedirectUri, check_identifier,
    },
};

const MAX_NAME: usize = 128;
const MAX_TEXT: usize = 256;
const MAX_URI: usize = 2048;
const MAX_SCOPE: usize = 1024;
/// More redirect URIs or contacts than a client has a use for.
const MAX_LIST: usize = 16;

/// The grants that a client may register for itself.
const GRANTS: [Grant; 3] = [
    Grant::AuthorizationCode,
    Grant::RefreshToken,
    Grant::ClientCredentials,
];

/// Why metadata is refused.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// RFC 7591 section 3.2.2, `invalid_redirect_uri`.
    #[error("{0}")]
    RedirectUri(String),
    /// RFC 7591 section 3.2.2, `invalid_client_metadata`.
    #[error("{field}: {problem}")]
    Field {
        /// Which member.
        field: &'static str,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// RFC 7591 section 2.3: nobody's statements are trusted here.
    #[error("software statements are not accepted here")]
    SoftwareStatement,
}

pub(super) fn wrong(field: &'static str, problem: impl Into<String>) -> MetadataError {
    MetadataError::Field {
        field,
        problem: problem.into(),
    }
}

/// How a client's metadata comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The client sends it (RFC 7591).
    Request,
    /// It is published, so that nothing in it can be a secret (Client ID Metadata Documents section 4.1).
    Document,
}

/// The members as they are sent. What is not known is ignored (RFC 7591 section 2).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    client_name: Option<String>,
    redirect_uris: Option<Vec<String>>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    token_endpoint_auth_method: Option<String>,
    application_type: Option<ApplicationType>,
    scope: Option<String>,
    contacts: Option<Vec<String>>,
    client_uri: Option<String>,
    logo_uri: Option<String>,
    tos_uri: Option<String>,
    policy_uri: Option<String>,
    jwks: Option<Value>,
    jwks_uri: Option<String>,
    software_id: Option<String>,
    software_version: Option<String>,
    software_statement: Option<Value>,
    default_resource: Option<String>,
    post_logout_redirect_uris: Option<Vec<String>>,
    dpop_bound_access_tokens: Option<bool>,
    require_pushed_authorization_requests: Option<bool>,
}

/// Metadata that is in order, as a whole.
#[derive(Clone, Debug)]
pub struct CheckedClient {
    name: String,
    auth: AuthMethod,
    jwks: Option<Value>,
    jwks_uri: Option<String>,
    redirect_uris: Vec<RedirectUri>,
    grants: Vec<Grant>,
    metadata: ClientMetadata,
}

impl CheckedClient {
    /// Checks metadata.
    ///
    /// # Errors
    /// Each names the member.
    pub fn check(members: Map<String, Value>, source: Source) -> Result<Self, MetadataError> {
        let raw: Raw = serde_json::from_value(Value::Object(members))
            .map_err(|e| wrong("metadata", e.to_string()))?;
        if raw.software_statement.is_some() {
            return Err(MetadataError::SoftwareStatement);
        }
        let (auth, secret_in_body) = auth(raw.token_endpoint_auth_method.as_deref(), source)?;
        let grants = grants(raw.grant_types, raw.response_types, auth)?;
        let redirect_uris = redirect_uris("redirect_uris", raw.redirect_uris.unwrap_or_default())?;
        let for_people = grants.contains(&Grant::AuthorizationCode);
        if for_people && redirect_uris.is_empty() {
            return Err(MetadataError::RedirectUri(
                "redirect_uris is missing: the grant authorization_code needs somewhere the answer may go".to_owned(),
            ));
        }
        let application_type = application_type(raw.application_type, &redirect_uris)?;
        let (jwks, jwks_uri) = keys(auth, raw.jwks, raw.jwks_uri)?;
        let logout = redirect_uris_of_logout(raw.post_logout_redirect_uris)?;
        Ok(Self {
            name: text("client_name", raw.client_name, MAX_NAME)?
                .unwrap_or_else(|| "An application without a name".to_owned()),
            auth,
            jwks,
            jwks_uri,
            redirect_uris,
            grants,
            metadata: ClientMetadata {
                application_type,
                client_uri: https("client_uri", raw.client_uri)?,
                logo_uri: https("logo_uri", raw.logo_uri)?,
                tos_uri: https("tos_uri", raw.tos_uri)?,
                policy_uri: https("policy_uri", raw.policy_uri)?,
                contacts: contacts(raw.contacts)?,
                software_id: text("software_id", raw.software_id, MAX_TEXT)?,
                software_version: text("software_version", raw.software_version, MAX_TEXT)?,
                scope: scope(raw.scope)?,
                default_resource: raw
                    .default_resource
                    .map(|given| check_identifier("default_resource", &given))
                    .transpose()
                    .map_err(|e| wrong("default_resource", e.to_string()))?,
                post_logout_redirect_uris: logout,
                secret_in_body,
                dpop_bound_access_tokens: raw.dpop_bound_access_tokens.unwrap_or_default(),
                require_pushed_authorization_requests: raw
                    .require_pushed_authorization_requests
                    .unwrap_or_default(),
            },
        })
    }

    /// How it is going to authenticate.
    #[must_use]
    pub fn auth(&self) -> AuthMethod {
        self.auth
    }

    /// Makes `agent` what the metadata says: every member is replaced, those that are absent included.
    pub fn apply(self, agent: &mut Agent) {
        agent.name = self.name;
        agent.auth = self.auth;
        agent.jwks = self.jwks;
        agent.jwks_uri = self.jwks_uri;
        agent.workload = None;
        agent.redirect_uris = self.redirect_uris;
        agent.grants = self.grants;
        agent.metadata = self.metadata;
        if self.auth != AuthMethod::Secret {
            agent.secret = None;
        }
    }
}

fn auth(given: Option<&str>, source: Source) -> Result<(AuthMethod, bool), MetadataError> {
    const FIELD: &str = "token_endpoint_auth_method";
    let method = given.unwrap_or(match source {
        // RFC 7591 section 2.
        Source::Request => "client_secret_basic",
        Source::Document => "none",
    });
    match (method, source) {
        ("none", _) => Ok((AuthMethod::None, false)),
        ("private_key_jwt", _) => Ok((AuthMethod::Key, false)),
        ("client_secret_basic", Source::Request) => Ok((AuthMethod::Secret, false)),
        ("client_secret_post", Source::Request) => Ok((AuthMethod::Secret, true)),
        (_, Source::Document) => Err(wrong(
            FIELD,
            "a published document can have no secret: use none or private_key_jwt",
        )),
        (_, Source::Request) => Err(wrong(
            FIELD,
            "use none, client_secret_basic, client_secret_post or private_key_jwt",
        )),
    }
}

fn grants(
    given: Option<Vec<String>>,
    responses: Option<Vec<String>>,
    auth: AuthMethod,
) -> Result<Vec<Grant>, MetadataError> {
    const FIELD: &str = "grant_types";
    // RFC 7591 section 2.
    let given = given.unwrap_or_else(|| vec!["authorization_code".to_owned()]);
    let mut grants = Vec::with_capacity(given.len().min(GRANTS.len()));
    for word in &given {
        match GRANTS.into_iter().find(|grant| grant.as_str() == word) {
            Some(grant) if grants.contains(&grant) => {}
            Some(grant) => grants.push(grant),
            None => {
                let known = GRANTS.map(|grant| grant.as_str()).join(", ");
                return Err(wrong(
                    FIELD,
                    format!("those that are registered here are {known}"),
                ));
            }
        }
    }
    if grants.is_empty() {
        return Err(wrong(
            FIELD,
            "the client could do nothing; ask for authorization_code",
        ));
    }
    if grants.contains(&Grant::RefreshToken) && !grants.contains(&Grant::AuthorizationCode) {
        return Err(wrong(
            FIELD,
            "refresh_token goes with authorization_code: there is nothing else to go on with",
        ));
    }
    if grants.contains(&Grant::ClientCredentials) && auth == AuthMethod::None {
        return Err(wrong(
            FIELD,
            "client_credentials needs a client that authenticates: anybody could claim to be this one",
        ));
    }
    let for_people = grants.contains(&Grant::AuthorizationCode);
    match responses {
        None => {}
        Some(words) if words.iter().all(|w| w == "code") && for_people != words.is_empty() => {}
        Some(_) => {
            return Err(wrong(
                "response_types",
                "it must be [\"code\"] with the grant authorization_code, and [] without it",
            ));
        }
    }
    Ok(grants)
}

fn redirect_uris(
    field: &'static str,
    given: Vec<String>,
) -> Result<Vec<RedirectUri>, MetadataError> {
    if given.len() > MAX_LIST {
        return Err(MetadataError::RedirectUri(format!(
            "{field} has more than {MAX_LIST} entries"
        )));
    }
    given
        .iter()
        .map(|uri| RedirectUri::parse(uri))
        .collect::<Result<_, _>>()
        .map_err(|e| MetadataError::RedirectUri(e.to_string()))
}

fn redirect_uris_of_logout(given: Option<Vec<String>>) -> Result<Vec<String>, MetadataError> {
    let checked = redirect_uris("post_logout_redirect_uris", given.unwrap_or_default())?;
    Ok(checked.into_iter().map(|uri| uri.to_string()).collect())
}

/// OpenID Connect Dynamic Client Registration section 2: a web application's answers go over https. Where nothing is said, the
/// redirect URIs do: clients older than the rule leave the member out and listen on loopback.
fn application_type(
    given: Option<ApplicationType>,
    redirect_uris: &[RedirectUri],
) -> Result<ApplicationType, MetadataError> {
    let native = redirect_uris
        .iter()
        .find(|uri| !uri.as_str().starts_with("https:"));
    match (given, native) {
        (None, None) => Ok(ApplicationType::Web),
        (None, Some(_)) => Ok(ApplicationType::Native),
        (Some(ApplicationType::Web), Some(uri)) => Err(MetadataError::RedirectUri(format!(
            "{uri} is no redirect URI of a web application; register with application_type native"
        ))),
        (Some(given), _) => Ok(given),
    }
}

fn keys(
    auth: AuthMethod,
    jwks: Option<Value>,
    jwks_uri: Option<String>,
) -> Result<(Option<Value>, Option<String>), MetadataError> {
    match (auth, jwks, jwks_uri) {
        (AuthMethod::Key, Some(jwks), None) => {
            let private = |key: &Value| ["d", "k", "p", "q"].iter().any(|m| key.get(m).is_some());
            let keys = jwks.get("keys").and_then(Value::as_array);
            if keys.is_some_and(|keys| keys.iter().any(private)) {
                let told = "there is a private or symmetric key in it: throw it away, and send the public key only";
                return Err(wrong("jwks", told));
            }
            assertion::check_jwks(&jwks).map_err(|e| wrong("jwks", e.to_string()))?;
            Ok((Some(jwks), None))
        }
        (AuthMethod::Key, None, Some(uri)) => Ok((None, https("jwks_uri", Some(uri))?)),
        (AuthMethod::Key, _, _) => Err(wrong(
            "jwks",
            "private_key_jwt needs jwks or jwks_uri, and not both",
        )),
        (_, None, None) => Ok((None, None)),
        _ => Err(wrong(
            "jwks",
            "jwks and jwks_uri go with private_key_jwt only",
        )),
    }
}

/// Text that people read: short, and without anything that would disguise it.
pub(super) fn text(
    field: &'static str,
    given: Option<String>,
    most: usize,
) -> Result<Option<String>, MetadataError> {
    let Some(given) = given else { return Ok(None) };
    if given.trim().is_empty() || given.len() > most || printable(&given) != given {
        return Err(wrong(
            field,
            format!("it has 1 to {most} bytes and no control or direction characters"),
        ));
    }
    Ok(Some(given))
}

fn https(field: &'static str, given: Option<String>) -> Result<Option<String>, MetadataError> {
    let Some(given) = given else { return Ok(None) };
    let fits = Url::parse(&given).is_ok_and(|url| {
        url.scheme() == "https" && url.username().is_empty() && url.password().is_none()
    });
    if fits && given.len() <= MAX_URI && given.chars().all(|c| c.is_ascii_graphic()) {
        Ok(Some(given))
    } else {
        Err(wrong(field, "it must be an https URL"))
    }
}

fn contacts(given: Option<Vec<String>>) -> Result<Vec<String>, MetadataError> {
    let given = given.unwrap_or_default();
    if given.len() > MAX_LIST {
        return Err(wrong("contacts", format!("there are more than {MAX_LIST}")));
    }
    given
        .into_iter()
        .filter_map(|contact| text("contacts", Some(contact), MAX_TEXT).transpose())
        .collect()
}

fn scope(given: Option<String>) -> Result<Option<String>, MetadataError> {
    let Some(given) = given.filter(|given| !given.is_empty()) else {
        return Ok(None);
    };
    if given.len() <= MAX_SCOPE && given.split(' ').all(scope::is_scope_token) {
        Ok(Some(given))
    } else {
        Err(wrong(
            "scope",
            "it must be words of printable ASCII separated by single spaces",
        ))
    }
}

/// A client's metadata as it is registered. Every member is there: a rule about one that was left out still sees it.
#[derive(Debug, Serialize)]
pub struct Registered<'a> {
    client_id: &'a str,
    client_name: &'a str,
    redirect_uris: &'a [RedirectUri],
    grant_types: Vec<&'static str>,
    response_types: &'static [&'static str],
    token_endpoint_auth_method: &'static str,
    application_type: ApplicationType,
    scope: Option<&'a str>,
    contacts: &'a [String],
    client_uri: Option<&'a str>,
    logo_uri: Option<&'a str>,
    tos_uri: Option<&'a str>,
    policy_uri: Option<&'a str>,
    jwks: Option<&'a Value>,
    jwks_uri: Option<&'a str>,
    software_id: Option<&'a str>,
    software_version: Option<&'a str>,
    default_resource: Option<&'a str>,
    post_logout_redirect_uris: &'a [String],
    dpop_bound_access_tokens: bool,
    require_pushed_authorization_requests: bool,
}

impl<'a> Registered<'a> {
    /// What `agent` is registered with.
    #[must_use]
    pub fn of(agent: &'a Agent) -> Self {
        let said = &agent.metadata;
        Self {
            client_id: agent.id.as_str(),
            client_name: &agent.name,
            redirect_uris: &agent.redirect_uris,
            grant_types: agent.grants.iter().map(|grant| grant.as_str()).collect(),
            response_types: if agent.grants.contains(&Grant::AuthorizationCode) {
                &["code"]
            } else {
                &[]
            },
            token_endpoint_auth_method: match agent.auth {
                AuthMethod::None => "none",
                AuthMethod::Secret if said.secret_in_body => "client_secret_post",
                AuthMethod::Secret => "client_secret_basic",
                AuthMethod::Key | AuthMethod::Workload => "private_key_jwt",
            },
            application_type: said.application_type,
            scope: said.scope.as_deref(),
            contacts: &said.contacts,
            client_uri: said.client_uri.as_deref(),
            logo_uri: said.logo_uri.as_deref(),
            tos_uri: said.tos_uri.as_deref(),
            policy_uri: said.policy_uri.as_deref(),
            jwks: agent.jwks.as_ref(),
            jwks_uri: agent.jwks_uri.as_deref(),
            software_id: said.software_id.as_deref(),
            software_version: said.software_version.as_deref(),
            default_resource: said.default_resource.as_deref(),
            post_logout_redirect_uris: &said.post_logout_redirect_uris,
            dpop_bound_access_tokens: said.dpop_bound_access_tokens,
            require_pushed_authorization_requests: said.require_pushed_authorization_requests,
        }
    }
}

/// Somewhere that the client has browsers sent to, taken apart, so that no policy has to: rules about parts of a text are easily fooled.
#[derive(Debug, Serialize)]
pub struct Redirect {
    uri: String,
    scheme: String,
    host: Option<String>,
    port: Option<u16>,
    /// Whether the browser stays on the user's own computer.
    loopback: bool,
}

impl Redirect {
    /// All of a client's: where its answers go, and where people are sent who have signed out.
    #[must_use]
    pub fn all(of: &Agent) -> Vec<Self> {
        let answers = of.redirect_uris.iter().map(RedirectUri::as_str);
        let after = of.metadata.post_logout_redirect_uris.iter();
        answers
            .chain(after.map(String::as_str))
            .filter_map(|uri| {
                let url = Url::parse(uri).ok()?;
                Some(Self {
                    uri: uri.to_owned(),
                    scheme: url.scheme().to_owned(),
                    host: url.host_str().map(str::to_owned),
                    port: url.port_or_known_default(),
                    loopback: matches!(url.scheme(), "http" | "https") && is_loopback_host(&url),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
