//! What requests and answers look like, where the handlers read or write them member by member.

#![allow(
    dead_code,
    reason = "these describe JSON and forms; nothing is ever made of them"
)]

use std::collections::BTreeMap;

use utoipa::{IntoResponses, ToSchema};

/// An answer that a standard leaves open: one JSON object.
#[derive(ToSchema)]
pub(crate) struct Object(BTreeMap<String, serde_json::Value>);

/// RFC 6749 section 5.2.
#[derive(ToSchema)]
pub(crate) struct Problem {
    /// The registered code.
    error: String,
    /// What happened and what to do.
    error_description: String,
}

/// What every endpoint may answer.
#[derive(IntoResponses)]
pub(crate) enum Refused {
    /// The request is not right.
    #[response(status = 400)]
    BadRequest(Problem),
    /// Who asks has not proved who they are.
    #[response(status = 401)]
    Unauthorized(Problem),
    /// Policy, or whoever switched it off, said no.
    #[response(status = 403)]
    Forbidden(Problem),
    /// Asked too often.
    #[response(status = 429)]
    TooMany(Problem),
    /// The service is at fault; its log says how.
    #[response(status = 500)]
    Failed(Problem),
    /// The service is busy: try again.
    #[response(status = 503)]
    Busy(Problem),
}

/// The form of the token endpoint. Which parameters belong to which grant, the grants' standards say.
#[derive(ToSchema)]
pub(crate) struct TokenRequest {
    /// `authorization_code`, `client_credentials`, `refresh_token`, `urn:ietf:params:oauth:grant-type:jwt-bearer`; at the
    /// gateways' listener `urn:ietf:params:oauth:grant-type:token-exchange`.
    grant_type: String,
    client_id: Option<String>,
    client_secret: Option<String>,
    /// RFC 7523 section 2.2.
    client_assertion_type: Option<String>,
    client_assertion: Option<String>,
    code: Option<String>,
    redirect_uri: Option<String>,
    /// RFC 7636.
    code_verifier: Option<String>,
    refresh_token: Option<String>,
    /// RFC 7523 section 2.1.
    assertion: Option<String>,
    scope: Option<String>,
    /// RFC 8707.
    resource: Option<String>,
    /// RFC 8693 section 2.1.
    subject_token: Option<String>,
    subject_token_type: Option<String>,
    requested_token_type: Option<String>,
    actor_token: Option<String>,
    actor_token_type: Option<String>,
    /// RFC 9396, as JSON.
    authorization_details: Option<String>,
    /// The exact bytes of the message, in base64url.
    mcp_message: Option<String>,
    /// What the gateway knows about the request, as JSON.
    mcp_context: Option<String>,
}

/// RFC 6749 section 5.1, and RFC 8693 section 2.2.1.
#[derive(ToSchema)]
pub(crate) struct TokenAnswer {
    access_token: String,
    /// `Bearer`, or `DPoP` (RFC 9449 section 5).
    token_type: String,
    expires_in: u64,
    scope: Option<String>,
    refresh_token: Option<String>,
    id_token: Option<String>,
    issued_token_type: Option<String>,
}

/// An authorization request (RFC 6749 section 4.1.1), and who makes it.
#[derive(ToSchema)]
pub(crate) struct PushedRequest {
    response_type: String,
    client_id: Option<String>,
    client_secret: Option<String>,
    client_assertion_type: Option<String>,
    client_assertion: Option<String>,
    redirect_uri: Option<String>,
    scope: Option<String>,
    state: Option<String>,
    resource: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
    nonce: Option<String>,
}

/// RFC 9126 section 2.2.
#[derive(ToSchema)]
pub(crate) struct Pushed {
    request_uri: String,
    expires_in: u32,
}

/// The form of RFC 7009 section 2.1.
#[derive(ToSchema)]
pub(crate) struct RevocationRequest {
    token: String,
    token_type_hint: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    client_assertion_type: Option<String>,
    client_assertion: Option<String>,
}

/// The form of RFC 7662 section 2.1.
#[derive(ToSchema)]
pub(crate) struct IntrospectionRequest {
    token: String,
    token_type_hint: Option<String>,
    /// `true` spends a single-use token.
    consume: Option<String>,
    /// Where the request that brought the token came from.
    source_ip: Option<String>,
}

/// RFC 7662 section 2.2: the token's claims beside this.
#[derive(ToSchema)]
pub(crate) struct IntrospectionAnswer {
    active: bool,
}

/// RFC 6750 section 2.2: where the token is not in `Authorization`.
#[derive(ToSchema)]
pub(crate) struct UserInfoRequest {
    access_token: Option<String>,
}

/// OpenID Connect Core section 5.3.2: what the user lets the client know, beside this.
#[derive(ToSchema)]
pub(crate) struct UserInfo {
    sub: String,
}

/// RFC 7517 section 5.
#[derive(ToSchema)]
pub(crate) struct KeySet {
    keys: Vec<Object>,
}

/// RFC 8414 section 2 and OpenID Connect Discovery section 3: more of their members beside these.
#[derive(ToSchema)]
pub(crate) struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

/// RFC 7591 section 2.
#[derive(ToSchema)]
pub(crate) struct ClientMetadata {
    client_name: Option<String>,
    redirect_uris: Option<Vec<String>>,
    grant_types: Option<Vec<String>>,
    response_types: Option<Vec<String>>,
    token_endpoint_auth_method: Option<String>,
    application_type: Option<String>,
    scope: Option<String>,
    jwks: Option<Object>,
    jwks_uri: Option<String>,
}

/// RFC 7591 section 3.2.1: what was registered, beside this.
#[derive(ToSchema)]
pub(crate) struct ClientInformation {
    client_id: String,
    client_name: String,
    client_secret: Option<String>,
    registration_access_token: Option<String>,
    registration_client_uri: Option<String>,
}

/// What an MCP server says about itself.
#[derive(ToSchema)]
pub(crate) struct ServerMetadata {
    resource_name: Option<String>,
    /// RFC 8707: what callers' tokens are for.
    resource: String,
    owner: Option<String>,
    upstream: Option<String>,
    tools: Option<Vec<String>>,
    /// Methods beyond those of MCP that messages to and from it may name.
    methods: Option<Vec<String>>,
    scopes_supported: Option<Vec<String>>,
}

/// What is asked of a task. See docs/tasks.md.
#[derive(ToSchema)]
pub(crate) struct TaskRequest {
    purpose: String,
    tools: BTreeMap<String, Vec<String>>,
    /// Seconds.
    expires_in: u64,
    max_calls: Option<u64>,
}

/// A task as its agent sees it.
#[derive(ToSchema)]
pub(crate) struct Task {
    task: String,
    state: String,
    purpose: String,
    tools: BTreeMap<String, Vec<String>>,
    expires_at: String,
    calls: u64,
    max_calls: Option<u64>,
}

/// OpenID Connect Back-Channel Logout section 2.5.
#[derive(ToSchema)]
pub(crate) struct LogoutRequest {
    logout_token: String,
}

/// What a gateway saw.
#[derive(ToSchema)]
pub(crate) struct EventBatch {
    events: Vec<Object>,
    /// Spans of traces, which are not put on record.
    spans: Option<Vec<Object>>,
}

/// What a guard asks.
#[derive(ToSchema)]
pub(crate) struct Consumption {
    server: String,
    token: String,
    source_ip: String,
    request_id: String,
}

/// Whether the token was spent now, and otherwise what it is.
#[derive(ToSchema)]
pub(crate) struct Consumed {
    active: bool,
    credential: Option<String>,
}

/// What a gateway decides from: more beside these.
#[derive(ToSchema)]
pub(crate) struct Snapshot {
    format: u32,
    revision: String,
    issued_at: String,
    issuer: String,
}

/// A subject or resource (AuthZEN 1.0 sections 5.1 and 5.2).
#[derive(ToSchema)]
pub(crate) struct AccessEntity {
    #[schema(min_length = 1, max_length = 1024)]
    r#type: String,
    #[schema(min_length = 1, max_length = 1024)]
    id: String,
    properties: Option<Object>,
}

/// AuthZEN 1.0 section 5.3.
#[derive(ToSchema)]
pub(crate) struct AccessAction {
    /// The MCP method; on a server, also a tool.
    #[schema(min_length = 1, max_length = 1024)]
    name: String,
    properties: Option<Object>,
}

/// AuthZEN 1.0 section 6.1. See docs/authzen.md.
#[derive(ToSchema)]
pub(crate) struct AccessEvaluation {
    subject: AccessEntity,
    action: AccessAction,
    resource: AccessEntity,
    context: Option<Object>,
}

/// AuthZEN 1.0 section 7.1: what every evaluation has may stand beside them.
#[derive(ToSchema)]
pub(crate) struct AccessEvaluations {
    subject: Option<AccessEntity>,
    action: Option<AccessAction>,
    resource: Option<AccessEntity>,
    context: Option<Object>,
    evaluations: Option<Vec<Object>>,
    options: Option<Object>,
}

/// AuthZEN 1.0 section 5.5.
#[derive(ToSchema)]
pub(crate) struct AccessDecision {
    decision: bool,
    context: Option<Object>,
}

/// AuthZEN 1.0 section 7.2; one decision where one was asked for.
#[derive(ToSchema)]
pub(crate) struct AccessDecisions {
    evaluations: Option<Vec<AccessDecision>>,
    decision: Option<bool>,
    context: Option<Object>,
}

/// AuthZEN 1.0 section 9.1.
#[derive(ToSchema)]
pub(crate) struct AccessMetadata {
    policy_decision_point: String,
    access_evaluation_endpoint: String,
    access_evaluations_endpoint: String,
}

/// AuthZEN 1.0 section 10.1.3: what happened and what to do.
#[derive(IntoResponses)]
pub(crate) enum AccessRefused {
    /// The request is not right.
    #[response(status = 400, content_type = "application/json")]
    BadRequest(String),
    /// Who asks has not proved who they are.
    #[response(status = 401, content_type = "application/json")]
    Unauthorized(String),
    /// Asked too often.
    #[response(status = 429, content_type = "application/json")]
    TooMany(String),
    /// The service is at fault; its log says how.
    #[response(status = 500, content_type = "application/json")]
    Failed(String),
    /// The service is busy: try again.
    #[response(status = 503, content_type = "application/json")]
    Busy(String),
}
