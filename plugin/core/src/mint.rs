//! The swap: asks the token service for a token for this message alone (RFC 8693) and checks what comes back.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use writ_policy::decision::Obligations;

use crate::config::TokenService;
use crate::host::{Call, CallId, CallRefused, Host, answer_status};
use crate::identity::Caller;
use crate::message::{Message, Travel};
use crate::rules::ServerRule;
use crate::trace::Trace;

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The largest answer that is read, in bytes.
const MAX_ANSWER: usize = 32 * 1024;

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) server: &'a ServerRule,
    pub(crate) message: &'a Message,
    pub(crate) body: &'a [u8],
    pub(crate) content_digest: &'a str,
    pub(crate) obligations: &'a Obligations,
    pub(crate) context: Context<'a>,
    pub(crate) trace: &'a Trace,
}

/// The circumstances that only the gateway knows.
#[derive(Debug, Serialize)]
pub(crate) struct Context<'a> {
    pub(crate) request_id: &'a str,
    pub(crate) time: &'a str,
    pub(crate) source_ip: &'a str,
    /// Only for what has no body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) method: Option<&'a str>,
    /// Only for a client's answer: the method of the server's question.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answers: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) protocol_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) task: Option<&'a str>,
    #[serde(serialize_with = "as_map")]
    pub(crate) headers: &'a [(String, String)],
    pub(crate) policy_revision: &'a str,
    /// What the caller proved the key of its token with: the service looks for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dpop_proof: Option<&'a str>,
}

fn as_map<S: serde::Serializer>(
    headers: &&[(String, String)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(headers.iter().map(|(name, value)| (name, value)))
}

/// The `authorization_details` (RFC 9396) of a minted token.
#[derive(Serialize)]
struct Detail<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    server: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_digest: Option<&'a str>,
}

impl<'a> Request<'a> {
    fn detail(&self) -> Detail<'a> {
        match self.message.travel() {
            Travel::Discovery => Detail {
                kind: "mcp_discovery",
                server: &self.server.id,
                method: None,
                target: None,
                content_digest: None,
            },
            Travel::SingleUse => Detail {
                kind: "mcp_request",
                server: &self.server.id,
                method: Some(self.message.method()),
                target: self.message.target(),
                content_digest: Some(self.content_digest),
            },
        }
    }

    fn form(&self) -> String {
        let details = serde_json::to_string(&[self.detail()]).unwrap_or_default();
        let context = serde_json::to_string(&self.context).unwrap_or_default();
        let mut form =
            form_urlencoded::Serializer::new(String::with_capacity(2048 + self.body.len() * 4 / 3));
        form.append_pair("grant_type", TOKEN_EXCHANGE)
            .append_pair("subject_token", &self.caller.token)
            .append_pair("subject_token_type", ACCESS_TOKEN)
            .append_pair("requested_token_type", ACCESS_TOKEN)
            .append_pair("resource", &self.server.resource)
            .append_pair("authorization_details", &details)
            .append_pair("mcp_message", &URL_SAFE_NO_PAD.encode(self.body))
            .append_pair("mcp_context", &context);
        if let Some(scopes) = &self.obligations.scopes {
            form.append_pair("scope", &scopes.join(" "));
        }
        form.finish()
    }

    /// Sends the request.
    pub(crate) fn send(
        &self,
        host: &dyn Host,
        service: &TokenService,
    ) -> Result<CallId, CallRefused> {
        let body = self.form();
        let headers = self.trace.told_with(&[
            (":method", "POST"),
            (":path", "/oauth/token"),
            (":authority", "writ"),
            ("authorization", &service.credential),
            ("content-type", "application/x-www-form-urlencoded"),
            ("accept", "application/json"),
            ("x-request-id", self.context.request_id),
        ]);
        host.call(&Call {
            cluster: &service.cluster,
            headers: &headers,
            body: body.as_bytes(),
            timeout: service.timeout,
        })
    }
}

/// A token that may go upstream.
#[derive(Clone, Debug)]
pub(crate) struct Minted {
    pub(crate) token: String,
    /// `jti`.
    pub(crate) id: String,
    /// `exp`, seconds since 1970.
    pub(crate) expires: u64,
}

/// Why there is no token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum MintError {
    /// The service's policy said no; its reason.
    Denied(String),
    /// It would say yes to a token with more scope.
    NeedsScope {
        /// The policy's reason.
        reason: String,
        /// All that the request needs, joined by spaces.
        scope: String,
    },
    /// The service does not accept the caller.
    Caller(String),
    /// Anything else.
    Failed(&'static str),
}

/// What an answer has to agree with.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) server: String,
    pub(crate) subject: String,
    pub(crate) client_id: String,
    pub(crate) travel: Travel,
    pub(crate) method: String,
    pub(crate) target: Option<String>,
    pub(crate) content_digest: String,
}

/// Reads the answer to a token request.
pub(crate) fn read(host: &dyn Host, expected: &Expected, now: u64) -> Result<Minted, MintError> {
    // Asking the host costs: the status is looked at only when the body holds no token.
    let body = host.answer_body(MAX_ANSWER).unwrap_or_default();
    if let Ok(answer) = serde_json::from_slice::<TokenResponse>(&body) {
        return read_token(answer, expected, now);
    }
    Err(match answer_status(host) {
        None => MintError::Failed("the token service did not answer in time"),
        Some(400 | 403) => read_error(&body),
        Some(401) => MintError::Failed(
            "the token service does not know this gateway; check its id and secret",
        ),
        Some(200) => MintError::Failed("the token service gave an answer that is not understood"),
        Some(_) => MintError::Failed("the token service cannot mint at the moment"),
    })
}

/// RFC 6749 section 5.1.
#[derive(Deserialize)]
struct TokenResponse {
    access_token: String,
    token_type: String,
}

fn read_error(body: &[u8]) -> MintError {
    #[derive(Deserialize)]
    struct OAuthError {
        error: String,
        #[serde(default)]
        error_description: String,
        #[serde(default)]
        scope: String,
    }
    let unclear = MintError::Failed("the token service gave an answer that is not understood");
    let Ok(answer) = serde_json::from_slice::<OAuthError>(body) else {
        return unclear;
    };
    match answer.error.as_str() {
        "access_denied" => MintError::Denied(answer.error_description),
        "insufficient_scope" => MintError::NeedsScope {
            reason: answer.error_description,
            scope: answer.scope,
        },
        "invalid_grant" => MintError::Caller(answer.error_description),
        "invalid_target" => MintError::Failed(
            "the token service does not mint for this server here: register it for this gateway, or `writ server enable` it",
        ),
        "invalid_request" | "invalid_authorization_details" => MintError::Failed(
            "the token service reads this message otherwise; use a filter and a token service of one release",
        ),
        _ => unclear,
    }
}

fn read_token(answer: TokenResponse, expected: &Expected, now: u64) -> Result<Minted, MintError> {
    let wrong = MintError::Failed("the token service answered with a token for something else");
    let payload = answer
        .access_token
        .split('.')
        .nth(1)
        .and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
    let Some(claims) = payload
        .as_deref()
        .and_then(|json| serde_json::from_slice::<MintedClaims>(json).ok())
    else {
        return Err(wrong);
    };
    if !answer.token_type.eq_ignore_ascii_case("bearer")
        || !expected.met_by(&claims)
        || claims.exp <= now
    {
        return Err(wrong);
    }
    Ok(Minted {
        id: claims.jti,
        expires: claims.exp,
        token: answer.access_token,
    })
}

/// What a minted token says. Its signature is the server's to check: it comes from the service itself.
#[derive(Deserialize)]
struct MintedClaims {
    iss: String,
    sub: String,
    aud: String,
    client_id: String,
    exp: u64,
    jti: String,
    authorization_details: [MintedDetail; 1],
}

#[derive(Deserialize)]
struct MintedDetail {
    #[serde(rename = "type")]
    kind: String,
    server: String,
    method: Option<String>,
    target: Option<String>,
    content_digest: Option<String>,
}

impl Expected {
    fn met_by(&self, claims: &MintedClaims) -> bool {
        let [detail] = &claims.authorization_details;
        let bound = match self.travel {
            Travel::Discovery => detail.kind == "mcp_discovery",
            Travel::SingleUse => {
                detail.kind == "mcp_request"
                    && detail.method.as_ref() == Some(&self.method)
                    && detail.target == self.target
                    && detail.content_digest.as_ref() == Some(&self.content_digest)
            }
        };
        bound
            && detail.server == self.server
            && claims.iss == self.issuer
            && claims.sub == self.subject
            && claims.client_id == self.client_id
            && claims.aud == self.audience
    }
}
