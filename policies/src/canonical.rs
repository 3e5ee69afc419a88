//! JSON in its canonical form (RFC 8785, JCS): the same text for the same document, however it was written.
//!
//! Refused is what has no meaning that all readers share: invalid JSON, a member that is there twice, more than
//! [`MAX_DEPTH`] levels. Whole numbers beyond ±2^53, which RFC 8785 rounds to doubles, keep their digits as far as 64 bits hold
//! them, so that two of them are not taken for one.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// The deepest nesting of arrays and objects that is read.
const MAX_DEPTH: usize = 64;

/// A JSON value, its strings borrowed where they hold no escapes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    String(Cow<'a, str>),
    Array(Vec<Self>),
    /// Its members as RFC 8785 section 3.2.3 sorts them.
    Object(Vec<(Cow<'a, str>, Self)>),
}

impl<'a> Json<'a> {
    /// Reads one document.
    pub(crate) fn read(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(text);
        let read = Level(0).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(read)
    }

    /// A member of an object.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else {
            return None;
        };
        let found = members.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value)
    }

    /// The canonical form.
    pub(crate) fn canonical(&self) -> String {
        let mut text = String::with_capacity(512);
        self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) {
        match self {
            Self::Null => text.push_str("null"),
            Self::Bool(true) => text.push_str("true"),
            Self::Bool(false) => text.push_str("false"),
            Self::Number(number) => write_number(number, text),
            Self::String(string) => write_string(string, text),
            Self::Array(items) => {
                text.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    item.write(text);
                }
                text.push(']');
            }
            Self::Object(members) => {
                text.push('{');
                for (index, (key, value)) in members.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    write_string(key, text);
                    text.push(':');
                    value.write(text);
                }
                text.push('}');
            }
        }
    }
}

/// RFC 8785 section 3.2.2.2.
fn write_string(string: &str, text: &mut String) {
    text.push('"');
    let mut plain = string;
    while let Some(at) = plain.find(|c: char| c < ' ' || matches!(c, '"' | '\\')) {
        let (before, rest) = plain.split_at(at);
        text.push_str(before);
        let mut rest = rest.chars();
        match rest.next().unwrap_or_default() {
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            c @ ('"' | '\\') => text.extend(['\\', c]),
            c => text.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
        plain = rest.as_str();
    }
    text.push_str(plain);
    text.push('"');
}

/// RFC 8785 section 3.2.2.3: as ECMAScript writes a double (ECMA-262, `Number::toString`).
fn write_number(number: &serde_json::Number, text: &mut String) {
    let Some(double) = number.as_f64().filter(|_| number.is_f64()) else {
        text.push_str(&number.to_string());
        return;
    };
    if double == 0.0 {
        text.push('0');
        return;
    }
    if double < 0.0 {
        text.push('-');
    }
    // The shortest digits that make this double, the one that is even where two are as near, and the power of ten of the
    // first of them.
    let shortest = number.to_string();
    let (mantissa, power) = shortest.split_once('e').unwrap_or((&shortest, "0"));
    let mantissa = mantissa.trim_start_matches('-');
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let zeros = digits.len() - digits.trim_start_matches('0').len();
    let digits = digits.trim_matches('0');
    let place = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
    let exponent = power.parse::<i32>().unwrap_or_default() + place(whole.len()) - place(zeros) - 1;
    let zeros = |n: i32| "0".repeat(usize::try_from(n).unwrap_or_default());
    let (whole, rest) = digits.split_at(digits.len().min(match exponent {
        0..=20 => usize::try_from(exponent + 1).unwrap_or_default(),
        _ => 1,
    }));
    let point = if rest.is_empty() { "" } else { "." };
    text.push_str(&match exponent {
        0..=20 => format!(
            "{whole}{}{point}{rest}",
            zeros(exponent + 1 - place(digits.len()))
        ),
        -6..=-1 => format!("0.{}{digits}", zeros(-exponent - 1)),
        _ => format!("{whole}{point}{rest}e{exponent:+}"),
    });
}

/// RFC 8785 section 3.2.3: by UTF-16 code units.
fn order(one: &str, other: &str) -> Ordering {
    if one.is_ascii() && other.is_ascii() {
        return one.cmp(other);
    }
    one.encode_utf16().cmp(other.encode_utf16())
}

/// Reads a value that is so many levels down.
#[derive(Clone, Copy)]
struct Level(usize);

impl Level {
    fn below<E: Error>(self) -> Result<Self, E> {
        if self.0 == MAX_DEPTH {
            return Err(E::custom(format_args!(
                "nested deeper than {MAX_DEPTH} levels"
            )));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json<'de>, E> {
        let number = serde_json::Number::from_f64(value);
        number
            .map(Json::Number)
            .ok_or_else(|| E::custom("a number that no double holds"))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
        let below = self.below()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(below)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let below = self.below()?;
        let mut members = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            members.push((key, map.next_value_seed(below)?));
        }
        members.sort_unstable_by(|(one, _), (other, _)| order(one, other));
        let twice = members
            .array_windows()
            .any(|[(one, _), (next, _)]| one == next);
        match twice {
            true => Err(A::Error::custom("a member that is there twice")),
            false => Ok(Json::Object(members)),
        }
    }
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Json::read(text.as_bytes()).unwrap().canonical()
    }

    #[test]
    fn it_is_that_of_the_standards_examples() {
        // RFC 8785 section 3.2.2 and 3.2.4.
        let text = r#"{
            "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        assert_eq!(
            canonical(text),
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        // Section 3.2.3.
        let text = r#"{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}"#;
        let sorted = canonical(text);
        let at = |of: &str| sorted.find(of).unwrap();
        let order = [
            "Carriage", "One", "Control", "Latin", "Euro", "Emoji", "Hebrew",
        ];
        assert!(order.is_sorted_by_key(|of| at(of)), "{sorted}");
    }

    #[test]
    fn numbers_are_written_as_in_ecmascript() {
        // RFC 8785 appendix B.
        for (bits, written) in [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
        ] {
            let number = serde_json::Number::from_f64(f64::from_bits(bits)).unwrap();
            let mut text = String::new();
            write_number(&number, &mut text);
            assert_eq!(text, written, "{bits:x}");
        }
        assert_eq!(canonical("[1.0, 1e0, 1, 10e-1, -0]"), "[1,1,1,1,0]");
        let large = "[9007199254740993,9007199254740992,18446744073709551615]";
        assert_eq!(canonical(large), large);
    }

    #[test]
    fn what_readers_read_differently_has_no_canonical_form() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Json::read(deep(MAX_DEPTH).as_bytes()).is_ok());
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"b":{"a":1,"x":2,"\u0061":1}}"#,
            r#"{"a":1} "#,
            r#"{"a":1}{}"#,
            r#""\ud800""#,
            "1e400",
            "nul",
            "",
            &deep(MAX_DEPTH + 1),
        ] {
            let read = Json::read(text.as_bytes());
            assert_eq!(read.is_ok(), text == r#"{"a":1} "#, "{text}");
        }
    }
}
