//! Whether a request was decided on: the guard's checks, before a server's process sees a byte of it.
//!
//! A request carries a token that was minted for this server and for this message, and is used once. Everything else is
//! refused, and reported to the token service as a rogue access.

use std::sync::Arc;

use axum::http::request::Parts;
use serde_json::json;
use writ_core::guard::{self, Difference, Guarded, Passed, Presented, Request, Rogue};
use writ_policy::{credential::Credential, event};

use super::{
    endpoint::Refusal,
    known::{Known, Standing},
    reports::Reports,
    service::{Service, Spending},
    sessions::Principal,
    spent::{NotSpent, Spent},
};
use crate::{
    clock::{Clock as _, SystemClock, rfc3339, unix},
    http::Peer,
    secret,
};

/// Where it is known whether a token was used before.
#[derive(Debug)]
pub(super) enum SingleUse {
    /// At the token service: it is used once, wherever.
    Global,
    /// Here: it is used once at this process.
    Local(Spent),
}

/// A request that was decided on.
#[derive(Clone, Debug)]
pub(super) struct Admitted {
    /// Whose it is.
    pub(super) principal: Principal,
    /// Whether it stands for itself (MCP 2026-07-28).
    pub(super) stateless: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Gate {
    service: Arc<Service>,
    single_use: SingleUse,
    reports: Reports,
}

impl Gate {
    /// The gate of `server`.
    pub(super) fn new(service: Arc<Service>, single_use: SingleUse) -> Self {
        Self {
            reports: Reports::to(Arc::clone(&service)),
            service,
            single_use,
        }
    }

    /// Looks at what a request brings to prove itself, before its body is waited for.
    pub(super) async fn look(&self, peer: Peer, parts: &Parts) -> Result<(), Refusal> {
        let known = self.service.known().ok_or(Refusal::Undecided)?;
        match self.hold(&known, &presented(parts)) {
            Ok(_) => Ok(()),
            Err(refusal) => Err(self.refuse(refusal, &Arrival::of(peer, parts)).await),
        }
    }

    /// Lets a request pass that was decided on.
    pub(super) async fn admit(
        &self,
        peer: Peer,
        parts: &Parts,
        request: Request<'_>,
    ) -> Result<Admitted, Refusal> {
        let known = self.service.known().ok_or(Refusal::Undecided)?;
        let presented = presented(parts);
        let arrival = Arrival::of(peer, parts);
        let checked = self.check(&known, &presented, request);
        let passed = match checked {
            Ok(passed) => passed,
            Err(refusal) => return Err(self.refuse(refusal, &arrival).await),
        };
        if let Some(spend) = &passed.spend {
            match &self.single_use {
                SingleUse::Global => self.spend_at_the_service(&passed, &arrival).await?,
                SingleUse::Local(spent) => match spent.spend(spend, now()) {
                    Ok(()) => {}
                    Err(NotSpent::Before) => {
                        let refusal =
                            guard::Refusal::not_for_this(&passed.accepted, Difference::Spent);
                        return Err(self.refuse(refusal, &arrival).await);
                    }
                    Err(NotSpent::TooOld | NotSpent::Full) => return Err(Refusal::Undecided),
                },
            }
        }
        let claims = &passed.accepted.claims;
        Ok(Admitted {
            principal: Principal {
                subject: claims.subject.clone(),
                agent: claims.client_id.clone(),
            },
            stateless: passed.message.meta_version().is_some(),
        })
    }

    fn check(
        &self,
        known: &Known,
        presented: &Presented<'_>,
        request: Request<'_>,
    ) -> Result<Passed, guard::Refusal> {
        self.hold(known, presented)?.check(request)
    }

    /// The token, when it was minted for this server and its holder may go on.
    fn hold(
        &self,
        known: &Known,
        presented: &Presented<'_>,
    ) -> Result<guard::Admitted, guard::Refusal> {
        let guarded = Guarded {
            server: self.service.server(),
            audience: &known.audience,
            issuer: &known.issuer,
        };
        let admitted = guard::admit(presented, &guarded, |token| known.verify(token, now()))?;
        let accepted = Arc::clone(admitted.accepted());
        let credential = match known.standing(&accepted, self.service.server()) {
            Standing::Good => return Ok(admitted),
            Standing::Disabled => Credential::Disabled,
            Standing::Revoked => Credential::Revoked,
        };
        let rogue = Rogue::of(credential, &accepted.claims);
        Err(guard::Refusal::NotMinted(rogue))
    }

    /// Of all who ask with one token, one is told that it is spent.
    async fn spend_at_the_service(
        &self,
        passed: &Passed,
        arrival: &Arrival<'_>,
    ) -> Result<(), Refusal> {
        let asked = json!({
            "server": self.service.server(),
            "token": arrival.token,
            "source_ip": arrival.source_ip,
            "request_id": arrival.request_id,
        });
        match self.service.consume(&asked).await {
            Ok(Spending::Now) => Ok(()),
            // The service has it on record.
            Ok(Spending::Never) => Err(Refusal::Guard(guard::Refusal::not_for_this(
                &passed.accepted,
                Difference::Spent,
            ))),
            Err(error) => {
                tracing::warn!(
                    server = self.service.server(),
                    "a token could not be spent: {error}"
                );
                Err(Refusal::Undecided)
            }
        }
    }

    /// What is refused is on record first, where the service is there.
    async fn refuse(&self, refusal: guard::Refusal, arrival: &Arrival<'_>) -> Refusal {
        let Some(rogue) = refusal.rogue() else {
            return Refusal::Guard(refusal);
        };
        let time = rfc3339(SystemClock.now());
        let owner = rogue.owner.as_ref();
        let event = event::Rogue {
            server: self.service.server().to_owned(),
            credential: rogue.credential,
            reason: refusal.to_string(),
            issuer: rogue.issuer.clone(),
            subject: owner.map(|owner| owner.subject.clone()),
            agent: owner.map(|owner| owner.agent.clone()),
            token_id: owner.and_then(|owner| owner.token_id.clone()),
            source_ip: arrival.source_ip.clone(),
            request_id: arrival.request_id.clone(),
            first: time.clone(),
            last: time,
            count: 1,
        };
        tracing::warn!(
            server = self.service.server(),
            credential = rogue.credential.word(),
            source_ip = arrival.source_ip,
            "a rogue access was refused"
        );
        self.reports.tell(event).await;
        Refusal::Guard(refusal)
    }

    /// Sends the reports that are left.
    pub(super) async fn finish(&self) {
        self.reports.finish().await;
    }
}

/// What a record says of a request.
#[derive(Debug)]
struct Arrival<'a> {
    token: &'a str,
    source_ip: String,
    request_id: String,
}

impl<'a> Arrival<'a> {
    fn of(peer: Peer, parts: &'a Parts) -> Self {
        let text = |name: &str| {
            parts
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        let token = text("authorization").and_then(|value| value.split_once(' '));
        let id = text("x-request-id").filter(|id| (1..=128).contains(&id.len()));
        Self {
            token: token
                .map(|(_, token)| token.trim_matches(' '))
                .unwrap_or_default(),
            source_ip: peer.text(),
            request_id: id.map_or_else(secret::new_id, str::to_owned),
        }
    }
}

fn now() -> u64 {
    unix(SystemClock.now())
}

fn presented(parts: &Parts) -> Presented<'_> {
    let path = parts.uri.path_and_query().map(|path| path.as_str());
    let path = path.map(|path| (":path", path.as_bytes()));
    let headers = parts.headers.iter();
    Presented::read(
        path.into_iter()
            .chain(headers.map(|(name, value)| (name.as_str(), value.as_bytes()))),
    )
}
