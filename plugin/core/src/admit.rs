//! What must hold before a message is read: a server for the route, a method of the transport.

use std::rc::Rc;

use writ_policy::input::Status;

use crate::config::Mode;
use crate::gateway::Gateway;
use crate::headers::{Headers, is_json};
use crate::host::Host;
use crate::message::{SESSION_CLOSE, STREAM_OPEN};
use crate::origin::{check_host, check_origin};
use crate::refuse::Refusal;
use crate::rules::ServerRule;

/// Which server the request is for: what the Envoy route says, or in static mode the configuration's table.
pub(crate) fn route(
    gateway: &Gateway,
    host: &dyn Host,
    headers: &Headers,
) -> Result<Rc<ServerRule>, Refusal> {
    let rules = gateway.rules.as_ref().ok_or_else(no_snapshot)?;
    let found = match &gateway.config.mode {
        Mode::Static(_) => rules
            .matched(&headers.authority, headers.path_only())
            .ok_or_else(|| {
                Refusal::NoServer("no MCP server is configured for this host and path".to_owned())
            })?,
        Mode::Gateway(_) | Mode::Guard(_) | Mode::Egress(_) => {
            let id = host
                .property(&["xds", "route_metadata", "filter_metadata", "writ", "server"])
                .unwrap_or_default();
            let id = std::str::from_utf8(&id).unwrap_or_default();
            if id.is_empty() {
                return Err(Refusal::NoServer(
                    "this route names no MCP server: set metadata.filter_metadata.writ.server on it".to_owned(),
                ));
            }
            rules.servers.get(id).ok_or_else(|| {
                Refusal::NoServer(format!(
                    "MCP server `{id}` is not registered for this gateway"
                ))
            })?
        }
    };
    check_origin(headers, &found.origin, &gateway.config.allowed_origins)?;
    check_host(headers, &found.origin, &gateway.config.allowed_hosts)?;
    match found.status {
        Status::Approved => Ok(Rc::clone(found)),
        Status::Pending | Status::Disabled => Err(Refusal::switched_off(&found.id)),
    }
}

/// What the HTTP method means: nothing in particular for POST, or the name of a bodiless message.
pub(crate) fn http_method(
    headers: &Headers,
    max_body: usize,
    end_of_stream: bool,
) -> Result<Option<&'static str>, Refusal> {
    let no_body = |method| {
        if end_of_stream {
            Ok(Some(method))
        } else {
            Err(Refusal::Headers("GET and DELETE take no body".to_owned()))
        }
    };
    match headers.method.as_str() {
        "POST" => {
            if !is_json(headers.content_type.as_deref()) || headers.content_encoding.is_some() {
                return Err(Refusal::MediaType);
            }
            let announced = headers
                .content_length
                .as_deref()
                .and_then(|length| length.parse::<usize>().ok());
            if announced.is_some_and(|length| length > max_body) {
                return Err(Refusal::TooLarge(max_body));
            }
            if end_of_stream {
                return Err(Refusal::Headers("the request has no body".to_owned()));
            }
            Ok(None)
        }
        "GET"
            if headers
                .accept
                .as_deref()
                .is_some_and(|accept| accept.contains("text/event-stream")) =>
        {
            no_body(STREAM_OPEN)
        }
        "GET" => Err(Refusal::NotAcceptable),
        "DELETE" => no_body(SESSION_CLOSE),
        _ => Err(Refusal::HttpMethod),
    }
}

/// The caller's address, without its port.
pub(crate) fn source_ip(host: &dyn Host) -> String {
    let address = host.property(&["source", "address"]).unwrap_or_default();
    let address = String::from_utf8(address).unwrap_or_default();
    match address.rsplit_once(':') {
        Some((ip, _)) => ip.trim_matches(['[', ']']).to_owned(),
        None => address,
    }
}

pub(crate) fn no_snapshot() -> Refusal {
    Refusal::Unavailable(
        "this gateway has no policy in force: its token service has not answered, or not for too long; try again, or check the service".to_owned(),
    )
}
