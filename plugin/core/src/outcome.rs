//! How a call ended, watched as the response passes: bytes flow on at once, a bounded copy tells the result.

use serde::Deserialize;
use serde::de::IgnoredAny;
use writ_policy::event::CallResult;

/// The most of a response, or of one event of a stream, that is looked at, in bytes.
const MAX_WATCHED: usize = 64 * 1024;

/// Watches one response.
#[derive(Debug)]
pub(crate) struct Watch {
    status: Option<u16>,
    form: Form,
    copy: Vec<u8>,
    result: Option<CallResult>,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Events,
    Other,
}

impl Watch {
    /// A response that began with `status` and `content_type`.
    pub(crate) fn new(status: Option<u16>, content_type: Option<&[u8]>) -> Self {
        let essence = content_type
            .unwrap_or_default()
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default();
        let form = match essence.trim_ascii().to_ascii_lowercase().as_slice() {
            b"application/json" => Form::Json,
            b"text/event-stream" => Form::Events,
            _ => Form::Other,
        };
        Self {
            status,
            form,
            copy: Vec::new(),
            result: None,
            bytes: 0,
        }
    }

    /// Whether the bytes of the body matter, or only their number.
    pub(crate) fn wants_bytes(&self) -> bool {
        self.form != Form::Other && self.result != Some(CallResult::Unknown)
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.status
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Counts `size` bytes that were not looked at.
    pub(crate) fn pass(&mut self, size: usize) {
        self.bytes += size as u64;
    }

    /// Looks at the next bytes.
    pub(crate) fn see(&mut self, bytes: &[u8]) {
        self.pass(bytes.len());
        for line in bytes.split_inclusive(|byte| matches!(byte, b'\n' | b'\r')) {
            if self.copy.len() + line.len() > MAX_WATCHED {
                self.result = Some(CallResult::Unknown);
                self.copy = Vec::new();
                return;
            }
            self.copy.extend_from_slice(line);
            if self.form == Form::Events && line.ends_with(b"\n") | line.ends_with(b"\r") {
                self.see_line();
            }
        }
    }

    /// A complete line of an event stream: JSON-RPC servers put each message on one `data` line.
    fn see_line(&mut self) {
        let line = std::mem::take(&mut self.copy);
        if let Some(data) = line.trim_ascii().strip_prefix(b"data:")
            && let Some(result) = judge(data)
        {
            self.result = Some(result);
        }
    }

    /// How the call ended, now that the response has.
    pub(crate) fn end(self) -> CallResult {
        match (self.status, self.form) {
            (None, _) => CallResult::CutOff,
            (Some(status), _) if !(200..300).contains(&status) => CallResult::HttpError,
            (Some(202 | 204), _) => CallResult::Ok,
            (_, Form::Json) => self
                .result
                .or_else(|| judge(&self.copy))
                .unwrap_or(CallResult::Unknown),
            (_, Form::Events) => self.result.unwrap_or(CallResult::Ok),
            (_, Form::Other) => CallResult::Unknown,
        }
    }

    /// How the call ended, where the response was not read to its end: a caller that has seen its result in an event
    /// stream may close it without waiting for the server to.
    pub(crate) fn cut_off(self) -> CallResult {
        self.result.unwrap_or(CallResult::CutOff)
    }
}

/// What a JSON-RPC message says about the call; nothing where it is not a response.
fn judge(message: &[u8]) -> Option<CallResult> {
    #[derive(Deserialize)]
    struct Response {
        error: Option<IgnoredAny>,
        result: Option<ResultOf>,
    }
    #[derive(Deserialize)]
    struct ResultOf {
        #[serde(default, rename = "isError")]
        is_error: bool,
    }
    let response: Response = serde_json::from_slice(message).ok()?;
    match (response.error, response.result) {
        (Some(_), _) => Some(CallResult::ProtocolError),
        (None, Some(ResultOf { is_error: true })) => Some(CallResult::ToolError),
        (None, Some(_)) => Some(CallResult::Ok),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(status: u16, content_type: &str, body: &[u8], chunk: usize) -> CallResult {
        let mut watch = Watch::new(Some(status), Some(content_type.as_bytes()));
        for bytes in body.chunks(chunk.max(1)) {
            watch.see(bytes);
        }
        assert_eq!(watch.bytes(), body.len() as u64);
        watch.end()
    }

    #[test]
    fn a_stream_that_its_reader_left_is_cut_off_only_before_the_result() {
        let event = b"event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n";
        let mut watch = Watch::new(Some(200), Some(b"text/event-stream"));
        watch.see(event);
        assert_eq!(watch.cut_off(), CallResult::Ok);

        let mut watch = Watch::new(Some(200), Some(b"text/event-stream"));
        watch.see(b": keep-alive\n\n");
        assert_eq!(watch.cut_off(), CallResult::CutOff);
    }

    #[test]
    fn the_result_is_read_at_any_chunk_boundary() {
        let ok = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#;
        let tool = br#"{"jsonrpc":"2.0","id":1,"result":{"content":[],"isError":true}}"#;
        let error = br#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#;
        for chunk in 1..60 {
            assert_eq!(end(200, "application/json", ok, chunk), CallResult::Ok);
            assert_eq!(
                end(200, "application/json; charset=utf-8", tool, chunk),
                CallResult::ToolError
            );
            for ending in ["\n\n", "\r\n\r\n", "\r\r"] {
                let progress = r#"data: {"jsonrpc":"2.0","method":"notifications/progress"}"#;
                let result = format!("data: {}", String::from_utf8_lossy(error));
                let stream = format!(
                    ": hi{ending}{progress}{ending}event: message{result_sep}{result}{ending}",
                    result_sep = &ending[..ending.len() / 2]
                );
                assert_eq!(
                    end(200, "text/event-stream", stream.as_bytes(), chunk),
                    CallResult::ProtocolError
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_guessed() {
        assert_eq!(
            end(200, "application/json", &[b'x'; MAX_WATCHED + 1], 1000),
            CallResult::Unknown
        );
        assert_eq!(end(200, "application/json", b"{}", 1), CallResult::Unknown);
        assert_eq!(end(200, "text/html", b"<p>", 1), CallResult::Unknown);
        assert_eq!(
            end(502, "application/json", b"{}", 1),
            CallResult::HttpError
        );
        assert_eq!(end(202, "", b"", 1), CallResult::Ok);
        assert_eq!(Watch::new(None, None).end(), CallResult::CutOff);
    }
}
