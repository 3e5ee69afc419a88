//! Identity assertion authorization grants (draft-ietf-oauth-identity-assertion-authz-grant): an enterprise's identity
//! provider says that a client may act for one of its people here, without anybody being asked again.

use jiff::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::{
    dpop::Confirmation,
    jws::{self, Jws, JwsError},
    remote_keys::{KeyPlace, KeysError},
};
use crate::{app::App, clock::unix, config::federation::Provider};

/// The value of `authorization_grant_profiles_supported` (section 7.2).
pub const PROFILE: &str = "urn:ietf:params:oauth:grant-profile:id-jag";

/// The `typ` that keeps it apart from every other JWT of the provider (section 3.1).
const TYPE: &str = "oauth-id-jag+jwt";
const MAX_JTI_BYTES: usize = 256;
const MAX_SUBJECT_BYTES: usize = 255;
/// How far ahead `exp` may lie, in seconds: for so long it must be remembered that it was used.
const MAX_LIFE_S: u64 = 3600;

/// Why a grant is refused. The text is for the client's developer.
#[derive(Debug, thiserror::Error)]
pub enum IdJagError {
    /// RFC 7515, RFC 8725.
    #[error("the assertion {0}")]
    Form(#[from] JwsError),
    /// Section 4.4.1.
    #[error("the assertion's typ must be {TYPE}: no other JWT of the provider is a grant")]
    Type,
    /// RFC 7523 section 3, point 1.
    #[error("the assertion is of no identity provider whose grants are taken here")]
    Issuer,
    /// RFC 7523 section 3, point 3.
    #[error("aud of the assertion must be the issuer identifier of this service and nothing else")]
    Audience,
    /// Section 4.4.1.
    #[error("client_id of the assertion must be the client that authenticated")]
    Client,
    /// RFC 7523 section 3, point 2.
    #[error("the assertion needs a sub of at most {MAX_SUBJECT_BYTES} bytes")]
    Subject,
    /// RFC 7523 section 3, points 4 to 6.
    #[error(
        "the assertion has expired, is not valid yet, does not say when it was made, or lives for more than an hour"
    )]
    Time,
    /// RFC 7523 section 3, point 7.
    #[error("the assertion needs a jti of at most {MAX_JTI_BYTES} bytes")]
    Jti,
    /// RFC 8707.
    #[error("resource of the assertion must be the one server that the token is for")]
    Resource,
    /// RFC 6749 section 3.3.
    #[error("scope of the assertion must be text")]
    Scope,
    /// RFC 7800.
    #[error("the assertion is bound to a key: send a DPoP proof of that key")]
    Key,
    /// RFC 7523 section 3, point 9.
    #[error("the assertion's signature does not verify with any key of its provider")]
    Signature,
    /// The provider's keys cannot be had.
    #[error("the provider's keys are not available")]
    Keys(#[from] KeysError),
}

/// A grant that verified. It must still be used up.
#[derive(Debug)]
pub struct IdJag<'a> {
    /// Whose it is.
    pub provider: &'a Provider,
    /// Who the client may act for, as the provider knows them.
    pub subject: String,
    /// The server.
    pub resource: String,
    /// What was granted, separated by spaces; nothing where it does not say.
    pub scope: String,
    /// All that the provider says.
    pub claims: Map<String, Value>,
    /// When it was made.
    pub issued_at: Timestamp,
    /// From then on it is dead by itself.
    pub expires_at: Timestamp,
    /// Names it in the store: a digest over issuer and `jti`.
    pub digest: [u8; 32],
}

impl<'a> IdJag<'a> {
    /// Verifies a grant for the client `client_id`, which has proved `key`.
    ///
    /// # Errors
    /// See [`IdJagError`].
    pub async fn verify(
        app: &'a App,
        text: &str,
        client_id: &str,
        key: Option<&Confirmation>,
        now: Timestamp,
    ) -> Result<Self, IdJagError> {
        let issuer = jws::claimed(text, "iss").ok_or(JwsError::NotAJwt)?;
        let jws = Jws::read(text)?;
        if jws.typ() != Some(TYPE) {
            return Err(IdJagError::Type);
        }
        let mut providers = app.config.federation.providers.iter();
        let provider = providers
            .find(|provider| provider.id_jag && provider.issuer == issuer)
            .ok_or(IdJagError::Issuer)?;
        if !jws.is_only_for(&app.config.issuer) {
            return Err(IdJagError::Audience);
        }
        if jws.text("client_id") != Some(client_id) {
            return Err(IdJagError::Client);
        }
        let subject = bounded(&jws, "sub", MAX_SUBJECT_BYTES).ok_or(IdJagError::Subject)?;
        let jti = bounded(&jws, "jti", MAX_JTI_BYTES).ok_or(IdJagError::Jti)?;
        let dead_at = jws.dead_at(unix(now), MAX_LIFE_S).ok_or(IdJagError::Time)?;
        let time = |seconds: u64| Timestamp::from_second(i64::try_from(seconds).ok()?).ok();
        let issued_at = jws.claim("iat").and_then(Value::as_u64).and_then(time);
        let scope = match jws.claim("scope") {
            None => String::new(),
            Some(scope) => scope.as_str().ok_or(IdJagError::Scope)?.to_owned(),
        };
        if let Some(cnf) = jws.claim("cnf") {
            let bound = serde_json::from_value::<Confirmation>(cnf.clone());
            // What cannot be checked must not be passed over.
            if key != Some(&bound.map_err(|_| IdJagError::Key)?) {
                return Err(IdJagError::Key);
            }
        }
        let granted = Self {
            provider,
            resource: resource(&jws).ok_or(IdJagError::Resource)?.to_owned(),
            digest: digest(&issuer, jti),
            issued_at: issued_at.ok_or(IdJagError::Time)?,
            expires_at: time(dead_at).ok_or(IdJagError::Time)?,
            subject: subject.to_owned(),
            scope,
            claims: jws.claims().clone(),
        };
        let place = KeyPlace::Discovered(issuer);
        let keys = app.remote_keys.at(&place, jws.kid(), now).await?;
        if jws.verifies_with(&keys, now) {
            Ok(granted)
        } else {
            Err(IdJagError::Signature)
        }
    }
}

fn bounded<'a>(jws: &'a Jws<'_>, name: &str, most: usize) -> Option<&'a str> {
    jws.text(name)
        .filter(|text| (1..=most).contains(&text.len()))
}

/// The one resource of the grant: a token is for one server.
fn resource<'a>(jws: &'a Jws<'_>) -> Option<&'a str> {
    match jws.claim("resource")? {
        Value::String(one) => Some(one),
        Value::Array(all) => match all.as_slice() {
            [Value::String(one)] => Some(one),
            _ => None,
        },
        _ => None,
    }
}

/// An issuer is a URL, which has no zero byte in it.
fn digest(issuer: &str, jti: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"id-jag\0");
    hash.update(issuer.as_bytes());
    hash.update([0]);
    hash.update(jti.as_bytes());
    hash.finalize().into()
}
