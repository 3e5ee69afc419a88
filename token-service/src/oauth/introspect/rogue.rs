//! A credential that should not have reached a server, as a record: what it is, whose and from where.

use jiff::Timestamp;
use serde_json::json;
use writ_core::guard::{Owner, Rogue};

use crate::{
    audit::{Kind, Record, Verdict, clip, printable},
    registry::Server,
};

/// The record of its use at `server`.
pub(super) fn record(
    rogue: Rogue,
    server: &Server,
    source_ip: Option<&str>,
    now: Timestamp,
) -> Record {
    let Rogue {
        credential,
        owner,
        issuer,
    } = rogue;
    let mut record = Record::new(Kind::Rogue, now);
    record.server = Some(server.id.to_string());
    record.decision = Some(Verdict::Deny);
    record.reason = Some(credential.sentence().to_owned());
    record.source_ip = source_ip.map(|ip| clip(ip, 64));
    record.detail = Some(match issuer {
        Some(issuer) => {
            json!({"credential": credential, "issuer": printable(&clip(&issuer, 256))})
        }
        None => json!({"credential": credential}),
    });
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
