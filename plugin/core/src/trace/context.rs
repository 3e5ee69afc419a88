//! `traceparent` and `tracestate` (W3C Trace Context Level 2, sections 3.2 and 3.3).

/// The longest `tracestate` that is passed on, in bytes: what everybody should pass on (section 3.3.1.5).
const MAX_STATE: usize = 512;

/// The most members of it (section 3.3.1.1).
const MAX_MEMBERS: usize = 32;

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// A `traceparent`, checked, as version 00 has it: of a later version, what that knows (section 3.2.4), and of the flags those
/// that have a meaning, sampled and that the trace id is random.
pub(crate) fn checked(text: &str) -> Option<String> {
    let known = text.get(..LENGTH)?;
    let (version, rest) = (known.get(..2)?, known.get(2..LENGTH - 2)?);
    let fits = known.bytes().enumerate().all(|(at, byte)| match at {
        2 | 35 | 52 => byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    let ends = match text.as_bytes().get(LENGTH) {
        None => true,
        Some(b'-') => version != "00",
        Some(_) => false,
    };
    let is_none = |id: &str| id.bytes().all(|digit| digit == b'0');
    if !fits || !ends || version == "ff" || is_none(trace_id(known)) || is_none(span_id(known)) {
        return None;
    }
    let flags = char::from(*known.as_bytes().last()?).to_digit(16)? & 0b11;
    let mut checked = String::with_capacity(LENGTH);
    for part in ["00", rest, "0"] {
        checked.push_str(part);
    }
    checked.push(char::from_digit(flags, 10)?);
    Some(checked)
}

/// The trace's id in a `traceparent`.
pub(crate) fn trace_id(checked: &str) -> &str {
    checked.get(3..35).unwrap_or_default()
}

/// The span's id in a `traceparent`.
pub(crate) fn span_id(checked: &str) -> &str {
    checked.get(36..52).unwrap_or_default()
}

/// Whether whoever began the trace keeps it.
pub(crate) fn is_sampled(checked: &str) -> bool {
    checked.ends_with(['1', '3'])
}

/// Another span of the trace of a `traceparent`.
pub(crate) fn child(checked: &str, span: [u8; 8]) -> Option<String> {
    let mut child = String::with_capacity(LENGTH);
    child.push_str(checked.get(..36)?);
    for byte in span {
        for digit in [byte >> 4, byte & 0xf] {
            child.push(char::from_digit(digit.into(), 16)?);
        }
    }
    child.push_str(checked.get(52..)?);
    Some(child)
}

/// A span of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace's id, never 0.
    pub trace: u128,
    /// The span's id, never 0.
    pub span: u64,
    /// `trace-flags`.
    pub flags: u8,
}

impl Context {
    /// Reads a `traceparent`. Of a later version, what this one knows (section 3.2.4).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = checked(text)?;
        Some(Self {
            trace: u128::from_str_radix(trace_id(&text), 16).ok()?,
            span: u64::from_str_radix(span_id(&text), 16).ok()?,
            flags: u8::from_str_radix(text.get(53..)?, 16).ok()?,
        })
    }

    /// Whether whoever began the trace keeps it.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 != 0
    }

    /// Another span of the trace.
    #[must_use]
    pub fn child(&self, span: u64) -> Self {
        Self { span, ..*self }
    }

    /// The trace's id, in hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// The span's id, in hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }
}

/// Whether a `tracestate` may be passed on: bounded, and printable ASCII.
#[must_use]
pub fn is_state(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_STATE
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        && text.bytes().filter(|byte| *byte == b',').count() < MAX_MEMBERS
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_span_is_read_and_written_alike() {
        let context = Context::parse(GOOD).unwrap();
        assert!(context.is_sampled() && is_sampled(GOOD));
        assert_eq!(checked(GOOD).as_deref(), Some(GOOD));
        assert_eq!(context.trace_id(), trace_id(GOOD));
        assert_eq!(context.span_id(), span_id(GOOD));
        let own = child(GOOD, [0, 0, 0, 0, 0, 0, 0x1f, 0xa0]).unwrap();
        assert_eq!(Context::parse(&own), Some(context.child(0x1fa0)));
    }

    #[test]
    fn of_a_later_version_what_is_known_is_read() {
        for (text, flags) in [
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", 1),
            (
                "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe-what-ever",
                2,
            ),
        ] {
            let context = Context::parse(text).unwrap();
            assert_eq!(context.flags, flags, "{text}");
            let known = checked(text).unwrap();
            assert_eq!((known.len(), &known[..3]), (55, "00-"), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_is_none() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-001",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-000f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
            "00_4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7_01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Context::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_tracing_systems_add_is_bounded_text() {
        assert!(is_state("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"));
        assert!(is_state(&vec!["a=b"; MAX_MEMBERS].join(",")));
        let members = vec!["a=b"; MAX_MEMBERS + 1].join(",");
        for bad in ["", "a=\u{e9}", "a=\n", &"a".repeat(MAX_STATE + 1), &members] {
            assert!(!is_state(bad), "{bad:?}");
        }
    }
}
