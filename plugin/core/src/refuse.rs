//! Every way of saying no, in the protocol's own shape: JSON-RPC in the body, OAuth in the header.
//!
//! A decision against a request is an answer to it: HTTP 200 with a JSON-RPC error, because clients throw away the body
//! of a transport error and with it the reason. MCP defines no code for it; 403 lies outside JSON-RPC's own range. What wants
//! no answer (a notification, the answer to a server, a stream) is refused by its status, and so is what more scope would help:
//! only a 403 makes clients ask for it.

use serde_json::json;

use crate::agree::Disagreement;
use crate::headers::HeaderError;
use crate::host::Reply;
use crate::message::{Era, Id, MessageError, Problem, UnknownMethod};
use crate::token::TokenError;
use crate::token::dpop::{ALGORITHMS, ProofError};

/// JSON-RPC code for a decision against a call.
pub(crate) const DENIED: i64 = 403;

/// JSON-RPC code for a decision that could not be had or carried out.
pub(crate) const UNAVAILABLE: i64 = 503;

/// JSON-RPC code for an answer of the server's that cannot be shown.
const BAD_ANSWER: i64 = 502;

/// JSON-RPC: not JSON.
const PARSE_ERROR: i64 = -32700;

/// JSON-RPC: not a request.
const INVALID_REQUEST: i64 = -32600;

/// JSON-RPC: no such method.
const METHOD_NOT_FOUND: i64 = -32601;

/// JSON-RPC: wrong parameters.
const INVALID_PARAMS: i64 = -32602;

/// MCP 2026-07-28: headers and body disagree.
const HEADER_MISMATCH: i64 = -32020;

/// Seconds after which a refused caller may try again.
const RETRY_AFTER_S: &str = "1";

/// Why a request does not go upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// No token.
    #[error("this MCP server needs an access token: sign in at the authorization server it names")]
    NoToken,
    /// More than one way to read the credentials, or not bearer at all (RFC 6750 section 3.1 `invalid_request`).
    #[error("{0}")]
    BadCredentials(&'static str),
    /// The token does not count (RFC 6750 section 3.1 `invalid_token`).
    #[error("{0}")]
    BadToken(#[from] TokenError),
    /// The token is good, but not here or not any more.
    #[error("{description}")]
    NotAccepted {
        /// For counting.
        kind: &'static str,
        /// For the caller.
        description: String,
    },
    /// A token that is bound to a key, presented as if it were not (RFC 9449 section 7.2).
    #[error(
        "the token is bound to a key: send it as `authorization: DPoP`, with a proof of the key in the DPoP header"
    )]
    Downgraded,
    /// The key that the token is bound to is not proved (RFC 9449 section 7.1 `invalid_dpop_proof`).
    #[error("{0}")]
    BadProof(#[from] ProofError),
    /// The body is not a message.
    #[error("{0}")]
    Message(MessageError),
    /// Header and body do not say the same.
    #[error("{0}")]
    Disagreement(#[from] Disagreement),
    /// A header that repeats the body was sent more than once.
    #[error("{0}")]
    Repeated(HeaderError),
    /// A stateless request does not say what it has to of itself.
    #[error("`params._meta` must have `{0}` (MCP 2026-07-28)")]
    MissingMeta(&'static str),
    /// More headers than anybody reads.
    #[error("{0}")]
    TooManyHeaders(HeaderError),
    /// Headers that cannot be read safely.
    #[error("{0}")]
    Headers(String),
    /// Not JSON.
    #[error("send the message as `content-type: application/json`, without `content-encoding`")]
    MediaType,
    /// Too much.
    #[error("the body is larger than the limit of {0} bytes")]
    TooLarge(usize),
    /// Not a method of the transport.
    #[error("an MCP endpoint takes POST, GET and DELETE")]
    HttpMethod,
    /// GET without `text/event-stream`.
    #[error("a GET opens a stream: send `accept: text/event-stream`")]
    NotAcceptable,
    /// No server for this request.
    #[error("{0}")]
    NoServer(String),
    /// A web page of another origin (MCP transports: 403).
    #[error(
        "requests from web pages of this origin are not accepted: the server takes those of its own, and those that the \
         gateway's `allowed_origins` names"
    )]
    ForeignOrigin,
    /// Another host than the server's.
    #[error(
        "the server is not at this host: use the URL that it is registered with, or have the host named in the gateway's \
         `allowed_hosts`"
    )]
    ForeignHost,
    /// The session is over, or somebody else's (MCP 2025-11-25, session management): the client is to begin a new one.
    #[error("there is no such session of yours here: begin a new one with `initialize`")]
    UnknownSession,
    /// The answer is to no question that a server asked this caller here (MCP 2025-11-25, transports).
    #[error("this answers no question that the server asked you in this session")]
    UnknownQuestion,
    /// Nobody knows the method.
    #[error("{0}")]
    UnknownMethod(UnknownMethod, Era),
    /// Nobody has approved of how the server defines the tool.
    #[error(
        "{server} does not define {tool} as it was approved: its owner is to look at what has changed, and approve it with \
         `writ server pin {server} TOOLS.json --tool {tool}`"
    )]
    Redefined {
        /// Server id.
        server: String,
        /// The tool's name.
        tool: String,
    },
    /// MCP to a server that is in no registry.
    #[error(
        "MCP server {address} is not registered here, so this was not sent: ask an administrator to register it (`writ rogue \
         adopt {address}`), and call it through the gateway then"
    )]
    Unregistered {
        /// Where it is.
        address: String,
    },
    /// The policy, here or at the service, said no.
    #[error("{0}")]
    Denied(String),
    /// It would say yes to a token with more scope (RFC 6750 section 3.1 `insufficient_scope`; MCP, step-up authorization).
    #[error("{reason}")]
    NeedsScope {
        /// The policy's reason.
        reason: String,
        /// All that the request needs, joined by spaces.
        scope: String,
    },
    /// A minted token that is not for this message (guard mode).
    #[error("{0}")]
    NotForThis(String),
    /// The policy keeps the result of a call that was made from the caller.
    #[error("the call was made, but its result is withheld: {0}")]
    Withheld(String),
    /// The decision could not be had or carried out.
    #[error("{0}")]
    Unavailable(String),
    /// The server answered with what cannot be shown to the caller.
    #[error("{0}; tell the server's owner")]
    BadAnswer(String),
}

/// Where a challenge sends the caller.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Challenge<'a> {
    /// URL of the protected-resource metadata (RFC 9728 section 5.1).
    pub(crate) metadata: &'a str,
    /// Scopes to ask for, joined by spaces.
    pub(crate) scope: &'a str,
    /// How the caller presented its token.
    pub(crate) scheme: Scheme,
}

/// How a token is presented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// RFC 6750.
    #[default]
    Bearer,
    /// RFC 9449 section 7.1.
    Dpop,
}

impl Scheme {
    /// The scheme of an `authorization` header.
    pub(crate) fn of(authorization: &str) -> Option<Self> {
        let name = authorization.split(' ').next().unwrap_or_default();
        if name.eq_ignore_ascii_case("bearer") {
            Some(Self::Bearer)
        } else if name.eq_ignore_ascii_case("dpop") {
            Some(Self::Dpop)
        } else {
            None
        }
    }
}

impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Repeated(name) if name.starts_with("mcp-") => Self::Repeated(error),
            HeaderError::RepeatedParameter(_) => Self::Repeated(error),
            HeaderError::TooManyParameters => Self::TooManyHeaders(error),
            HeaderError::NotUtf8(_)
            | HeaderError::Repeated(_)
            | HeaderError::NotATask
            | HeaderError::NotAnEvent => Self::Headers(error.to_string()),
        }
    }
}

impl Refusal {
    /// A short name for counting unauthenticated tries; none where a caller was authenticated or no token was looked at.
    pub(crate) fn unauthenticated(&self) -> Option<&'static str> {
        match self {
            Self::NoToken => Some("missing_token"),
            Self::BadCredentials(_) => Some("bad_credentials"),
            Self::BadToken(error) => Some(error.kind()),
            Self::NotAccepted { kind, .. } => Some(kind),
            Self::Downgraded => Some("bound_token_as_bearer"),
            Self::BadProof(_) => Some("bad_dpop_proof"),
            _ => None,
        }
    }

    /// The server is not in use, from the start or since the call was let in.
    pub(crate) fn switched_off(server: &str) -> Self {
        Self::NoServer(format!(
            "MCP server `{server}` is switched off; ask an administrator"
        ))
    }

    /// What a decision against a request says to its caller: `scopes` as in
    /// [`Decision::Deny`](writ_policy::decision::Decision::Deny).
    pub(crate) fn denied(reason: String, scopes: &[String]) -> Self {
        if scopes.is_empty() {
            return Self::Denied(reason);
        }
        Self::NeedsScope {
            reason,
            scope: scopes.join(" "),
        }
    }

    fn needs_scope(&self) -> bool {
        matches!(self, Self::NeedsScope { .. })
    }

    /// The status of the answer to a request with this id, or to what wants no answer: that can be refused by a status
    /// only.
    fn status(&self, id: Option<&Id>) -> u32 {
        match (self, id) {
            (
                Self::Denied(_)
                | Self::Redefined { .. }
                | Self::Unregistered { .. }
                | Self::UnknownMethod(_, Era::Session),
                Some(_),
            ) => 200,
            _ => self.plain_status(),
        }
    }

    fn plain_status(&self) -> u32 {
        match self {
            Self::Withheld(_) => 200,
            Self::Denied(_)
            | Self::Redefined { .. }
            | Self::Unregistered { .. }
            | Self::NeedsScope { .. }
            | Self::NotForThis(_)
            | Self::ForeignOrigin
            | Self::ForeignHost => 403,
            Self::Message(_)
            | Self::Disagreement(_)
            | Self::Repeated(_)
            | Self::MissingMeta(_)
            | Self::Headers(_)
            | Self::UnknownQuestion
            | Self::UnknownMethod(_, Era::Session) => 400,
            Self::NoToken
            | Self::BadCredentials(_)
            | Self::BadToken(_)
            | Self::NotAccepted { .. }
            | Self::Downgraded
            | Self::BadProof(_) => 401,
            Self::NoServer(_) | Self::UnknownSession | Self::UnknownMethod(_, Era::Stateless) => {
                404
            }
            Self::HttpMethod => 405,
            Self::NotAcceptable => 406,
            Self::TooLarge(_) => 413,
            Self::TooManyHeaders(_) => 431,
            Self::MediaType => 415,
            Self::Unavailable(_) => 503,
            Self::BadAnswer(_) => 502,
        }
    }

    /// The JSON-RPC error code of the answer.
    pub(crate) fn code(&self) -> i64 {
        match self {
            Self::Message(error) => match &error.problem {
                Problem::Json(_) => PARSE_ERROR,
                Problem::Batch | Problem::Envelope(_) => INVALID_REQUEST,
                Problem::Parameter { .. } => INVALID_PARAMS,
            },
            Self::Disagreement(_) | Self::Repeated(_) => HEADER_MISMATCH,
            Self::MissingMeta(_) => INVALID_PARAMS,
            Self::UnknownMethod(..) => METHOD_NOT_FOUND,
            Self::Denied(_)
            | Self::Redefined { .. }
            | Self::Unregistered { .. }
            | Self::NeedsScope { .. }
            | Self::NotForThis(_)
            | Self::Withheld(_) => DENIED,
            Self::Unavailable(_) => UNAVAILABLE,
            Self::BadAnswer(_) => BAD_ANSWER,
            Self::NoToken
            | Self::BadCredentials(_)
            | Self::BadToken(_)
            | Self::NotAccepted { .. }
            | Self::Downgraded
            | Self::BadProof(_) => 401,
            _ => INVALID_REQUEST,
        }
    }

    /// What happened, in a word.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Denied(_) => "policy_denied",
            Self::Redefined { .. } => "tool_redefined",
            Self::Unregistered { .. } => "server_not_registered",
            Self::NeedsScope { .. } => "insufficient_scope",
            Self::NotForThis(_) => "not_for_this",
            Self::Withheld(_) => "result_withheld",
            Self::UnknownSession => "unknown_session",
            Self::UnknownQuestion => "unknown_question",
            Self::UnknownMethod(..) => "unknown_method",
            Self::Unavailable(_) => "unavailable",
            Self::BadAnswer(_) => "bad_answer",
            Self::NoToken
            | Self::BadCredentials(_)
            | Self::BadToken(_)
            | Self::NotAccepted { .. }
            | Self::Downgraded
            | Self::BadProof(_) => "unauthenticated",
            _ => "bad_request",
        }
    }

    /// The answer. `id` is the request's, where it is known; `request_id` lets a person find the record.
    pub(crate) fn reply(
        &self,
        id: Option<&Id>,
        request_id: &str,
        challenge: Option<Challenge<'_>>,
    ) -> Reply {
        let id = match (self, id) {
            (_, Some(id)) => Some(id),
            (Self::Message(error), None) => error.id.as_ref(),
            _ => None,
        };
        let status = self.status(id);
        let body = json!({
            "jsonrpc": "2.0",
            "id": id.map(|id| match id {
                Id::Number(number) => json!(number),
                Id::String(text) => json!(text),
            }),
            "error": {
                "code": self.code(),
                "message": self.to_string(),
                "data": {"type": self.kind(), "request_id": request_id},
            },
        });
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("cache-control", "no-store".to_owned()),
        ];
        match self {
            Self::Unavailable(_) => headers.push(("retry-after", RETRY_AFTER_S.to_owned())),
            Self::HttpMethod => headers.push(("allow", "POST, GET, DELETE".to_owned())),
            _ => {}
        }
        if let Some(challenge) = challenge.filter(|_| status == 401 || self.needs_scope()) {
            headers.push(("www-authenticate", self.challenge(challenge)));
        }
        Reply {
            status,
            headers,
            body: body.to_string(),
        }
    }

    /// RFC 6750 section 3 or RFC 9449 section 7.1, with the parameter of RFC 9728 section 5.1.
    fn challenge(&self, challenge: Challenge<'_>) -> String {
        let mut value = match (self, challenge.scheme) {
            (Self::Downgraded | Self::BadProof(_), _) | (_, Scheme::Dpop) => {
                format!("DPoP algs=\"{}\", ", ALGORITHMS.join(" "))
            }
            (_, Scheme::Bearer) => "Bearer ".to_owned(),
        };
        let error = match self {
            Self::NoToken => None,
            Self::BadCredentials(_) => Some("invalid_request"),
            Self::BadProof(_) => Some("invalid_dpop_proof"),
            Self::NeedsScope { .. } => Some("insufficient_scope"),
            _ => Some("invalid_token"),
        };
        if let Some(error) = error {
            value.push_str(&format!(
                "error=\"{error}\", error_description=\"{}\", ",
                quotable(&self.to_string())
            ));
        }
        value.push_str(&format!(
            "resource_metadata=\"{}\"",
            quotable(challenge.metadata)
        ));
        let scope = match self {
            Self::NeedsScope { scope, .. } => scope,
            _ => challenge.scope,
        };
        if !scope.is_empty() {
            value.push_str(&format!(", scope=\"{}\"", quotable(scope)));
        }
        value
    }
}

/// What `error_description` may hold (RFC 6750 section 3): printable ASCII without quote and backslash.
fn quotable(text: &str) -> String {
    text.chars()
        .filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_is_an_answer_with_its_reason() {
        let reply =
            Refusal::Denied("above the limit".to_owned()).reply(Some(&Id::Number(7)), "r1", None);
        assert_eq!(reply.status, 200);
        let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(
            body,
            json!({"jsonrpc": "2.0", "id": 7, "error": {"code": 403, "message": "above the limit",
                "data": {"type": "policy_denied", "request_id": "r1"}}})
        );
    }

    #[test]
    fn a_challenge_names_metadata_scope_and_error() {
        let challenge = Challenge {
            metadata: "https://g/.well-known/oauth-protected-resource/mcp",
            scope: "a b",
            scheme: Scheme::Bearer,
        };
        let header = |refusal: Refusal| {
            let reply = refusal.reply(None, "", Some(challenge));
            assert_eq!(reply.status, 401);
            reply
                .headers
                .into_iter()
                .find(|(name, _)| *name == "www-authenticate")
                .unwrap()
                .1
        };
        assert_eq!(
            header(Refusal::NoToken),
            "Bearer resource_metadata=\"https://g/.well-known/oauth-protected-resource/mcp\", scope=\"a b\""
        );
        assert_eq!(
            header(Refusal::NotAccepted {
                kind: "x",
                description: "say \"no\"\r\n\\ü".to_owned()
            }),
            "Bearer error=\"invalid_token\", error_description=\"say no\", \
             resource_metadata=\"https://g/.well-known/oauth-protected-resource/mcp\", scope=\"a b\""
        );
    }

    #[test]
    fn what_more_scope_would_help_is_refused_with_the_scope_to_ask_for() {
        for (scheme, begins) in [
            (Scheme::Bearer, "Bearer error="),
            (Scheme::Dpop, "DPoP algs=\"ES256 EdDSA\", error="),
        ] {
            let scopes = ["ledger:read".to_owned(), "ledger:pii".to_owned()];
            let reply = Refusal::denied("needs \"pii\"".to_owned(), &scopes).reply(
                Some(&Id::Number(7)),
                "r1",
                Some(Challenge {
                    metadata: "https://g/m",
                    scope: "ledger:read",
                    scheme,
                }),
            );
            assert_eq!(reply.status, 403);
            let header = reply
                .headers
                .iter()
                .find(|(name, _)| *name == "www-authenticate")
                .unwrap();
            assert_eq!(
                header.1,
                format!(
                    "{begins}\"insufficient_scope\", error_description=\"needs pii\", \
                     resource_metadata=\"https://g/m\", scope=\"ledger:read ledger:pii\""
                )
            );
            let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(body["id"], 7);
            assert_eq!(body["error"]["data"]["type"], "insufficient_scope");
        }
    }

    #[test]
    fn what_is_wrong_with_a_bound_token_is_said_in_its_own_scheme() {
        let header = |refusal: Refusal, scheme| {
            let challenge = Challenge {
                metadata: "https://g/m",
                scope: "",
                scheme,
            };
            let reply = refusal.reply(None, "", Some(challenge));
            reply.headers.into_iter().next_back().unwrap().1
        };
        let proof = header(Refusal::BadProof(ProofError::Replayed), Scheme::Dpop);
        assert!(
            proof.starts_with("DPoP algs=\"ES256 EdDSA\", error=\"invalid_dpop_proof\""),
            "{proof}"
        );
        let downgraded = header(Refusal::Downgraded, Scheme::Bearer);
        assert!(
            downgraded.starts_with("DPoP algs=\"ES256 EdDSA\", error=\"invalid_token\""),
            "{downgraded}"
        );
        assert!(downgraded.ends_with("resource_metadata=\"https://g/m\""));
        let expired = header(Refusal::BadToken(TokenError::Expired), Scheme::Dpop);
        assert!(expired.starts_with("DPoP "), "{expired}");
    }

    #[test]
    fn an_unavailable_service_says_when_to_come_back() {
        let reply = Refusal::Unavailable("x".to_owned()).reply(None, "", None);
        assert_eq!(reply.status, 503);
        assert!(reply.headers.contains(&("retry-after", "1".to_owned())));
        assert!(
            !reply
                .headers
                .iter()
                .any(|(name, _)| *name == "www-authenticate")
        );
    }
}
