//! MCP that an egress saw leave, held against the registry: a server that nobody has registered, or one past its gateway.

use jiff::Timestamp;
use serde_json::json;
use writ_core::egress::Address;
use writ_policy::event::ShadowServer;

use super::report::{MOST_AT_ONCE, believed};
use crate::{
    audit::{Finding, Verdict, clip, printable},
    registry::Registry,
    store::{
        reported::Reported,
        shadow_servers::{Seen, Use},
    },
};

/// What an egress says for all that it could not tell apart.
const OTHERS: &str = "*";

/// What is to be put on record; nothing where a gateway is there.
pub(super) fn reported(
    name: &str,
    seen: &ShadowServer,
    registry: &Registry,
    now: Timestamp,
) -> Option<Reported> {
    let address = Address {
        host: printable(&clip(&seen.host, 261)),
        path: printable(&clip(&seen.path, 256)),
    };
    let at = |url: &str| Address::of_url(url).is_some_and(|known| known.shown() == address);
    if registry.servers().any(|server| at(&server.resource)) {
        return None;
    }
    let mut servers = registry.servers();
    let server = servers.find(|server| server.upstream.as_deref().is_some_and(at));
    let finding = match server {
        Some(_) => Finding::GatewayBypass,
        None => Finding::ShadowServer,
    };
    let count = seen.count.clamp(1, MOST_AT_ONCE);
    finding.count(None, count);
    let text = |text: &Option<String>| text.as_ref().map(|text| printable(&clip(text, 128)));
    let (client, agent) = (text(&seen.client), text(&seen.user_agent));
    let source = clip(&seen.source_ip, 64);
    let (first, last) = (believed(&seen.first, now), believed(&seen.last, now));
    let mut record = finding.record(now);
    record.gateway = Some(name.to_owned());
    record.server = server.map(|server| server.id.to_string());
    record.method = text(&seen.method);
    record.target = text(&seen.target);
    record.decision = seen.refused.then_some(Verdict::Deny);
    record.source_ip = Some(source.clone());
    record.request_id = Some(clip(&seen.request_id, 128));
    record.detail = Some(json!({
        "finding": finding.as_str(),
        "host": address.host,
        "path": address.path,
        "client": client,
        "user_agent": agent,
        "count": count,
        "first": clip(&seen.first, 40),
        "last": clip(&seen.last, 40),
    }));
    if server.is_some() {
        return Some(Reported::Rogue(Box::new(record)));
    }
    let is_tool = seen.method.as_deref() == Some("tools/call");
    let uses = [
        (Use::Client, client.or(agent)),
        (Use::Source, Some(source)),
        (Use::Tool, text(&seen.target).filter(|_| is_tool)),
    ];
    let uses = uses
        .into_iter()
        .filter_map(|(what, name)| Some((what, name?)));
    Some(Reported::ShadowServer(Box::new(Seen {
        place: (address.host != OTHERS).then_some((address.host, address.path)),
        uses: uses.collect(),
        refused: seen.refused,
        first: first.min(last),
        last,
        count,
        record,
    })))
}
