//! The claims of an access token (RFC 9068 section 2.2), typed.

use serde_json::Value as Json;
use writ_policy::input::{AgentAuthn, SubjectKind};
use writ_policy::{Object, Value};

use super::TokenError;

/// The longest identifier that a claim may hold, in bytes.
const MAX_ID: usize = 512;

/// What a token says. Nothing here is checked against the time or a registry.
#[derive(Clone, Debug)]
pub struct Claims {
    /// `iss`.
    pub issuer: String,
    /// `sub`.
    pub subject: String,
    /// Whether a person or a workload is the subject; where the issuer does not say, a token whose subject
    /// is its client is a workload's.
    pub subject_kind: SubjectKind,
    /// `aud`, one or several.
    pub audience: Vec<String>,
    /// `client_id` (RFC 9068), or `azp` where an issuer uses that.
    pub client_id: String,
    /// `scope`, split (RFC 8693 section 4.2).
    pub scopes: Vec<String>,
    /// `groups`.
    pub groups: Vec<String>,
    /// `agent_authn`: how the agent authenticated; the weakest where the issuer does not say.
    pub agent_authn: AgentAuthn,
    /// `exp`, seconds since 1970.
    pub expires: u64,
    /// `nbf`.
    pub not_before: Option<u64>,
    /// `iat`.
    pub issued_at: Option<u64>,
    /// `jti`.
    pub id: Option<String>,
    /// Whether this is a token that Writ minted for an upstream (`authorization_details` of its types, or `act`
    /// beside `txn` without the `chain` of a caller's token): good there, never here.
    pub minted: bool,
    /// `cnf.jkt`: the thumbprint of the key that whoever presents the token must hold (RFC 9449 section 6.1).
    pub bound_to: Option<String>,
    /// All other claims.
    pub others: serde_json::Map<String, serde_json::Value>,
}

impl Claims {
    pub(crate) fn read(payload: &Value) -> Result<Self, TokenError> {
        let claims = payload
            .as_object()
            .map_err(|_| TokenError::Malformed("its claims are not an object"))?;
        let issuer = required(claims, "iss", "it has no `iss`")?;
        let subject = required(claims, "sub", "it has no `sub`")?;
        let client_id = match text(claims, "client_id")? {
            Some(id) => id,
            None => required(claims, "azp", "it has no `client_id`")?,
        };
        let subject_kind = match text(claims, "subject_type")?.as_deref() {
            Some("user") => SubjectKind::User,
            Some("workload") => SubjectKind::Workload,
            Some(_) => return Err(TokenError::Malformed("its `subject_type` is unknown")),
            None if subject == client_id => SubjectKind::Workload,
            None => SubjectKind::User,
        };
        let agent_authn = match text(claims, "agent_authn")?.as_deref() {
            Some("secret") => AgentAuthn::Secret,
            Some("key") => AgentAuthn::Key,
            Some("workload") => AgentAuthn::Workload,
            Some("none") | None => AgentAuthn::None,
            Some(_) => return Err(TokenError::Malformed("its `agent_authn` is unknown")),
        };
        Ok(Self {
            subject_kind,
            audience: one_or_many(claims, "aud")?,
            scopes: text(claims, "scope")?
                .map(|scope| {
                    scope
                        .split(' ')
                        .filter(|s| !s.is_empty())
                        .map(str::to_owned)
                        .collect()
                })
                .unwrap_or_default(),
            groups: one_or_many(claims, "groups")?,
            agent_authn,
            expires: time(claims, "exp")?.ok_or(TokenError::Malformed("it has no `exp`"))?,
            not_before: time(claims, "nbf")?,
            issued_at: time(claims, "iat")?,
            id: text(claims, "jti")?,
            minted: is_minted(claims),
            bound_to: bound_to(claims)?,
            others: others(claims),
            issuer,
            subject,
            client_id,
        })
    }

    /// Whether the token is meant for `resource` (RFC 8707; compared exactly).
    #[must_use]
    pub fn is_for(&self, resource: &str) -> bool {
        self.audience.iter().any(|audience| audience == resource)
    }

    /// The ids by which the token can be taken back: its own, its grant's (`grant_id`), its transaction's (`txn`), and of what
    /// it was derived from (`derived_from`).
    pub fn origins(&self) -> impl Iterator<Item = &str> {
        let grant = self.others.get("grant_id").and_then(Json::as_str);
        let transaction = self.others.get("txn").and_then(Json::as_str);
        let derived = self.others.get("derived_from").and_then(Json::as_array);
        let derived = derived.into_iter().flatten().filter_map(Json::as_str);
        let own = self.id.as_deref().into_iter();
        own.chain(grant).chain(transaction).chain(derived)
    }

    /// Checks `exp`, `nbf` and `iat` at `now` (seconds since 1970), with `skew` seconds of tolerance.
    pub(crate) fn check_time(&self, now: u64, skew: u64) -> Result<(), TokenError> {
        if self.expires.saturating_add(skew) <= now {
            return Err(TokenError::Expired);
        }
        let ahead = now.saturating_add(skew);
        if self.not_before.is_some_and(|t| t > ahead) || self.issued_at.is_some_and(|t| t > ahead) {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }
}

/// The claims that [`Claims`] has fields for.
const KNOWN: [&str; 13] = [
    "iss",
    "sub",
    "aud",
    "client_id",
    "scope",
    "groups",
    "exp",
    "nbf",
    "iat",
    "jti",
    "subject_type",
    "agent_authn",
    "azp",
];

/// Whether [`Claims`] has a field for the claim of this name: it is then none of [`Claims::others`].
#[must_use]
pub fn is_read(name: &str) -> bool {
    KNOWN.contains(&name)
}

fn get<'a>(claims: &'a Object, name: &str) -> Option<&'a Value> {
    claims.get(&Value::from(name))
}

fn text(claims: &Object, name: &str) -> Result<Option<String>, TokenError> {
    match get(claims, name) {
        None => Ok(None),
        Some(Value::String(text)) if text.len() <= MAX_ID || name == "scope" => {
            Ok(Some(text.to_string()))
        }
        Some(_) => Err(TokenError::Malformed(
            "a claim is not a string of acceptable length",
        )),
    }
}

fn required(claims: &Object, name: &str, problem: &'static str) -> Result<String, TokenError> {
    text(claims, name)?
        .filter(|text| !text.is_empty())
        .ok_or(TokenError::Malformed(problem))
}

fn one_or_many(claims: &Object, name: &str) -> Result<Vec<String>, TokenError> {
    let wrong = TokenError::Malformed("`aud` or `groups` is not a list of strings");
    match get(claims, name) {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.to_string()]),
        Some(Value::Array(many)) => many
            .iter()
            .map(|value| match value {
                Value::String(text) => Ok(text.to_string()),
                _ => Err(wrong.clone()),
            })
            .collect(),
        Some(_) => Err(wrong),
    }
}

/// A NumericDate (RFC 7519 section 2); fractions of a second are dropped.
fn time(claims: &Object, name: &str) -> Result<Option<u64>, TokenError> {
    match get(claims, name) {
        None => Ok(None),
        Some(Value::Number(number)) => number
            .floor()
            .as_u64()
            .map(Some)
            .ok_or(TokenError::Malformed("a time is out of range")),
        Some(_) => Err(TokenError::Malformed("a time is not a number")),
    }
}

fn is_minted(claims: &Object) -> bool {
    let by_details = match get(claims, "authorization_details") {
        Some(Value::Array(details)) => details.iter().any(|detail| {
            let kind = detail.as_object().ok().and_then(|detail| detail.get(&Value::from("type")));
            matches!(kind, Some(Value::String(kind)) if matches!(kind.as_ref(), "mcp_request" | "mcp_discovery"))
        }),
        _ => false,
    };
    // A server that calls the next server has a caller's token with both `act` and `txn`, and `chain` beside them.
    let has = |name| get(claims, name).is_some();
    by_details || (has("act") && has("txn") && !has("chain"))
}

/// What cannot be checked here must not be passed over: the token would be good for anybody.
fn bound_to(claims: &Object) -> Result<Option<String>, TokenError> {
    let wrong = TokenError::Malformed("it is bound by `cnf` to something other than a DPoP key");
    match get(claims, "cnf") {
        None => Ok(None),
        Some(Value::Object(cnf)) if cnf.len() == 1 => text(cnf, "jkt")?.map(Some).ok_or(wrong),
        Some(_) => Err(wrong),
    }
}

fn others(claims: &Object) -> serde_json::Map<String, serde_json::Value> {
    claims
        .iter()
        .filter_map(|(name, value)| match name {
            Value::String(name) if !is_read(name) => {
                Some((name.to_string(), serde_json::to_value(value).ok()?))
            }
            _ => None,
        })
        .collect()
}
