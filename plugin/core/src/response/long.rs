//! An event that is longer than what is held for one, on its way: its data is looked at as it passes.

use super::scan::{Large, NoPlainResult};
use crate::message::Id;

/// Bytes that are looked at at once.
const TOGETHER: usize = 4096;

const DATA: &[u8] = b"data:";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Long {
    large: Large,
    /// Data that has passed and was not looked at yet.
    seen: Vec<u8>,
    /// Bytes of the current line, and whether they are those of a `data` line so far.
    line: usize,
    is_other: bool,
    has_data: bool,
    after_cr: bool,
}

/// Whether an event is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Within,
    AtEnd,
}

impl Long {
    /// For the answer to the request with this id.
    pub(super) fn new(id: Id) -> Self {
        Self {
            large: Large::new(Some(id)),
            ..Self::default()
        }
    }

    /// Takes the next byte of the event.
    pub(super) fn byte(&mut self, byte: u8) -> Result<Progress, NoPlainResult> {
        if std::mem::take(&mut self.after_cr) && byte == b'\n' {
            return Ok(Progress::Within);
        }
        if matches!(byte, b'\n' | b'\r') {
            self.after_cr = byte == b'\r';
            let empty = std::mem::take(&mut self.line) == 0;
            self.is_other = false;
            return Ok(if empty {
                Progress::AtEnd
            } else {
                Progress::Within
            });
        }
        let at = self.line;
        self.line += 1;
        match DATA.get(at) {
            Some(expected) => self.is_other |= byte != *expected,
            None if self.is_other => {}
            None => {
                if at == DATA.len() && std::mem::replace(&mut self.has_data, true) {
                    self.look(b'\n')?;
                }
                if at > DATA.len() || byte != b' ' {
                    self.look(byte)?;
                }
            }
        }
        Ok(Progress::Within)
    }

    /// Whether a line has ended and the next one has not begun.
    pub(super) fn is_at_line(&self) -> bool {
        self.line == 0
    }

    /// Whether the current line has turned out to be one of data.
    pub(super) fn is_in_data(&self) -> bool {
        self.line >= DATA.len() && !self.is_other
    }

    fn look(&mut self, byte: u8) -> Result<(), NoPlainResult> {
        self.seen.push(byte);
        if self.seen.len() < TOGETHER {
            return Ok(());
        }
        self.large.see(&std::mem::take(&mut self.seen))
    }

    /// The event is over.
    pub(super) fn end(&mut self) -> Result<Large, NoPlainResult> {
        self.large.see(&self.seen)?;
        Ok(std::mem::take(&mut self.large))
    }
}
