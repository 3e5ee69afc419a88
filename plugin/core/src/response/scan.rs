//! An answer that is too large to be held, looked at as it passes: whether it is what a client may be given unheld, and how
//! the call went. Whatever else it is is told before its end, and half a message is none to its reader.

use sha2::{Digest as _, Sha256};

/// The longest name of a member that matters.
const LONGEST: usize = 16;

/// A message that is too large to be held, on its way: looked at, and its digest taken.
#[derive(Debug, Default)]
pub(crate) struct Large {
    scan: Scan,
    digest: Sha256,
}

impl Large {
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
#[error("an answer that is larger than what is held for it is no plain result")]
pub(crate) struct NoPlainResult;

impl Scan {
    fn see(&mut self, bytes: &[u8]) -> Result<(), NoPlainResult> {
        bytes.iter().try_for_each(|byte| self.byte(*byte))
    }

    fn byte(&mut self, byte: u8) -> Result<(), NoPlainResult> {
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
        match (self.depth, self.name.as_slice()) {
            (1, b"method" | b"error") => return Err(NoPlainResult),
            (1, name) => {
                self.in_result = name == b"result";
                if self.in_result && self.said == Said::Nothing {
                    self.said = Said::Result;
                }
            }
            (_, b"inputRequests") if self.in_result => return Err(NoPlainResult),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(document: &str) -> Result<Said, NoPlainResult> {
        let mut all = Vec::new();
        for chunk in 1..document.len() + 1 {
            let mut scan = Scan::default();
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
