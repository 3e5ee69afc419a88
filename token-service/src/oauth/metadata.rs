//! Where everything is (RFC 8414), and the keys that verify tokens (RFC 7517).

use axum::{
    Json,
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::IntoResponse,
};
use serde_json::{Value, json};

use super::{OAuthError, dpop, id_jag, openid::IdentityScope};
use crate::{app::SharedApp, config::Config, keys::Algorithm, registry::Grant};

/// The endpoints of an issuer: below its path where it has one.
#[derive(Clone, Copy, Debug)]
pub struct Endpoints<'a> {
    issuer: &'a str,
    path: &'a str,
}

impl<'a> Endpoints<'a> {
    /// The endpoints of this issuer identifier, which is an origin and maybe a path without a slash at its end.
    #[must_use]
    pub fn of(issuer: &'a str) -> Self {
        let after_scheme = issuer.find("://").map_or(0, |at| at + 3);
        let path = issuer
            .get(after_scheme..)
            .and_then(|rest| rest.find('/'))
            .and_then(|at| issuer.get(after_scheme + at..))
            .unwrap_or_default();
        Self { issuer, path }
    }

    /// The request path of an endpoint.
    #[must_use]
    pub fn path(&self, endpoint: &str) -> String {
        format!("{}{endpoint}", self.path)
    }

    /// The request path of the metadata: the well-known segment comes before the issuer's path (RFC 8414 section 3.1).
    #[must_use]
    pub fn metadata_path(&self) -> String {
        self.well_known("oauth-authorization-server")
    }

    /// The request path of another well-known document, which lies before the issuer's path likewise.
    #[must_use]
    pub fn well_known(&self, document: &str) -> String {
        format!("/.well-known/{document}{}", self.path)
    }

    /// The request paths of the same document for OpenID Connect: after the issuer's path (Discovery section 4), and for
    /// clients that look as RFC 8414 section 5 says, before it.
    #[must_use]
    pub fn openid_paths(&self) -> Vec<String> {
        let mut paths = vec![self.path("/.well-known/openid-configuration")];
        if !self.path.is_empty() {
            paths.push(self.well_known("openid-configuration"));
        }
        paths
    }

    /// The URL of an endpoint.
    #[must_use]
    pub fn url(&self, endpoint: &str) -> String {
        format!("{}{endpoint}", self.issuer)
    }
}

/// Public documents.
const PUBLIC: [(HeaderName, HeaderValue); 1] = [(
    header::CACHE_CONTROL,
    HeaderValue::from_static("public, max-age=300"),
)];

/// `GET /.well-known/oauth-authorization-server`.
#[utoipa::path(
    get,
    path = "/.well-known/oauth-authorization-server",
    operation_id = "metadata",
    summary = "Where everything is (RFC 8414)",
    responses((status = 200, description = "The metadata", body = crate::openapi::schemas::Metadata), crate::openapi::schemas::Refused)
)]
pub async fn metadata(State(app): State<SharedApp>) -> impl IntoResponse {
    (PUBLIC, Json(document(&app.config)))
}

/// The metadata of an issuer with this configuration.
#[must_use]
pub fn document(config: &Config) -> Value {
    let at = Endpoints::of(&config.issuer);
    let signing = Algorithm::ALL.map(Algorithm::name);
    json!({
        "issuer": config.issuer,
        "authorization_endpoint": at.url("/oauth/authorize"),
        "token_endpoint": at.url("/oauth/token"),
        "end_session_endpoint": at.url("/oauth/logout"),
        "jwks_uri": at.url("/oauth/jwks"),
        "userinfo_endpoint": at.url("/oauth/userinfo"),
        "scopes_supported": IdentityScope::ALL.map(IdentityScope::word),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [config.tokens.signing_alg.name()],
        "claim_types_supported": ["normal"],
        "claims_supported": CLAIMS,
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "pushed_authorization_request_endpoint": at.url("/oauth/par"),
        "require_pushed_authorization_requests": false,
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "revocation_endpoint": at.url("/oauth/revoke"),
        "introspection_endpoint": at.url("/oauth/introspect"),
        "registration_endpoint": at.url("/oauth/register"),
        "client_id_metadata_document_supported": config.registration.client_documents.is_some(),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": grant_types(config),
        "authorization_grant_profiles_supported": grant_profiles(config),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "token_endpoint_auth_methods_supported": auth_methods(config),
        "dpop_signing_alg_values_supported": dpop::ALGORITHMS,
        "token_endpoint_auth_signing_alg_values_supported": signing,
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic"],
    })
}

/// What may be said about a user and their sign-in (OpenID Connect Discovery section 3).
const CLAIMS: [&str; 15] = [
    "iss",
    "sub",
    "aud",
    "azp",
    "exp",
    "iat",
    "auth_time",
    "nonce",
    "at_hash",
    "sid",
    "preferred_username",
    "name",
    "email",
    "email_verified",
    "groups",
];

fn grant_types(config: &Config) -> Vec<&'static str> {
    let mut grants = vec![
        Grant::AuthorizationCode,
        Grant::RefreshToken,
        Grant::ClientCredentials,
        Grant::TokenExchange,
    ];
    if !grant_profiles(config).is_empty() {
        grants.push(Grant::JwtBearer);
    }
    grants.into_iter().map(Grant::as_str).collect()
}

/// What assertions the JWT bearer grant takes, where an identity provider's are taken at all
/// (draft-ietf-oauth-identity-assertion-authz-grant section 7.2).
fn grant_profiles(config: &Config) -> &'static [&'static str] {
    if config.federation.providers.iter().any(|p| p.id_jag) {
        &[id_jag::PROFILE]
    } else {
        &[]
    }
}

/// How clients may authenticate at the token endpoint; by a JWT-SVID (draft-ietf-oauth-spiffe-client-auth section 4) where
/// a trust domain is trusted.
fn auth_methods(config: &Config) -> Vec<&'static str> {
    let mut methods = vec![
        "none",
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
    ];
    if !config.workloads.spiffe.is_empty() {
        methods.push("spiffe_jwt");
    }
    methods
}

/// `GET /oauth/jwks`.
#[utoipa::path(
    get,
    path = "/oauth/jwks",
    operation_id = "jwks",
    summary = "The keys that verify tokens (RFC 7517)",
    responses((status = 200, description = "The keys", body = crate::openapi::schemas::KeySet), crate::openapi::schemas::Refused)
)]
pub async fn jwks(State(app): State<SharedApp>) -> Result<impl IntoResponse, OAuthError> {
    // Another process may have announced a key.
    app.current_registry().await?;
    Ok((PUBLIC, Json(app.keys.jwks().as_ref().clone())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_keeps_the_keys_longer_than_the_next_one_is_announced_ahead() {
        let seconds = crate::keys::JWKS_MAX_AGE.as_secs();
        assert_eq!(PUBLIC[0].1, format!("public, max-age={seconds}"));
    }

    #[test]
    fn the_metadata_of_an_issuer_with_a_path_lies_before_that_path() {
        let plain = Endpoints::of("https://writ.test");
        assert_eq!(
            plain.metadata_path(),
            "/.well-known/oauth-authorization-server"
        );
        assert_eq!(plain.path("/oauth/token"), "/oauth/token");
        let below = Endpoints::of("https://writ.test:8443/id/eu");
        assert_eq!(
            below.metadata_path(),
            "/.well-known/oauth-authorization-server/id/eu"
        );
        assert_eq!(below.path("/oauth/token"), "/id/eu/oauth/token");
        assert_eq!(
            below.url("/oauth/token"),
            "https://writ.test:8443/id/eu/oauth/token"
        );
    }
}
