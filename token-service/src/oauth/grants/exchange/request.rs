//! A gateway's request, read strictly: parameters, context and message in, typed values out.

use std::collections::BTreeMap;

use axum::{body::Bytes, http::HeaderMap};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use writ_core::message::{self, Form, Message, SESSION_CLOSE, STREAM_OPEN, Travel};

use crate::oauth::{OAuthError, params::Params};

/// RFC 8693 section 2.1.
const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693 section 3.
pub(super) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The most the context may take, in bytes.
const MAX_CONTEXT: usize = 64 * 1024;
/// The most the authorization details may take, in bytes: names and targets are bounded by the message.
const MAX_DETAILS: usize = 16 * 1024;

/// What a gateway asks for, checked for form.
#[derive(Debug)]
pub(super) struct ExchangeRequest {
    pub(super) subject_token: String,
    /// The public resource identifier of the server (RFC 8707).
    pub(super) resource: String,
    /// The scopes the gateway's policy asked for.
    pub(super) scope: Option<String>,
    pub(super) context: Context,
    pub(super) message: Message,
    /// Of the exact bytes that go upstream.
    pub(super) content_digest: String,
    /// What the gateway says the token is to be good for.
    pub(super) details: Details,
}

/// What a minted token is good for (RFC 9396).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
pub(super) enum Details {
    /// One message.
    #[serde(rename = "mcp_request")]
    Request {
        server: String,
        method: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        content_digest: String,
    },
    /// Looking around.
    #[serde(rename = "mcp_discovery")]
    Discovery { server: String },
}

/// Where the message came from, as the gateway saw it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Context {
    pub(super) request_id: String,
    /// The gateway's clock; decisions go by this service's.
    #[serde(rename = "time", default)]
    _time: Option<String>,
    #[serde(default)]
    pub(super) source_ip: String,
    /// For requests without a body only.
    #[serde(default)]
    method: Option<String>,
    /// For a client's answer to a question of the server's only: the method of the question.
    #[serde(default)]
    answers: Option<String>,
    #[serde(default)]
    pub(super) protocol_version: Option<String>,
    #[serde(default)]
    pub(super) session: Option<String>,
    /// The task that the caller says the message belongs to.
    #[serde(default)]
    pub(super) task: Option<String>,
    /// The proof of the key that the caller's token is bound to.
    #[serde(default)]
    pub(super) dpop_proof: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) policy_revision: Option<String>,
}

impl Context {
    /// The HTTP method of the caller's request.
    pub(super) fn http_method(&self) -> &'static str {
        match self.method.as_deref() {
            Some(STREAM_OPEN) => "GET",
            Some(SESSION_CLOSE) => "DELETE",
            _ => "POST",
        }
    }

    /// The headers that the gateway shows to policies.
    pub(super) fn headers(&self) -> Vec<(String, String)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

impl ExchangeRequest {
    pub(super) fn read(headers: &HeaderMap, body: &Bytes) -> Result<Self, OAuthError> {
        let params = Params::form(headers, body)?;
        if params.require("grant_type")? != GRANT_TYPE {
            let told = "gateways may use token exchange only (urn:ietf:params:oauth:grant-type:token-exchange)";
            return Err(OAuthError::UnsupportedGrantType(told.into()));
        }
        if params.require("subject_token_type")? != ACCESS_TOKEN {
            return Err(invalid(
                "subject_token_type must be urn:ietf:params:oauth:token-type:access_token",
            ));
        }
        if params
            .get("requested_token_type")
            .is_some_and(|t| t != ACCESS_TOKEN)
        {
            return Err(invalid(
                "requested_token_type must be urn:ietf:params:oauth:token-type:access_token",
            ));
        }
        if params.get("actor_token").is_some() {
            return Err(invalid(
                "actor_token is not accepted: the actors are the agent and this gateway",
            ));
        }
        let context = params.require("mcp_context")?;
        if context.len() > MAX_CONTEXT {
            return Err(invalid("mcp_context is too long"));
        }
        let context: Context = serde_json::from_str(context)
            .map_err(|e| invalid(format!("mcp_context is malformed: {e}")))?;
        if context.task.as_deref().is_some_and(|id| !is_task(id)) {
            return Err(invalid("mcp_context.task must be the id of a task"));
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(params.get("mcp_message").unwrap_or_default())
            .map_err(|_| invalid("mcp_message must be base64url without padding"))?;
        Ok(Self {
            subject_token: params.require("subject_token")?.to_owned(),
            resource: params.require("resource")?.to_owned(),
            scope: params.get("scope").map(str::to_owned),
            message: message(&context, &bytes)?,
            content_digest: message::content_digest(&bytes),
            details: details(params.require("authorization_details")?)?,
            context,
        })
    }

    /// What a token for this message at this server is good for: the truth that the gateway's word is held against.
    pub(super) fn details_for(&self, server: &str) -> Details {
        match self.message.travel() {
            Travel::Discovery => Details::Discovery {
                server: server.to_owned(),
            },
            Travel::SingleUse => Details::Request {
                server: server.to_owned(),
                method: self.message.method().to_owned(),
                target: self.message.target().map(str::to_owned),
                content_digest: self.content_digest.clone(),
            },
        }
    }
}

/// Whether this can be the id of a task: a UUIDv7 as [`crate::secret::new_id`] writes it.
fn is_task(text: &str) -> bool {
    uuid::Uuid::try_parse(text)
        .is_ok_and(|id| id.get_version_num() == 7 && id.hyphenated().to_string() == text)
}

fn message(context: &Context, bytes: &[u8]) -> Result<Message, OAuthError> {
    match context.method.as_deref() {
        None => match (read(bytes)?, context.answers.as_deref()) {
            (message, None) if message.form() != Form::Response => Ok(message),
            (message, Some(question))
                if message.form() == Form::Response && can_be_asked(question) =>
            {
                Ok(message.answering(question))
            }
            _ => Err(invalid(
                "mcp_context.answers is the method of the server's question, for a client's answer to it and nothing else",
            )),
        },
        Some(_) if context.answers.is_some() => {
            Err(invalid("mcp_context.answers is for a client's answer only"))
        }
        Some(_) if !bytes.is_empty() => Err(invalid(
            "mcp_context.method is for requests without a body only",
        )),
        Some(STREAM_OPEN) => Ok(Message::bodiless(STREAM_OPEN)),
        Some(SESSION_CLOSE) => Ok(Message::bodiless(SESSION_CLOSE)),
        Some(_) => Err(invalid(
            "mcp_context.method must be stream/open or session/close",
        )),
    }
}

fn read(bytes: &[u8]) -> Result<Message, OAuthError> {
    message::parse(bytes).map_err(|e| invalid(format!("mcp_message: {e}")))
}

/// Whether a server's question can have this method; which ones it may have is the gateway's to know.
fn can_be_asked(method: &str) -> bool {
    message::check_named(method).is_ok()
}

fn details(text: &str) -> Result<Details, OAuthError> {
    let wrong = |problem: String| OAuthError::InvalidAuthorizationDetails(problem.into());
    if text.len() > MAX_DETAILS {
        return Err(wrong("authorization_details is too long".to_owned()));
    }
    let [one]: [Details; 1] = serde_json::from_str(text).map_err(|e| {
        wrong(format!(
            "authorization_details must be one mcp_request or mcp_discovery in a list: {e}"
        ))
    })?;
    Ok(one)
}

fn invalid(problem: impl Into<String>) -> OAuthError {
    OAuthError::InvalidRequest(problem.into().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn details_are_one_entry_of_a_known_type() {
        let good = r#"[{"type":"mcp_request","server":"a","method":"tools/call","target":"t","content_digest":"d"}]"#;
        assert!(details(good).is_ok());
        assert!(details(r#"[{"type":"mcp_discovery","server":"a"}]"#).is_ok());
        for bad in [
            "[]",
            "{}",
            r#"[{"type":"mcp_discovery","server":"a"},{"type":"mcp_discovery","server":"a"}]"#,
            r#"[{"type":"mcp_discovery","server":"a","more":1}]"#,
            r#"[{"type":"other","server":"a"}]"#,
            r#"[{"type":"mcp_request","server":"a"}]"#,
        ] {
            assert!(details(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_is_named_by_its_question_and_nothing_else_is() {
        let read = |answers: Option<&str>, method: Option<&str>, body: &[u8]| {
            let context =
                serde_json::json!({"request_id": "r", "method": method, "answers": answers});
            let context = serde_json::from_value::<Context>(context).unwrap();
            message(&context, body).map(|message| message.method().to_owned())
        };
        let (answer, ping) = (
            br#"{"jsonrpc":"2.0","id":1,"result":{}}"#.as_slice(),
            br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.as_slice(),
        );
        assert_eq!(
            read(Some("roots/list"), None, answer).unwrap(),
            "response/roots/list"
        );
        for (answers, method, body) in [
            (None, None, answer),
            (Some(""), None, answer),
            (Some("a b"), None, answer),
            (Some("roots/list"), None, ping),
            (Some("roots/list"), Some("stream/open"), b""),
        ] {
            assert!(read(answers, method, body).is_err(), "{answers:?}");
        }
    }

    #[test]
    fn only_two_methods_have_no_body() {
        let context = |method: Option<&str>| {
            serde_json::from_value::<Context>(
                serde_json::json!({"request_id": "r", "method": method}),
            )
            .unwrap()
        };
        assert_eq!(
            message(&context(Some("stream/open")), b"")
                .unwrap()
                .method(),
            "stream/open"
        );
        assert!(message(&context(Some("tools/call")), b"").is_err());
        assert!(message(&context(Some("stream/open")), b"{}").is_err());
        assert!(message(&context(None), b"").is_err());
    }
}
