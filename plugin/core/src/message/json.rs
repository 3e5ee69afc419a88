//! Strict JSON: what two parsers could read differently is refused, not guessed at.
//!
//! On top of what `serde_json` refuses (invalid UTF-8, lone surrogates, trailing data): duplicate keys anywhere
//! (RFC 8259 section 4 leaves their meaning open), more than [`MAX_DEPTH`] levels, whole numbers beyond ±(2^53 − 1),
//! which JavaScript rounds (RFC 7493 section 2.2), and the key `__proto__`, which it takes for an object's prototype.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use writ_policy::{Array, Object, Value};

/// The deepest nesting of arrays and objects that is accepted.
pub const MAX_DEPTH: usize = 64;

/// The largest whole number that every JSON parser reads exactly.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Reads one value, `depth` levels below the top.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strict {
    pub(crate) depth: usize,
    pub(crate) numbers: Numbers,
}

/// Which numbers are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// Those that every parser reads exactly.
    Exact,
    /// All: for what is only looked at, and passed on as it is written.
    Any,
}

/// Reads one complete document.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    document(bytes, Numbers::Exact)
}

/// Reads one complete document that a server wrote. Identifiers of 64 bits are usual there.
pub(crate) fn parse_result(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    document(bytes, Numbers::Any)
}

fn document(bytes: &[u8], numbers: Numbers) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0, numbers }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

impl Strict {
    fn below<E: Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!(
                "nested deeper than {MAX_DEPTH} levels"
            )));
        }
        Ok(Self {
            depth: self.depth + 1,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        if self.numbers == Numbers::Exact && value > MAX_SAFE_INTEGER {
            return Err(unsafe_number());
        }
        Ok(Value::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        if self.numbers == Numbers::Exact && value.unsigned_abs() > MAX_SAFE_INTEGER {
            return Err(unsafe_number());
        }
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        // Every double beyond 2^53 is a whole number, and may have been rounded from another one.
        #[expect(clippy::cast_precision_loss, reason = "2^53 - 1 is exact in a double")]
        if self.numbers == Numbers::Exact
            && (!value.is_finite() || value.abs() > MAX_SAFE_INTEGER as f64)
        {
            return Err(unsafe_number());
        }
        Ok(Value::from(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut array = Array::default();
        while let Some(value) = seq.next_element_seed(below)? {
            array.push(value);
        }
        Ok(Value::from(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut object = Object::new();
        while let Some(key) = map.next_key_seed(Key)? {
            let value = map.next_value_seed(below)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("duplicate key in an object"));
            }
        }
        Ok(Value::from(object))
    }
}

fn unsafe_number<E: Error>() -> E {
    E::custom("a number beyond ±(2^53 − 1), which parsers read differently; send it as a string")
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Value, E> {
        checked_key(key)?;
        Ok(Value::from(key))
    }
}

/// Refuses a key that some readers do not take for a key: what it holds would be other members, or none.
pub(crate) fn checked_key<E: Error>(key: &str) -> Result<(), E> {
    if key == "__proto__" {
        return Err(E::custom(
            "the key `__proto__`, which parsers read differently",
        ));
    }
    Ok(())
}

/// Whether a key is not one of `members` but is read as one by parsers that care neither for case nor for what stands behind
/// a NUL.
pub(crate) fn is_taken_for(key: &str, members: &[&str]) -> bool {
    if members.contains(&key) {
        return false;
    }
    if key.is_ascii() && !key.contains('\0') {
        return members
            .iter()
            .any(|member| member.eq_ignore_ascii_case(key));
    }
    let key = key.split('\0').next().unwrap_or_default();
    // Unicode folds the long s to s, and the sign for Kelvin, as lower case does, to k.
    let folded: String = key
        .chars()
        .map(|c| if c == 'ſ' { 's' } else { c })
        .flat_map(char::to_lowercase)
        .collect();
    members.iter().any(|member| member.to_lowercase() == folded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_parser_reads_alike_is_read() {
        let text =
            r#"{"a":[1,-2,0.5,1e3,true,null,"é\u00e9\ud83d\ude00"],"b":{"a":9007199254740991}}"#;
        let value = parse(text.as_bytes()).unwrap();
        assert_eq!(value, Value::from_json_str(text).unwrap());
    }

    #[test]
    fn a_key_is_taken_for_one_that_differs_in_case_only() {
        let members = ["name", "params", "tasks", "taskId"];
        for key in [
            "Name", "NAME", "paramſ", "tasKs", "name\0", "name\0x", "Name\0", "taskid",
        ] {
            assert!(is_taken_for(key, &members), "{key:?}");
        }
        for key in ["name", "names", "nam", "", "x\0name", "nаme"] {
            assert!(!is_taken_for(key, &members), "{key:?}");
        }
    }

    #[test]
    fn what_parsers_read_differently_is_refused() {
        let deep = |n: usize| [b"[".repeat(n), b"]".repeat(n)].concat();
        assert!(parse(&deep(MAX_DEPTH)).is_ok());
        let cases: &[&[u8]] = &[
            b"",
            b"nul",
            b"{\"a\":1}x",
            b"{\"a\":1}{}",
            b"{\"a\":1,}",
            b"{'a':1}",
            b"{a:1}",
            b"NaN",
            b"[1e400]",
            b"01",
            b"9007199254740992",
            b"-9007199254740992",
            b"18446744073709551616",
            b"1e17",
            b"{\"a\":1,\"a\":1}",
            b"{\"a\":1,\"\\u0061\":1}",
            b"{\"x\":[{\"a\":1,\"b\":{\"c\":1,\"c\":2}}]}",
            b"{\"__proto__\":{\"a\":1}}",
            b"[{\"a\":{\"\\u005f_proto__\":null}}]",
            b"\"\\ud800\"",
            b"\"\\udc00\\ud800\"",
            b"\"\xff\"",
            b"\"\xed\xa0\x80\"",
            b"{\"\xff\":1}",
            b"\"\x01\"",
            b"\xef\xbb\xbf{}",
            &deep(MAX_DEPTH + 1),
            &deep(100_000),
        ];
        for case in cases {
            assert!(parse(case).is_err(), "{}", String::from_utf8_lossy(case));
        }
    }
}
