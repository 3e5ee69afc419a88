//! At a server's door: only tokens minted for this server and this message get in.
//!
//! The verdict is a function of what was presented, the message and the time; the filter in guard mode and
//! `writ connect` both ask it. It has two steps, because headers come before bodies: [`admit`] looks at the token,
//! [`Admitted::check`] holds the message against what the token was minted for. What is left to do then is to spend the
//! token ([`Passed::spend`]), which takes memory: the token service's, or a guard's own.

pub(crate) mod metadata;
mod presented;
mod ring;
mod rogue;
mod visit;

use std::sync::Arc;

use serde::Deserialize;
use writ_policy::credential::Credential;

use crate::message::{self, Message, MessageError, Travel, content_digest};
use crate::token::{Accepted, TokenError};

pub use presented::{Presented, SentDigest};
pub(crate) use ring::{NotSpent, ROW, Ring};
pub use rogue::{Owner, Rogue};
pub(crate) use visit::Visit;

/// The server behind the guard.
#[derive(Clone, Copy, Debug)]
pub struct Guarded<'a> {
    /// Its id in the registry.
    pub server: &'a str,
    /// Its upstream audience: the `aud` of tokens minted for it.
    pub audience: &'a str,
    /// Who mints (`iss`).
    pub issuer: &'a str,
}

/// What arrived with the token.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// A message: the exact bytes of the body.
    Message(&'a [u8]),
    /// A request without a body: [`message::STREAM_OPEN`] or [`message::SESSION_CLOSE`].
    Bodiless(&'static str),
}

/// Where a token and the message it came with part ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    /// Signed by the issuer, but not with one order for one server (RFC 9396).
    #[error("the token does not say what it was minted for")]
    Details,
    /// `aud` or the order's `server` is another one.
    #[error("the token was minted for another server")]
    Server,
    /// The SHA-256 of the body is another one: an argument, or a byte of it, was changed.
    #[error("the body is not the one that the token was minted for")]
    Body,
    /// `Content-Digest` (RFC 9530) says otherwise than the body, or not once.
    #[error("the Content-Digest header and the body disagree")]
    DigestHeader,
    /// The JSON-RPC method is another one.
    #[error("the token was minted for another method")]
    Method,
    /// The tool, prompt, URI or task is another one.
    #[error("the token was minted for another target")]
    Target,
    /// A discovery token, with something that needs a token of its own.
    #[error("the token is good for looking around; this method needs a token of its own")]
    Discovery,
    /// Spent before.
    #[error("the token was used before; each call needs a token of its own")]
    Spent,
}

/// Why a request does not reach the server.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// What was presented is no minted token that is good now: the caller has to come through the gateway.
    #[error("{}; call the server through its gateway", .0.credential.sentence())]
    NotMinted(Rogue),
    /// A minted token, but not for this.
    #[error("{difference}")]
    NotForThis {
        /// Whose it is.
        rogue: Rogue,
        /// What it is not for.
        difference: Difference,
    },
    /// The token is for exactly these bytes, and they are no message.
    #[error("{0}")]
    Message(MessageError),
}

impl Refusal {
    /// What is to be reported.
    #[must_use]
    pub fn rogue(&self) -> Option<&Rogue> {
        match self {
            Self::NotMinted(rogue) | Self::NotForThis { rogue, .. } => Some(rogue),
            Self::Message(_) => None,
        }
    }

    /// A minted token of `accepted` that is not for this.
    #[must_use]
    pub fn not_for_this(accepted: &Accepted, difference: Difference) -> Self {
        let credential = match difference {
            Difference::Server => Credential::ForeignToken,
            Difference::Spent => Credential::Replay,
            _ => Credential::WrongBinding,
        };
        Self::NotForThis {
            rogue: Rogue::of(credential, &accepted.claims),
            difference,
        }
    }
}

/// A token minted for this server, good now. Whether it is for the message is not known yet.
#[derive(Debug)]
pub struct Admitted {
    accepted: Arc<Accepted>,
    order: Order,
    digest: SentDigest,
}

/// What a token was minted for: the one entry of its `authorization_details`.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum Order {
    #[serde(rename = "mcp_request")]
    Request {
        server: String,
        method: String,
        target: Option<String>,
        content_digest: String,
    },
    #[serde(rename = "mcp_discovery")]
    Discovery { server: String },
}

/// What may go on, once its token is spent.
#[derive(Debug)]
pub struct Passed {
    /// Whose call it is.
    pub accepted: Arc<Accepted>,
    /// The message.
    pub message: Message,
    /// The token to spend before the message goes on; none for a discovery token, which is good until it expires.
    pub spend: Option<Spend>,
}

/// A single-use token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spend {
    /// `jti`.
    pub token_id: String,
    /// `iat`, seconds since 1970.
    pub issued: u64,
    /// `exp`, seconds since 1970.
    pub expires: u64,
}

/// Looks at what was presented. `verify` checks a token's form, type, issuer, signature and time, as
/// [`crate::token::Verifier::verify`] does.
///
/// # Errors
/// For anything but a token minted for this server.
pub fn admit(
    presented: &Presented<'_>,
    guarded: &Guarded<'_>,
    verify: impl FnOnce(&str) -> Result<Arc<Accepted>, TokenError>,
) -> Result<Admitted, Refusal> {
    let (token, is_bearer) = presented.token().map_err(Refusal::NotMinted)?;
    let accepted = verify(token).map_err(|error| {
        Refusal::NotMinted(Rogue::unverified(
            token,
            presented.kind(),
            &error,
            guarded.issuer,
        ))
    })?;
    let claims = &accepted.claims;
    if claims.issuer != guarded.issuer {
        let error = TokenError::Issuer;
        let rogue = Rogue::unverified(token, presented.kind(), &error, guarded.issuer);
        return Err(Refusal::NotMinted(rogue));
    }
    if !claims.minted {
        return Err(Refusal::NotMinted(Rogue::of(
            Credential::CallerToken,
            claims,
        )));
    }
    let differs = |difference| Err(Refusal::not_for_this(&accepted, difference));
    if claims.audience != [guarded.audience] {
        return differs(Difference::Server);
    }
    let order = claims.others.get("authorization_details");
    let Some(Ok([order])) = order.map(<[Order; 1]>::deserialize) else {
        return differs(Difference::Details);
    };
    let (Order::Request { server, .. } | Order::Discovery { server }) = &order;
    if server != guarded.server {
        return differs(Difference::Server);
    }
    // Minted tokens are bearer tokens; nothing of ours sends one another way.
    if !is_bearer || claims.bound_to.is_some() {
        return differs(Difference::Details);
    }
    Ok(Admitted {
        accepted,
        order,
        digest: presented.digest(),
    })
}

impl Admitted {
    /// Whose token it is.
    #[must_use]
    pub fn accepted(&self) -> &Arc<Accepted> {
        &self.accepted
    }

    /// Holds `request` against what the token was minted for.
    ///
    /// # Errors
    /// When the token is for something else, or the body is no message.
    pub fn check(self, request: Request<'_>) -> Result<Passed, Refusal> {
        let body = match request {
            Request::Message(body) => body,
            Request::Bodiless(_) => b"",
        };
        let digest = content_digest(body);
        let differs = |difference| Err(Refusal::not_for_this(&self.accepted, difference));
        if let Order::Request { content_digest, .. } = &self.order
            && !same(content_digest.as_bytes(), digest.as_bytes())
        {
            return differs(Difference::Body);
        }
        if !self.digest.agrees_with(&digest) {
            return differs(Difference::DigestHeader);
        }
        let message = match request {
            Request::Message(body) => message::parse(body).map_err(Refusal::Message)?,
            Request::Bodiless(method) => Message::bodiless(method),
        };
        let spend = match &self.order {
            Order::Discovery { .. } if message.travel() == Travel::Discovery => None,
            Order::Discovery { .. } => return differs(Difference::Discovery),
            Order::Request { method, .. } if !message.is_called(method) => {
                return differs(Difference::Method);
            }
            Order::Request { target, .. } if target.as_deref() != message.target() => {
                return differs(Difference::Target);
            }
            Order::Request { .. } => {
                let claims = &self.accepted.claims;
                let (Some(id), Some(issued)) = (&claims.id, claims.issued_at) else {
                    return differs(Difference::Details);
                };
                Some(Spend {
                    token_id: id.clone(),
                    issued,
                    expires: claims.expires,
                })
            }
        };
        Ok(Passed {
            accepted: self.accepted,
            message,
            spend,
        })
    }
}

/// Whether two texts are the same, in a time that does not tell where they differ.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests;
