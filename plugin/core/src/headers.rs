//! The request's headers, read once and strictly.

use crate::config::CREDENTIAL_HEADERS;
use crate::host::Host;
use crate::message::Era;
use crate::trace::{self, Carried};

/// The longest request id that is kept, in bytes.
pub(crate) const MAX_REQUEST_ID: usize = 128;

/// The most headers that repeat arguments (MCP 2026-07-28), and the most bytes of them in all.
const MAX_PARAMETERS: usize = 64;
const MAX_PARAMETER_BYTES: usize = 16 * 1024;

/// The longest id of an event that a client takes a stream up after, in bytes.
const MAX_EVENT_ID: usize = 1024;

/// The header that names the task a call belongs to. It is for the gateway and goes no further.
const TASK: &str = "writ-task";

/// Why headers are not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("header `{0}` is not UTF-8")]
    NotUtf8(String),
    #[error("header `{0}` was sent more than once")]
    Repeated(&'static str),
    #[error("header `writ-task` must be the id of a task, as the token service gave it")]
    NotATask,
    #[error("header `mcp-param-{0}` was sent more than once")]
    RepeatedParameter(String),
    #[error(
        "more than {MAX_PARAMETERS} `mcp-param-` headers, or more than {MAX_PARAMETER_BYTES} bytes of them"
    )]
    TooManyParameters,
    #[error(
        "header `last-event-id` must be at most {MAX_EVENT_ID} bytes without control characters"
    )]
    NotAnEvent,
}

/// What the filter reads of a request's headers.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) authority: String,
    /// The web page that asks (RFC 6454 section 7).
    pub(crate) origin: Option<String>,
    pub(crate) authorization: Option<String>,
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) content_length: Option<String>,
    pub(crate) accept: Option<String>,
    pub(crate) request_id: String,
    pub(crate) mcp_method: Option<String>,
    pub(crate) mcp_name: Option<String>,
    pub(crate) mcp_version: Option<String>,
    pub(crate) mcp_session: Option<String>,
    /// Arguments that are repeated in headers: names after `mcp-param-`, and values as they came.
    pub(crate) params: Vec<(String, String)>,
    last_event: Option<String>,
    /// The id of the task that the call is said to belong to.
    pub(crate) task: Option<String>,
    /// The DPoP proof (RFC 9449).
    pub(crate) proof: Option<String>,
    /// Whether the caller takes compressed responses.
    pub(crate) accepts_encodings: bool,
    /// The trace that it is said to belong to.
    pub(crate) trace: Carried,
    /// Headers that policies are shown.
    pub(crate) shown: Vec<(String, String)>,
    /// Headers with credentials that must not go upstream.
    pub(crate) credentials: Vec<&'static str>,
}

impl Headers {
    /// Reads `raw`, keeping the headers named in `shown` for policies.
    pub(crate) fn read(raw: Vec<(String, Vec<u8>)>, shown: &[String]) -> Result<Self, HeaderError> {
        let mut headers = Self::default();
        for (name, value) in raw {
            let Ok(value) = String::from_utf8(value) else {
                return Err(HeaderError::NotUtf8(name));
            };
            if shown.contains(&name) {
                headers.shown.push((name.clone(), value.clone()));
            }
            match name.as_str() {
                ":method" => headers.method = value,
                ":path" => headers.path = value,
                ":authority" => headers.authority = value,
                "x-request-id" if value.len() <= MAX_REQUEST_ID => headers.request_id = value,
                "origin" => once(&mut headers.origin, "origin", value)?,
                "authorization" => once(&mut headers.authorization, "authorization", value)?,
                "dpop" => {
                    once(&mut headers.proof, "dpop", value)?;
                    headers.credentials.push("dpop");
                }
                "content-type" => once(&mut headers.content_type, "content-type", value)?,
                "content-encoding" => {
                    once(&mut headers.content_encoding, "content-encoding", value)?
                }
                "content-length" => once(&mut headers.content_length, "content-length", value)?,
                "accept" => {
                    headers.accept = Some(
                        headers
                            .accept
                            .map_or(value.clone(), |a| format!("{a}, {value}")),
                    )
                }
                "accept-encoding" => headers.accepts_encodings = true,
                trace::PARENT => headers.trace.add_parent(value),
                trace::STATE => headers.trace.add_state(value),
                "mcp-method" => once(&mut headers.mcp_method, "mcp-method", value)?,
                "mcp-name" => once(&mut headers.mcp_name, "mcp-name", value)?,
                "mcp-protocol-version" => {
                    once(&mut headers.mcp_version, "mcp-protocol-version", value)?
                }
                "mcp-session-id" => once(&mut headers.mcp_session, "mcp-session-id", value)?,
                "last-event-id"
                    if value.len() > MAX_EVENT_ID || value.contains(char::is_control) =>
                {
                    return Err(HeaderError::NotAnEvent);
                }
                "last-event-id" => once(&mut headers.last_event, "last-event-id", value)?,
                TASK if !is_uuid_v7(&value) => return Err(HeaderError::NotATask),
                TASK => once(&mut headers.task, TASK, value)?,
                other => {
                    if let Some(parameter) = other.strip_prefix("mcp-param-") {
                        headers.add_parameter(parameter, value)?;
                    } else if let Some(credential) =
                        CREDENTIAL_HEADERS.iter().find(|name| **name == other)
                    {
                        headers.credentials.push(credential);
                    }
                }
            }
        }
        Ok(headers)
    }

    fn add_parameter(&mut self, name: &str, value: String) -> Result<(), HeaderError> {
        if self.params.iter().any(|(other, _)| other == name) {
            return Err(HeaderError::RepeatedParameter(name.to_owned()));
        }
        let bytes: usize = self.params.iter().map(|(n, v)| n.len() + v.len()).sum();
        if self.params.len() == MAX_PARAMETERS
            || bytes + name.len() + value.len() > MAX_PARAMETER_BYTES
        {
            return Err(HeaderError::TooManyParameters);
        }
        self.params.push((name.to_owned(), value));
        Ok(())
    }

    /// The wire era that the request says it is of.
    pub(crate) fn era(&self) -> Era {
        Era::of(self.mcp_version.as_deref())
    }

    /// The path without its query.
    pub(crate) fn path_only(&self) -> &str {
        self.path.split(['?', '#']).next().unwrap_or_default()
    }

    /// Takes off the request what is not for the server: the caller's credentials, and which task the call belongs to.
    pub(crate) fn remove_private(&self, host: &dyn Host) {
        for name in &self.credentials {
            host.remove_request_header(name);
        }
        if self.task.is_some() {
            host.remove_request_header(TASK);
        }
    }

    /// Whether the query carries a token (RFC 6750 section 2.3), which MCP forbids.
    pub(crate) fn token_in_query(&self) -> bool {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        form_urlencoded::parse(query.as_bytes())
            .any(|(name, _)| name.eq_ignore_ascii_case("access_token"))
    }
}

/// Whether a text is a UUIDv7 in its one canonical form (RFC 9562 sections 4 and 5.7).
fn is_uuid_v7(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'7',
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b'),
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

fn once(slot: &mut Option<String>, name: &'static str, value: String) -> Result<(), HeaderError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(HeaderError::Repeated(name)),
    }
}

/// Whether a `content-type` is JSON (RFC 8259: always UTF-8).
pub(crate) fn is_json(content_type: Option<&str>) -> bool {
    let Some(value) = content_type else {
        return false;
    };
    let mut parts = value.split(';');
    let essence = parts.next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        && parts.all(|parameter| {
            let parameter = parameter.trim();
            parameter.is_empty()
                || parameter.split_once('=').is_some_and(|(name, value)| {
                    !name.trim().eq_ignore_ascii_case("charset")
                        || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
                })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(raw: &[(&str, &[u8])]) -> Result<Headers, HeaderError> {
        Headers::read(
            raw.iter()
                .map(|(n, v)| ((*n).to_owned(), v.to_vec()))
                .collect(),
            &["x-team".to_owned()],
        )
    }

    #[test]
    fn what_matters_is_kept() {
        let headers = read(&[
            (":path", b"/mcp?a=1"),
            ("x-team", b"red"),
            ("accept", b"application/json"),
            ("accept", b"text/event-stream"),
            ("cookie", b"a=b"),
            ("x-api-key", b"k"),
        ])
        .unwrap();
        assert_eq!(headers.path_only(), "/mcp");
        assert_eq!(headers.shown, [("x-team".to_owned(), "red".to_owned())]);
        assert_eq!(
            headers.accept.as_deref(),
            Some("application/json, text/event-stream")
        );
        assert_eq!(headers.credentials, ["cookie", "x-api-key"]);
    }

    #[test]
    fn headers_that_two_readers_could_read_differently_are_refused() {
        for name in [
            "authorization",
            "dpop",
            "content-type",
            "content-length",
            "mcp-method",
            "mcp-name",
            "mcp-session-id",
            "last-event-id",
            "origin",
        ] {
            assert!(
                matches!(
                    read(&[(name, b"a"), (name, b"a")]),
                    Err(HeaderError::Repeated(_))
                ),
                "{name}"
            );
        }
        assert_eq!(
            read(&[("x-other", b"\xff")]).unwrap_err(),
            HeaderError::NotUtf8("x-other".to_owned())
        );
    }

    #[test]
    fn a_task_is_named_once_by_its_id() {
        let id = b"019aa0c0-6a3e-7c3e-9c1e-0a1b2c3d4e5f";
        assert_eq!(
            read(&[("writ-task", id)]).unwrap().task.as_deref(),
            std::str::from_utf8(id).ok()
        );
        assert_eq!(
            read(&[("writ-task", id), ("writ-task", id)]).unwrap_err(),
            HeaderError::Repeated("writ-task")
        );
        for bad in [
            b"".as_slice(),
            b"month-end",
            b"019AA0C0-6A3E-7C3E-9C1E-0A1B2C3D4E5F",
            b"019aa0c0-6a3e-4c3e-9c1e-0a1b2c3d4e5f",
            b"019aa0c0-6a3e-7c3e-cc1e-0a1b2c3d4e5f",
            b"019aa0c0-6a3e-7c3e-9c1e-0a1b2c3d4e5f0",
            b"019aa0c06a3e7c3e9c1e0a1b2c3d4e5f",
        ] {
            assert_eq!(
                read(&[("writ-task", bad)]).unwrap_err(),
                HeaderError::NotATask
            );
        }
    }

    #[test]
    fn repeated_arguments_are_counted_before_they_are_read() {
        let many = |count: usize, size: usize| {
            let raw = (0..count)
                .map(|n| (format!("mcp-param-p{n}"), vec![b'x'; size]))
                .collect();
            Headers::read(raw, &[])
        };
        assert_eq!(
            many(MAX_PARAMETERS, 8).unwrap().params.len(),
            MAX_PARAMETERS
        );
        for (count, size) in [(MAX_PARAMETERS + 1, 1), (2, MAX_PARAMETER_BYTES / 2)] {
            assert_eq!(
                many(count, size).unwrap_err(),
                HeaderError::TooManyParameters
            );
        }
        assert_eq!(
            read(&[("mcp-param-a", b"1"), ("mcp-param-a", b"1")]).unwrap_err(),
            HeaderError::RepeatedParameter("a".to_owned())
        );
    }

    #[test]
    fn a_stream_is_taken_up_after_an_event_that_can_be_one() {
        assert!(read(&[("last-event-id", "stream_7 \u{e9}".as_bytes())]).is_ok());
        let long = vec![b'x'; MAX_EVENT_ID + 1];
        for bad in [b"a\nb".as_slice(), b"a\0", &long] {
            assert_eq!(
                read(&[("last-event-id", bad)]).unwrap_err(),
                HeaderError::NotAnEvent
            );
        }
    }

    #[test]
    fn a_token_in_the_query_is_seen_however_it_is_spelt() {
        for (path, found) in [
            ("/mcp?access_token=x", true),
            ("/mcp?a=1&access%5Ftoken=x", true),
            ("/mcp?ACCESS_TOKEN=x", true),
            ("/mcp?a=access_token", false),
            ("/mcp", false),
        ] {
            assert_eq!(
                read(&[(":path", path.as_bytes())])
                    .unwrap()
                    .token_in_query(),
                found,
                "{path}"
            );
        }
    }

    #[test]
    fn only_json_is_json() {
        for (value, json) in [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json; charset=\"utf-8\"", true),
            ("application/json; charset=utf-16", false),
            ("application/json; charset", false),
            ("application/jsonp", false),
            ("text/plain", false),
            ("application/json, text/plain", false),
        ] {
            assert_eq!(is_json(Some(value)), json, "{value}");
        }
        assert!(!is_json(None));
    }
}
