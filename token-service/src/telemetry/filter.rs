//! Spans that filters have reported: checked, bounded, and by the names of the conventions for MCP and GenAI.

use jiff::{SignedDuration, Timestamp};
use writ_core::trace::{Context, is_state};
use writ_policy::event;

use super::{Kind, Source, Span};
use crate::{audit::clip, gateway::Asker, otlp};

/// A filter's span; none where it is about a server that is none of the gateway's, or not a span.
pub(crate) fn span(asker: &Asker, reported: &event::Span) -> Option<Span> {
    if !asker.as_gateway().is_for(&reported.call.server) {
        return None;
    }
    let context = Context::parse(&reported.context)?;
    let parent = u64::from_str_radix(&reported.parent, 16).ok()?;
    let start = Timestamp::from_microsecond(i64::try_from(reported.start_us).ok()?).ok()?;
    let took = SignedDuration::from_micros(i64::try_from(reported.duration_us).ok()?);
    let (method, target) = (
        clip(&reported.call.method, 256),
        reported
            .call
            .target
            .as_deref()
            .map(|target| clip(target, 256)),
    );
    // A URI in a span's name would make too many names.
    let named = target.as_deref();
    let named = named.filter(|_| matches!(method.as_str(), "tools/call" | "prompts/get"));
    let state = reported.state.as_deref().filter(|state| is_state(state));
    let mut span = Span {
        source: Source::Filter(asker.name()),
        context,
        parent: Some(parent),
        link: reported.link.as_deref().and_then(Context::parse),
        state: state.map(str::to_owned),
        name: match named {
            Some(named) => format!("{method} {named}"),
            None => method.clone(),
        },
        kind: Kind::Server,
        start,
        end: start.checked_add(took).ok()?,
        attributes: Vec::new(),
        failed: false,
    };
    let texts = [
        ("jsonrpc.request.id", &reported.id),
        ("mcp.protocol.version", &reported.version),
        ("mcp.session.id", &reported.call.session),
    ];
    let texts = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name, clip(text.as_deref()?, 256).into())));
    span.attributes.extend(texts);
    span.attributes.extend([
        ("gen_ai.agent.id", clip(&reported.call.agent, 256).into()),
        ("writ.server", reported.call.server.clone().into()),
        ("network.transport", "tcp".into()),
    ]);
    let call = otlp::call(&method, target.as_deref());
    let call = call.filter_map(|(name, value)| Some((name, value?.into())));
    span.attributes.extend(call);
    if let Some(status) = reported.status {
        span.attributes
            .push(("http.response.status_code", status.into()));
    }
    if let Some(code) = reported.code {
        let code = code.to_string();
        span.attributes
            .push(("rpc.response.status_code", code.into()));
    }
    if let Some(error) = &reported.error {
        span.fail(&clip(error, 64));
    }
    Some(span)
}
