//! A credential that should not have reached a server, as a record: what it is, whose and from where.

use jiff::Timestamp;
use serde_json::json;
use writ_core::guard::{Owner, Rogue};

use crate::{
    audit::{Finding, Record, Verdict, clip, printable},
    registry::Server,
};

/// How a credential came to a server, as far as whoever saw it says.
#[derive(Debug, Default)]
pub(crate) struct Arrival<'a> {
    /// The guard that saw it.
    pub(crate) gateway: Option<&'a str>,
    /// Where it came from.
    pub(crate) source_ip: Option<&'a str>,
    /// `x-request-id`.
    pub(crate) request_id: Option<&'a str>,
}

impl Arrival<'_> {
    /// The record of the use of `rogue` at `server`; counted in the metrics, too.
    pub(crate) fn record(self, rogue: Rogue, server: &Server, now: Timestamp) -> Record {
        let Rogue {
            credential,
            owner,
            issuer,
        } = rogue;
        let finding = Finding::of(credential);
        finding.count(Some(credential), 1);
        let mut record = finding.record(now);
        record.gateway = self.gateway.map(str::to_owned);
        record.server = Some(server.id.to_string());
        record.decision = Some(Verdict::Deny);
        record.reason = Some(credential.sentence().to_owned());
        record.source_ip = self.source_ip.map(|ip| clip(ip, 64));
        record.request_id = self.request_id.map(|id| clip(id, 128));
        record.note("credential", json!(credential));
        if let Some(issuer) = issuer {
            record.note("issuer", printable(&clip(&issuer, 256)).into());
        }
        if let Some(Owner {
            subject,
            agent,
            token_id,
        }) = owner
        {
            record.subject = Some(clip(&subject, 512));
            record.agent = Some(clip(&agent, 512));
            record.token_id = token_id.as_deref().map(|id| clip(id, 128));
        }
        record
    }
}
