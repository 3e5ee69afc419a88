//! Attested identities as client authentication: what a platform says a workload is, instead of a secret of its own.
//!
//! A JWT-SVID (draft-ietf-oauth-spiffe-client-auth section 3.1) or a Kubernetes service-account token (RFC 7523 section 3).
//! Whose word counts is the configuration's to say, each for its own trust domain or cluster only. Both kinds are used
//! more than once by design, so that no replay is looked for: they live for minutes, and are for this issuer alone.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    jws::{self, Jws, JwsError},
    remote_keys::KeysError,
};
use crate::{
    app::App,
    clock::unix,
    config::{Cluster, TrustDomain},
    registry::{Workload, trust_domain},
};

/// The value of `client_assertion_type` for a JWT-SVID.
pub const SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// How far ahead `exp` may lie, in seconds: longer than platforms let such tokens live.
const MAX_LIFE_S: u64 = 24 * 3600;

/// Why what a platform says is not taken. The text is for whoever runs the workload.
#[derive(Debug, thiserror::Error)]
pub enum AttestationError {
    /// RFC 7515, RFC 8725.
    #[error("the {0} {1}")]
    Form(&'static str, JwsError),
    /// JWT-SVID standard, section 2.3; RFC 8725 section 3.11.
    #[error("the {0}'s typ, where there is one, must be JWT")]
    Type(&'static str),
    /// JWT-SVID standard, section 3.1.
    #[error("the JWT-SVID's sub must be a SPIFFE ID of a workload")]
    SpiffeId,
    /// SPIFFE trust domain and bundle standard, section 3.
    #[error("the JWT-SVID is of a trust domain that is not trusted here")]
    TrustDomain,
    /// Kubernetes names service accounts so.
    #[error("the token's sub must be system:serviceaccount:NAMESPACE:NAME")]
    ServiceAccount,
    /// draft-ietf-oauth-rfc7523bis section 4.
    #[error(
        "aud of the {0} must be the issuer identifier of this service and nothing else: ask the platform for one with that audience"
    )]
    Audience(&'static str),
    /// RFC 7523 section 3, points 4 to 6.
    #[error("the {0} has expired, is not valid yet, or lives for more than a day")]
    Time(&'static str),
    /// RFC 7523 section 3, point 9.
    #[error("the {0}'s signature does not verify with any key of its platform")]
    Signature(&'static str),
    /// The platform's keys cannot be had.
    #[error("the platform's keys are not available")]
    Keys(#[from] KeysError),
}

const SVID: &str = "JWT-SVID";
const ACCOUNT_TOKEN: &str = "service-account token";

/// The workload that a JWT-SVID is of.
///
/// # Errors
/// See [`AttestationError`].
pub async fn spiffe(app: &App, text: &str, now: Timestamp) -> Result<Workload, AttestationError> {
    let jws = read(app, text, SVID, now)?;
    let id = jws.text("sub").unwrap_or_default();
    let domain = trust_domain(id).ok_or(AttestationError::SpiffeId)?;
    let TrustDomain { bundle, .. } = app
        .config
        .workloads
        .spiffe
        .iter()
        .find(|trusted| trusted.name == domain)
        .ok_or(AttestationError::TrustDomain)?;
    let keys = app.remote_keys.at(bundle, jws.kid(), now).await?;
    let keys: Vec<Value> = keys.iter().filter_map(svid_key).collect();
    if !jws.verifies_with(&keys, now) {
        return Err(AttestationError::Signature(SVID));
    }
    Workload::spiffe(id).map_err(|_| AttestationError::SpiffeId)
}

/// The cluster whose service-account token a client assertion claims to be.
#[must_use]
pub fn claimed_cluster<'a>(app: &'a App, text: &str) -> Option<&'a Cluster> {
    let issuer = jws::claimed(text, "iss")?;
    let mut clusters = app.config.workloads.kubernetes.iter();
    clusters.find(|cluster| cluster.issuer == issuer)
}

/// The service account that a token of this cluster is of.
///
/// # Errors
/// See [`AttestationError`].
pub async fn kubernetes(
    app: &App,
    cluster: &Cluster,
    text: &str,
    now: Timestamp,
) -> Result<Workload, AttestationError> {
    let jws = read(app, text, ACCOUNT_TOKEN, now)?;
    let subject = jws.text("sub").unwrap_or_default();
    let workload = Workload::kubernetes(&cluster.issuer, subject)
        .map_err(|_| AttestationError::ServiceAccount)?;
    let keys = app.remote_keys.at(&cluster.keys, jws.kid(), now).await?;
    if jws.text("iss") == Some(&cluster.issuer) && jws.verifies_with(&keys, now) {
        Ok(workload)
    } else {
        Err(AttestationError::Signature(ACCOUNT_TOKEN))
    }
}

/// What holds for both kinds, before any key is asked for.
fn read<'a>(
    app: &App,
    text: &'a str,
    kind: &'static str,
    now: Timestamp,
) -> Result<Jws<'a>, AttestationError> {
    let jws = Jws::read(text).map_err(|e| AttestationError::Form(kind, e))?;
    if !matches!(jws.typ(), None | Some("JWT")) {
        return Err(AttestationError::Type(kind));
    }
    if !jws.is_only_for(&app.config.issuer) {
        return Err(AttestationError::Audience(kind));
    }
    jws.dead_at(unix(now), MAX_LIFE_S)
        .ok_or(AttestationError::Time(kind))?;
    Ok(jws)
}

/// A key of a trust bundle that JWT-SVIDs are signed with, as an ordinary signature key (SPIFFE trust domain and bundle
/// standard, section 4.2.2). The others in a bundle are certificate authorities.
fn svid_key(jwk: &Value) -> Option<Value> {
    let mut members = jwk.as_object()?.clone();
    match members.remove("use") {
        Some(Value::String(purpose)) if purpose == "jwt-svid" => Some(Value::Object(members)),
        _ => None,
    }
}

/// Whether a key of a trust bundle is one that a JWT-SVID can be checked with here.
pub(crate) fn is_svid_key(jwk: &Value) -> bool {
    svid_key(jwk).is_some_and(|jwk| jws::is_public_key(&jwk))
}
