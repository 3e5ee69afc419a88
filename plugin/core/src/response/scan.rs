//! An answer that is too large to be held, looked at as it passes: whether it is what a client may be given unheld, and how
//! the call went. Whatever else it is is told before its end, and half a message is none to its reader.

use sha2::{Digest as _, Sha256};

use super::text::{is_misnamed, read_id};
use crate::message::Id;

/// No name of a member that matters is longer, in whatever case it is written.
const LONGEST: usize = 64;

/// The longest id that is read, as it is written.
const LONGEST_ID: usize = 8 * 1024;

/// A message that is too large to be held, on its way: looked at, and its digest taken.
#[derive(Debug, Default)]
pub(crate) struct Large {
    scan: Scan,
    digest: Sha256,
}

impl Large {
    /// For the answer to the request with this id.
    pub(super) fn new(id: Option<Id>) -> Self {
        Self {
            scan: Scan {
                id,
                ..Scan::default()
            },
            ..Self::default()
        }
    }

    /// Takes the next bytes.
    pub(super) fn see(&mut self, bytes: &[u8]) -> Result<(), NoPlainResult> {
        self.scan.see(bytes)?;
        self.digest.update(bytes);
        Ok(())
    }

    /// What the document said, now that it is over, and its SHA-256.
    pub(super) fn end(self) -> (Said, [u8; 32]) {
        (self.scan.said, self.digest.finalize().into())
    }
}

/// Looks at one JSON document, at any chunk boundary.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    /// Whether the containers at the first two levels are objects.
    objects: [bool; 2],
    string: Option<Text>,
    /// Whether the next string names a member.
    name_next: bool,
    name: Vec<u8>,
    in_result: bool,
    /// The id of the request.
    id: Option<Id>,
    /// The document's own, while it is read: what stands behind its name.
    written: Option<Vec<u8>>,
    has_id: bool,
    is_ours: bool,
    has_result: bool,
    /// Whether the document has come to its end.
    over: bool,
    /// What the document said so far.
    said: Said,
}

/// What a scanned answer says about the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing.
    #[default]
    Nothing,
    /// A result.
    Result,
    /// A result with `isError: true`.
    ToolError,
}

#[derive(Debug)]
struct Text {
    is_name: bool,
    escaped: bool,
}

/// The document is no plain result.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an answer that is larger than what is held for it is no plain result of the request that it was asked for"
)]
pub(crate) struct NoPlainResult;

impl Scan {
    fn see(&mut self, bytes: &[u8]) -> Result<(), NoPlainResult> {
        bytes.iter().try_for_each(|byte| self.byte(*byte))
    }

    fn byte(&mut self, byte: u8) -> Result<(), NoPlainResult> {
        if self.over && !byte.is_ascii_whitespace() {
            return Err(NoPlainResult);
        }
        if let Some(written) = &mut self.written {
            if self.string.is_none() && matches!(byte, b',' | b'}') {
                self.check_id()?;
            } else if written.len() < LONGEST_ID {
                written.push(byte);
            } else {
                return Err(NoPlainResult);
            }
        }
        if let Some(text) = &mut self.string {
            match byte {
                _ if text.escaped => text.escaped = false,
                b'"' => {
                    let is_name = text.is_name;
                    self.string = None;
                    return if is_name { self.named() } else { Ok(()) };
                }
                // A name that matters and is written in another way.
                b'\\' if text.is_name => return Err(NoPlainResult),
                b'\\' => text.escaped = true,
                _ if text.is_name && self.name.len() <= LONGEST => self.name.push(byte),
                _ => {}
            }
            return Ok(());
        }
        match byte {
            b'"' => {
                self.string = Some(Text {
                    is_name: std::mem::take(&mut self.name_next),
                    escaped: false,
                });
            }
            b'{' | b'[' => {
                if self.depth == 0 && byte == b'[' {
                    return Err(NoPlainResult);
                }
                self.enter(byte == b'{');
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.name_next = false;
                self.over = self.depth == 0;
                if self.over && self.has_result && !self.is_ours {
                    return Err(NoPlainResult);
                }
            }
            b',' => {
                let at = self.depth.checked_sub(1);
                self.name_next = at.and_then(|at| self.objects.get(at)) == Some(&true);
            }
            b't' if self.depth == 2 && self.in_result && self.name == b"isError" => {
                self.said = Said::ToolError;
            }
            _ => {}
        }
        if self.name_next {
            self.name.clear();
        }
        Ok(())
    }

    fn enter(&mut self, is_object: bool) {
        if let Some(level) = self.objects.get_mut(self.depth) {
            *level = is_object;
        }
        self.name_next = is_object && self.depth < self.objects.len();
        self.depth += 1;
    }

    fn named(&mut self) -> Result<(), NoPlainResult> {
        let name = self.name.as_slice();
        let matters = (self.depth == 1 || self.in_result) && name.len() <= LONGEST;
        if matters && std::str::from_utf8(name).map_or(true, is_misnamed) {
            return Err(NoPlainResult);
        }
        if self.depth == 1 {
            self.in_result = name == b"result";
        }
        match (self.depth, name) {
            (1, b"method" | b"error") => return Err(NoPlainResult),
            (1, b"id") => {
                if std::mem::replace(&mut self.has_id, true) {
                    return Err(NoPlainResult);
                }
                self.written = Some(Vec::new());
            }
            (1, b"result") => {
                if std::mem::replace(&mut self.has_result, true) {
                    return Err(NoPlainResult);
                }
                self.said = Said::Result;
            }
            (_, b"inputRequests") if self.in_result => return Err(NoPlainResult),
            _ => {}
        }
        Ok(())
    }

    /// Holds the id against that of the request, now that it has been read.
    fn check_id(&mut self) -> Result<(), NoPlainResult> {
        let written = self.written.take().unwrap_or_default();
        let id = written.trim_ascii().strip_prefix(b":");
        let id = id.and_then(|id| serde_json::from_slice(id).ok());
        self.is_ours = self.id.is_some() && id.and_then(read_id) == self.id;
        if self.is_ours {
            Ok(())
        } else {
            Err(NoPlainResult)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(document: &str) -> Result<Said, NoPlainResult> {
        let mut all = Vec::new();
        for chunk in 1..document.len() + 1 {
            let mut scan = Scan {
                id: Some(Id::Number(1)),
                ..Scan::default()
            };
            let seen = document
                .as_bytes()
                .chunks(chunk)
                .try_for_each(|bytes| scan.see(bytes));
            all.push(seen.map(|()| scan.said));
        }
        let first = all.pop().unwrap();
        assert!(all.iter().all(|other| *other == first), "{document}");
        first
    }

    #[test]
    fn a_plain_result_passes_and_says_how_the_call_went() {
        let result = r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"{\"method\":\"x\",\"inputRequests\":[]}","method":1,"error":2}],"structuredContent":{"method":"x","inputRequests":{},"isError":true},"isError":false,"list":["method","error"]}}"#;
        assert_eq!(said(result), Ok(Said::Result));
        assert_eq!(said(&result.replace("false", " true")), Ok(Said::ToolError));
        assert_eq!(
            said(r#"{"id":1,"result":{"is\u0045rror":1}}"#),
            Err(NoPlainResult)
        );
        assert_eq!(said("{}"), Ok(Said::Nothing));
    }

    #[test]
    fn the_id_is_that_of_the_request_wherever_it_is() {
        for good in [
            r#"{"id":1,"result":{"id":2}}"#,
            r#"{"result":{"id":2,"x":[{"id":3}]},"id" : 1 }"#,
            "{\"result\":{}\n,\n\"id\"\n:\n1\n}\n",
        ] {
            assert_eq!(said(good), Ok(Said::Result), "{good}");
        }
        for bad in [
            r#"{"result":{}}"#,
            r#"{"result":{"id":1}}"#,
            r#"{"id":2,"result":{}}"#,
            r#"{"result":{},"id":2}"#,
            r#"{"id":1,"result":{},"id":1}"#,
            r#"{"id":1,"result":{},"result":{}}"#,
            r#"{"id":"1","result":{}}"#,
            r#"{"id":1.0,"result":{}}"#,
            r#"{"id":null,"result":{}}"#,
            r#"{"id":[1,1],"result":{}}"#,
            r#"{"id":{"id":1},"result":{}}"#,
            r#"{"ID":1,"id":1,"result":{}}"#,
            r#"{"id":1,"Result":{},"result":{}}"#,
            r#"{"id":1,"result":{"InputRequests":{}}}"#,
            r#"{"id":1,"result":{}}{}"#,
            r#"{"id":1,"result":{}} "id""#,
        ] {
            assert_eq!(said(bad), Err(NoPlainResult), "{bad}");
        }
        let long = format!(r#"{{"id":{}1,"result":{{}}}}"#, " ".repeat(LONGEST_ID));
        assert_eq!(said(&long[..LONGEST_ID]), Ok(Said::Nothing));
        let mut scan = Scan::default();
        assert_eq!(scan.see(long.as_bytes()), Err(NoPlainResult));
    }

    #[test]
    fn what_asks_the_client_for_something_does_not() {
        for document in [
            r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"method":"x"}"#,
            r#"{"jsonrpc":"2.0","id":1,"m\u0065thod":"x"}"#,
            r#" [{"jsonrpc":"2.0","id":1,"method":"x"}]"#,
            r#"{"id":1,"result":{"x":[[1,{"a":"]}"}]],"inputRequests":{}}}"#,
            r#"{"id":1,"error":{"code":-32042}}"#,
        ] {
            assert_eq!(said(document), Err(NoPlainResult), "{document}");
        }
    }
}
