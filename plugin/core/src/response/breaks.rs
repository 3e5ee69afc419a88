//! Characters at which some readers of event streams end a line, although only CR and LF do (WHATWG HTML, "parsing an event
//! stream"): those of Python's `str.splitlines`, for one. What is one line to the filter must be one to every reader, or a
//! server could put a message into what is looked at as a comment or a piece of text.
//!
//! In data, which is JSON, those that may be there as they are get written as JSON escapes: the same text to a reader of
//! JSON. Anywhere else, and with those that JSON knows in escapes only, the stream ends.

/// What may be in a JSON string, and its escape.
const IN_TEXT: [(char, &str); 3] = [
    ('\u{85}', "\\u0085"),
    ('\u{2028}', "\\u2028"),
    ('\u{2029}', "\\u2029"),
];

/// The stream is not read alike by all readers.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream holds a character that some readers take for the end of a line")]
pub(crate) struct OtherBreak;

/// Looks for such characters, at any chunk boundary. The first bytes of what may become one are held.
#[derive(Debug, Default)]
pub(super) struct Breaks(Held);

#[derive(Clone, Copy, Debug, Default)]
enum Held {
    #[default]
    Nothing,
    /// The first byte of U+0085.
    C2,
    /// The first byte of U+2028 and U+2029.
    E2,
    /// The first two.
    E280,
}

/// What a byte leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Bytes that were held, and are nothing special.
    pub(super) before: &'static [u8],
    pub(super) then: Then,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The byte is held, or the last of what is escaped.
    Nothing,
    /// The byte is as any other.
    Byte,
    /// A character is complete: this is its escape.
    Escape(&'static str),
}

impl Breaks {
    pub(super) fn step(&mut self, byte: u8) -> Result<Step, OtherBreak> {
        let held = std::mem::take(&mut self.0);
        let escape = |escape| Step {
            before: b"",
            then: Then::Escape(escape),
        };
        let before: &[u8] = match (held, byte) {
            (Held::C2, 0x85) => return Ok(escape("\\u0085")),
            (Held::E280, 0xa8) => return Ok(escape("\\u2028")),
            (Held::E280, 0xa9) => return Ok(escape("\\u2029")),
            (Held::E2, 0x80) => {
                self.0 = Held::E280;
                b""
            }
            (Held::Nothing, _) => b"",
            (Held::C2, _) => b"\xc2",
            (Held::E2, _) => b"\xe2",
            (Held::E280, _) => b"\xe2\x80",
        };
        match byte {
            0x0b | 0x0c | 0x1c..=0x1e => return Err(OtherBreak),
            0xc2 => self.0 = Held::C2,
            0xe2 => self.0 = Held::E2,
            _ => {}
        }
        let then = match self.0 {
            Held::Nothing => Then::Byte,
            Held::C2 | Held::E2 | Held::E280 => Then::Nothing,
        };
        Ok(Step { before, then })
    }
}

/// JSON of ours, in which a stream's readers see no other line ends.
pub(super) fn escaped(json: String) -> String {
    if !json.contains(IN_TEXT.map(|(character, _)| character)) {
        return json;
    }
    IN_TEXT
        .iter()
        .fold(json, |json, (from, to)| json.replace(*from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with escapes, as far as it goes.
    fn stepped(text: &[u8]) -> Result<Vec<u8>, OtherBreak> {
        let mut breaks = Breaks::default();
        let mut all = Vec::new();
        for byte in text {
            let Step { before, then } = breaks.step(*byte)?;
            all.extend_from_slice(before);
            match then {
                Then::Nothing => {}
                Then::Byte => all.push(*byte),
                Then::Escape(escape) => all.extend_from_slice(escape.as_bytes()),
            }
        }
        Ok(all)
    }

    #[test]
    fn what_json_may_hold_is_escaped_and_its_neighbours_are_not() {
        let text = "é \u{84}\u{85}\u{86} \u{2027}\u{2028}\u{2029}\u{202a} €… \u{10085}";
        let expected = escaped(text.to_owned());
        assert_eq!(
            expected,
            "é \u{84}\\u0085\u{86} \u{2027}\\u2028\\u2029\u{202a} €… \u{10085}"
        );
        assert_eq!(stepped(text.as_bytes()), Ok(expected.into_bytes()));
        // Readers that put something else for what is no UTF-8 go on with the next byte that begins a character.
        for (before, held) in [
            (&b"\xe2"[..], 1),
            (b"\xe2\x80", 2),
            (b"\xc2", 1),
            (b"\xf0\x90", 2),
        ] {
            let text = [before, b"\xe2\x80\xa8\xc2\x85"].concat();
            let expected = [&before[..held], b"\\u2028\\u0085"].concat();
            assert_eq!(stepped(&text), Ok(expected));
        }
    }

    #[test]
    fn what_json_may_not_hold_is_refused() {
        for byte in [0x0b, 0x0c, 0x1c, 0x1d, 0x1e] {
            assert_eq!(stepped(&[b'a', byte]), Err(OtherBreak));
        }
        assert_eq!(
            stepped(b"a\t\x1b\x1f\x7f\r\n"),
            Ok(b"a\t\x1b\x1f\x7f\r\n".to_vec())
        );
    }
}
