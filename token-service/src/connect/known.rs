//! What is known of a server and its callers, as of the latest snapshot.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use writ_core::{
    snapshot::{Head, assembly::Revision},
    token::{Accepted, KeySet, Stopped, TokenError, Verifier},
};
use writ_policy::{
    input::Status,
    snapshot::{AGENTS, Halt, Part, REVOKED, ServerEntry, bucket, bucket_name},
};

use super::service::{SKEW_S, ServiceError};

/// Tokens whose signatures are remembered.
const REMEMBERED: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(super) struct Known {
    /// Who mints.
    pub(super) issuer: String,
    /// The audience of tokens for the server.
    pub(super) audience: String,
    /// The public URL of the server.
    pub(super) resource: String,
    verifier: Mutex<Verifier>,
    parts: BTreeMap<String, Arc<Part>>,
    halt: Halt,
    server_is_approved: bool,
    good_until: u64,
}

/// Where somebody stands whose token is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Good,
    Disabled,
    Revoked,
}

impl Known {
    /// What a whole revision says about `server` to the guard `id`.
    pub(super) fn of(
        revision: &Revision<Arc<Part>>,
        id: &str,
        server: &str,
    ) -> Result<Self, ServiceError> {
        let (mut entry, mut keys, mut halt) = (None, None, Halt::default());
        for part in revision.parts.values() {
            match part.as_ref() {
                Part::Servers(servers) => entry = servers.get(server).or(entry),
                Part::Keys(jwks) => keys = Some(KeySet::from_jwks(jwks)?),
                Part::Stops(part) => halt = part.clone(),
                Part::Revision(_)
                | Part::Policy(_)
                | Part::Data(_)
                | Part::Spans(_)
                | Part::Agents(_)
                | Part::Revoked(_) => {}
            }
        }
        let entry: &ServerEntry = entry.ok_or_else(|| ServiceError::NotItsGuard {
            id: id.to_owned(),
            server: server.to_owned(),
        })?;
        // Gateways get it, and spend nothing.
        if entry.seal_key.is_some() {
            return Err(ServiceError::NoGuard(id.to_owned()));
        }
        let Head { iss, exp, .. } = &revision.head;
        let mut verifier = Verifier::new(SKEW_S, REMEMBERED);
        if let Some(keys) = keys {
            verifier.trust(iss, keys, &["at+jwt"]);
        }
        Ok(Self {
            issuer: iss.clone(),
            audience: entry.upstream_audience.clone(),
            resource: entry.resource.clone(),
            server_is_approved: entry.status == Status::Approved,
            verifier: Mutex::new(verifier),
            parts: revision.parts.clone(),
            halt,
            good_until: *exp,
        })
    }

    fn part(&self, kind: &str, id: &str) -> Option<&Part> {
        let name = bucket_name(kind, bucket(id));
        self.parts.get(&name).map(Arc::as_ref)
    }

    fn has_revoked(&self, id: &str) -> bool {
        matches!(self.part(REVOKED, id), Some(Part::Revoked(ids)) if ids.contains(id))
    }

    fn has_approved(&self, agent: &str) -> bool {
        let Some(Part::Agents(agents)) = self.part(AGENTS, agent) else {
            return false;
        };
        let agent = agents.get(agent);
        agent.is_some_and(|agent| agent.status == Status::Approved)
    }

    /// Whether anything may be decided by it at `now` (seconds since 1970).
    pub(super) fn is_good(&self, now: u64) -> bool {
        now < self.good_until.saturating_add(SKEW_S)
    }

    /// Checks a token's form, issuer, signature and time.
    pub(super) fn verify(&self, token: &str, now: u64) -> Result<Arc<Accepted>, TokenError> {
        let mut verifier = self.verifier.lock().unwrap_or_else(PoisonError::into_inner);
        verifier.verify(token, now)
    }

    /// Where whoever has this token stands now, at this server.
    pub(super) fn standing(&self, accepted: &Accepted, server: &str) -> Standing {
        let claims = &accepted.claims;
        let stopped = claims.stopped(&self.halt.stops, Some(server));
        if stopped == Some(Stopped::Revoked) || claims.origins().any(|id| self.has_revoked(id)) {
            return Standing::Revoked;
        }
        let good = self.server_is_approved
            && stopped.is_none()
            && self.has_approved(&claims.client_id)
            && !self.halt.disabled_subjects.contains(&claims.subject);
        if good {
            Standing::Good
        } else {
            Standing::Disabled
        }
    }
}
