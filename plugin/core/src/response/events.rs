//! An event stream (WHATWG HTML, server-sent events), read event by event as its bytes come, at any boundary.
//!
//! Comments between events pass at once, so that keep-alives keep alive; an event passes when it is complete, as it came
//! or with other data, or, where that is allowed of a long one, as it comes. An event that never completes is never passed on, which is what its reader would do with it.

use super::long::{Long, Progress};
use super::scan::{Large, NoPlainResult};

const BOM: &[u8] = b"\xef\xbb\xbf";

/// How a complete event passes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// As it came.
    AsItIs,
    /// With other data.
    With(Vec<u8>),
    /// Without any: then it only tells where to take the stream up again.
    Empty,
}

/// Asked about a complete event: its type, as it is written, and its data.
type Judge<'a, E> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<Passed, E>;

/// Cuts a stream into events.
#[derive(Debug)]
pub(crate) struct Events {
    /// The bytes of the event that is not complete yet.
    event: Vec<u8>,
    /// Where in `event` the current line begins.
    line: usize,
    /// Whether the event has fields, and is not only comments.
    has_fields: bool,
    /// Whether the last byte was a CR that ended a line: an LF belongs to it.
    after_cr: bool,
    /// Whether no line has ended yet.
    at_start: bool,
    /// The most bytes of one event.
    most: usize,
    /// A longer one, which passes as it comes.
    long: Option<Box<Long>>,
    /// The last of these that is over.
    passed: Option<Large>,
}

/// What becomes of an event that is longer than what is held for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Longer {
    /// It passes as it comes, as long as it is a plain result.
    Passes,
    /// It ends the stream.
    Ends,
}

/// An event is longer than what is held for it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {0} bytes")]
pub(crate) struct TooLong(usize);

impl Events {
    /// For events of at most `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            event: Vec::new(),
            line: 0,
            has_fields: false,
            after_cr: false,
            at_start: true,
            most,
            long: None,
            passed: None,
        }
    }

    /// Whether an event that passes as it comes is not over.
    pub(super) fn is_within_long(&self) -> bool {
        self.long.is_some()
    }

    /// The last event that passed as it came and is over.
    pub(super) fn passed(&mut self) -> Option<Large> {
        self.passed.take()
    }

    /// Takes the next bytes and adds to `out` what may pass; `judge` is asked about each complete event that has data.
    pub(crate) fn see<E: From<TooLong> + From<NoPlainResult>>(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        longer: Longer,
        judge: Judge<'_, E>,
    ) -> Result<(), E> {
        for &byte in bytes {
            if self.long.is_some() {
                self.pass(byte, out)?;
                continue;
            }
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                if self.event.is_empty() {
                    out.push(byte);
                } else {
                    self.event.push(byte);
                    self.line = self.event.len();
                }
                continue;
            }
            if self.event.len() >= self.most {
                if longer == Longer::Ends {
                    return Err(TooLong(self.most).into());
                }
                self.drop_mark();
                self.long = Some(Box::default());
                for byte in self.take() {
                    self.pass(byte, out)?;
                }
                self.pass(byte, out)?;
                continue;
            }
            self.event.push(byte);
            if matches!(byte, b'\n' | b'\r') {
                self.after_cr = byte == b'\r';
                self.end_line(out, judge)?;
            }
        }
        Ok(())
    }

    /// A byte of an event that passes as it comes.
    fn pass(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), NoPlainResult> {
        let Some(long) = &mut self.long else {
            return Ok(());
        };
        let progress = long.byte(byte)?;
        out.push(byte);
        if progress == Progress::AtEnd {
            self.after_cr = byte == b'\r';
            self.passed = self.long.take().map(|long| long.end()).transpose()?;
        }
        Ok(())
    }

    fn end_line<E>(&mut self, out: &mut Vec<u8>, judge: Judge<'_, E>) -> Result<(), E> {
        self.drop_mark();
        let line = self.event.get(self.line..).unwrap_or_default();
        let empty = line.len() == 1;
        self.has_fields |= !empty && line.first() != Some(&b':');
        self.line = self.event.len();
        if empty && self.has_fields {
            let event = self.take();
            let data = event_data(&event).filter(|data| !data.is_empty());
            match data
                .map(|data| judge(event_type(&event), &data))
                .transpose()?
            {
                Some(Passed::With(other)) => with_data(&event, Some(&other), out),
                Some(Passed::Empty) => with_data(&event, None, out),
                Some(Passed::AsItIs) | None => out.extend_from_slice(&event),
            }
        } else if !self.has_fields {
            out.extend_from_slice(&self.take());
        }
        Ok(())
    }

    /// Readers drop a byte order mark at the beginning of a stream, and nowhere else.
    fn drop_mark(&mut self) {
        if std::mem::take(&mut self.at_start) && self.event.starts_with(BOM) {
            self.event.drain(..BOM.len());
        }
    }

    fn take(&mut self) -> Vec<u8> {
        (self.line, self.has_fields) = (0, false);
        std::mem::take(&mut self.event)
    }
}

/// The lines of an event with their ends: CRLF, LF or CR.
fn lines(event: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = event;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.iter().position(|b| matches!(b, b'\n' | b'\r'));
        let length = match end {
            None => rest.len(),
            Some(at) if rest.get(at..at + 2) == Some(b"\r\n") => at + 2,
            Some(at) => at + 1,
        };
        let (line, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(line)
    })
}

/// The value of a `data` line.
fn data_of(line: &[u8]) -> Option<&[u8]> {
    value_of(line, b"data")
}

/// The value of a line with this field.
fn value_of<'a>(line: &'a [u8], field: &[u8]) -> Option<&'a [u8]> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.strip_prefix(field)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

/// The event's data: its `data` lines, joined.
fn event_data(event: &[u8]) -> Option<Vec<u8>> {
    let mut values = lines(event).filter_map(data_of);
    let mut data = values.next()?.to_vec();
    for value in values {
        data.push(b'\n');
        data.extend_from_slice(value);
    }
    Some(data)
}

/// The event's type: what its last `event` line says, and nothing where there is none.
fn event_type(event: &[u8]) -> &[u8] {
    let types = lines(event).filter_map(|line| value_of(line, b"event"));
    types.last().unwrap_or_default()
}

/// The event with other data, or with none.
fn with_data(event: &[u8], data: Option<&[u8]>, out: &mut Vec<u8>) {
    let mut written = false;
    for line in lines(event) {
        if data_of(line).is_none() {
            // A CR and an LF that had a line between them must not become one line end.
            if line.starts_with(b"\n") && out.ends_with(b"\r") {
                out.push(b'\n');
            }
            out.extend_from_slice(line);
        } else if let Some(data) = data
            && !std::mem::replace(&mut written, true)
        {
            for value in data.split(|b| matches!(b, b'\n' | b'\r')) {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(value);
                out.push(b'\n');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Problem;
    use crate::response::scan::Said;
    use sha2::{Digest as _, Sha256};

    /// Upper-cases events whose data begins with `x`, empties those whose data begins with `-`, and notes all data.
    fn passed(stream: &[u8], chunk: usize) -> (String, Vec<String>) {
        let (mut out, mut seen) = (Vec::new(), Vec::new());
        let mut events = Events::new(64);
        for bytes in stream.chunks(chunk) {
            events
                .see::<Problem>(bytes, &mut out, Longer::Ends, &mut |of_type, data| {
                    let text = [of_type, b"|", data].concat();
                    seen.push(String::from_utf8(text).unwrap());
                    Ok(match data.first() {
                        Some(b'x') => Passed::With(data.to_ascii_uppercase()),
                        Some(b'-') => Passed::Empty,
                        _ => Passed::AsItIs,
                    })
                })
                .unwrap();
        }
        (String::from_utf8(out).unwrap(), seen)
    }

    #[test]
    fn events_pass_whole_at_any_boundary_and_with_any_line_end() {
        for end in ["\n", "\r\n", "\r"] {
            let stream = "\u{feff}: hi|data: a|id: 1||:||event: message|data: x|data:y|retry: 5||data|data:||event: no|data: -|id: 2||data: cut"
                .replace('|', end);
            let expected = format!(
                ": hi|data: a|id: 1||:||event: message|{}retry: 5||data|data:||event: no|id: 2||",
                "data: X\ndata: Y\n"
            )
            .replace('|', end);
            for chunk in 1..stream.len() {
                let (out, seen) = passed(stream.as_bytes(), chunk);
                assert_eq!(out, expected, "{end:?} {chunk}");
                assert_eq!(
                    seen,
                    ["|a", "message|x\ny", "|\n", "no|-"],
                    "{end:?} {chunk}"
                );
            }
        }
    }

    #[test]
    fn a_byte_order_mark_counts_at_the_beginning_only_as_it_does_for_readers() {
        let stream = "\u{feff}data: a\n\n\u{feff}data: {\ndata: b\n\u{feff}data: }\n\n";
        for chunk in 1..stream.len() {
            assert_eq!(passed(stream.as_bytes(), chunk).1, ["|a", "|b"], "{chunk}");
        }
    }

    #[test]
    fn other_data_keeps_the_line_that_ends_the_event() {
        let stream = b"data: x\nid: 1\rdata: y\n\ndata: a\n\n";
        assert_eq!(
            passed(stream, 7).0,
            "data: X\ndata: Y\nid: 1\r\n\ndata: a\n\n"
        );
    }

    #[test]
    fn a_comment_between_events_passes_with_its_line() {
        assert_eq!(passed(b": keep-alive\n", 5).0, ": keep-alive\n");
        assert_eq!(passed(b"id: 1\n: in the event\n", 5).0, "");
    }

    #[test]
    fn an_event_too_long_is_an_error_and_a_long_stream_is_not() {
        let stream = b"data: x\n\n".repeat(1000);
        assert_eq!(passed(&stream, 7).1.len(), 1000);
        let mut events = Events::new(8);
        let long =
            events.see::<Problem>(b"data: 1234", &mut Vec::new(), Longer::Ends, &mut |_, _| {
                Ok(Passed::AsItIs)
            });
        assert!(matches!(long, Err(Problem::TooLong(TooLong(8)))));
    }

    #[test]
    fn a_long_event_may_pass_as_it_comes_and_what_is_no_result_does_not() {
        let result = r#"{"id":1,|data:"result":{"content":["method","method"]},|id: 4|data: "x":"abcdefghijklmnop"}"#;
        for end in ["\n", "\r\n", "\r"] {
            let long = format!("event: message|data: {result}||: hi||data: x||").replace('|', end);
            let (mut whole, mut seen) = (Vec::new(), Vec::new());
            for chunk in 1..long.len() {
                let mut events = Events::new(32);
                let (mut out, mut data) = (Vec::new(), Vec::new());
                for bytes in long.as_bytes().chunks(chunk) {
                    let seen =
                        events.see::<Problem>(bytes, &mut out, Longer::Passes, &mut |_, seen| {
                            data.push(seen.to_vec());
                            Ok(Passed::AsItIs)
                        });
                    seen.unwrap();
                }
                (whole, seen) = (out, data);
                assert_eq!(String::from_utf8(whole.clone()).unwrap(), long, "{chunk}");
                assert_eq!(seen, [b"x"], "{chunk}");
                let (said, digest) = events.passed().unwrap().end();
                assert_eq!(said, Said::Result);
                let data = result
                    .replace("|id: 4|data: ", "\n")
                    .replace("|data:", "\n");
                assert_eq!(digest.as_slice(), Sha256::digest(data).as_slice());
            }
            assert_eq!((whole.len(), seen.len()), (long.len(), 1));
            let asks = long.replace("\"x\"", "\"method\"");
            for asks in [
                asks.clone(),
                format!("\u{feff}{}", asks.split_once(end).unwrap().1),
            ] {
                let passed = Events::new(32).see::<Problem>(
                    asks.as_bytes(),
                    &mut Vec::new(),
                    Longer::Passes,
                    &mut |_, _| Ok(Passed::AsItIs),
                );
                assert!(matches!(passed, Err(Problem::NoPlainResult(_))), "{asks:?}");
            }
        }
    }
}
