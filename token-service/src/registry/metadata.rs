//! What a client says about itself beyond what it may do (RFC 7591 section 2): shown to people, or a choice of its own.

use serde::{Deserialize, Serialize};

/// Where a registration came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// An administrator made it.
    #[default]
    Admin,
    /// It registered itself (RFC 7591).
    Dynamic,
    /// It is named by the URL of its metadata document.
    MetadataDocument,
}

/// What a client runs on (OpenID Connect Dynamic Client Registration section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApplicationType {
    /// A web server.
    #[default]
    Web,
    /// A person's own computer.
    Native,
}

/// A client's metadata. Whatever it says is unverified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientMetadata {
    /// What it runs on.
    pub application_type: ApplicationType,
    /// Its home page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// Its logo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logo_uri: Option<String>,
    /// Its terms of service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tos_uri: Option<String>,
    /// Its privacy policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_uri: Option<String>,
    /// Whom to ask about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<String>,
    /// The program, whatever its instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
    /// The most it will ever ask for, separated by spaces; all that a server has where absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The resource meant by a request that names none (RFC 8707).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_resource: Option<String>,
    /// Where a browser may go after it has signed out (OpenID Connect RP-Initiated Logout section 3.1).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub post_logout_redirect_uris: Vec<String>,
    /// Whether it sends its secret in the body (`client_secret_post`) instead of by HTTP Basic.
    pub secret_in_body: bool,
    /// Whether it only ever uses DPoP (RFC 9449 section 5.2).
    pub dpop_bound_access_tokens: bool,
    /// Whether it only ever pushes its authorization requests (RFC 9126 section 6).
    pub require_pushed_authorization_requests: bool,
}
