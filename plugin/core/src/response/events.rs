//! An event stream (WHATWG HTML, server-sent events), read event by event as its bytes come, at any boundary.
//!
//! Comments between events pass at once, so that keep-alives keep alive; an event passes when it is complete, as it came
//! or with other data, or, where that is allowed of a long one, as it comes. An event that never completes is never passed on, which is what its reader would do with it.

use super::breaks::{Breaks, OtherBreak, Then};
use super::long::{Long, Progress};
use super::scan::{Large, NoPlainResult};
use crate::message::Id;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// How a complete event passes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    /// As it came.
    AsItIs,
    /// With other data.
    With(Vec<u8>),
    /// As many, with this data.
    Each(Vec<Vec<u8>>),
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
    /// What other readers take for ends of lines.
    breaks: Breaks,
    /// The most bytes of one event.
    most: usize,
    /// A longer one, which passes as it comes.
    long: Option<Box<Long>>,
    /// The last of these that is over.
    passed: Option<Large>,
}

/// What becomes of an event that is longer than what is held for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Longer<'a> {
    /// It passes as it comes, as long as it is a plain result of the request with this id.
    Passes(&'a Id),
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
            breaks: Breaks::default(),
            most,
            long: None,
            passed: None,
        }
    }

    /// What makes the data that has passed of an event that is not over a message to nobody, and ends the event; nothing
    /// where no such event is under way.
    pub(super) fn cut(&self) -> &'static str {
        match &self.long {
            None => "",
            Some(long) if long.is_at_line() => "data: cut off\n\n",
            Some(_) => "\ndata: cut off\n\n",
        }
    }

    /// The last event that passed as it came and is over.
    pub(super) fn passed(&mut self) -> Option<Large> {
        self.passed.take()
    }

    /// Takes the next bytes and adds to `out` what may pass; `judge` is asked about each complete event that has data.
    pub(crate) fn see<E: From<TooLong> + From<NoPlainResult> + From<OtherBreak>>(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        longer: Longer<'_>,
        judge: Judge<'_, E>,
    ) -> Result<(), E> {
        for &byte in bytes {
            let step = self.breaks.step(byte)?;
            for &held in step.before {
                self.byte(held, out, longer, judge)?;
            }
            match step.then {
                Then::Nothing => {}
                Then::Byte => self.byte(byte, out, longer, judge)?,
                Then::Escape(_) if !self.is_in_data() => return Err(OtherBreak.into()),
                Then::Escape(escape) => {
                    for byte in escape.bytes() {
                        self.byte(byte, out, longer, judge)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the line at hand has turned out to be one of data.
    fn is_in_data(&self) -> bool {
        match &self.long {
            Some(long) => long.is_in_data(),
            None => self
                .event
                .get(self.line..)
                .is_some_and(|line| line.starts_with(b"data:")),
        }
    }

    fn byte<E: From<TooLong> + From<NoPlainResult>>(
        &mut self,
        byte: u8,
        out: &mut Vec<u8>,
        longer: Longer<'_>,
        judge: Judge<'_, E>,
    ) -> Result<(), E> {
        if self.long.is_some() {
            return Ok(self.pass(byte, out)?);
        }
        if std::mem::take(&mut self.after_cr) && byte == b'\n' {
            if self.event.is_empty() {
                out.push(byte);
            } else {
                self.event.push(byte);
                self.line = self.event.len();
            }
            return Ok(());
        }
        if self.event.len() >= self.most {
            let Longer::Passes(id) = longer else {
                return Err(TooLong(self.most).into());
            };
            self.drop_mark();
            self.long = Some(Box::new(Long::new(id.clone())));
            for byte in self.take() {
                self.pass(byte, out)?;
            }
            return Ok(self.pass(byte, out)?);
        }
        self.event.push(byte);
        if matches!(byte, b'\n' | b'\r') {
            self.after_cr = byte == b'\r';
            self.end_line(out, judge)?;
        }
        Ok(())
    }

    /// A byte of an event that passes as it comes.
    fn pass(&mut self, byte: u8, out: &mut Vec<u8>) -> Result<(), NoPlainResult> {
        let Some(long) = &mut self.long else {
            return Ok(());
        };
        if long.byte(byte)? == Progress::AtEnd {
            self.after_cr = byte == b'\r';
            // Before the line that would make it an event.
            self.passed = Some(long.end()?);
            self.long = None;
        }
        out.push(byte);
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
                Some(Passed::Each(all)) => {
                    for other in all {
                        with_data(&event, Some(&other), out);
                    }
                }
                Some(Passed::Empty) => with_data(&event, None, out),
                Some(Passed::AsItIs) | None => out.extend_from_slice(&event),
            }
        } else if !self.has_fields {
            out.extend_from_slice(&self.take());
        }
        Ok(())
    }

    /// Readers drop a byte order mark at the beginning of a stream, and nowhere else. Where another follows, which they leave,
    /// both go on: without the first they would drop that one, and see a line that is none here.
    fn drop_mark(&mut self) {
        if std::mem::take(&mut self.at_start)
            && let Some(rest) = self.event.strip_prefix(BOM)
            && !rest.starts_with(BOM)
        {
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
mod tests;
