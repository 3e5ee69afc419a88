//! Built-ins that policies for OPA use and the engine lacks, or has without a bound.
//!
//! They are functions of their arguments and of the time of the request, nothing else: a decision can be made again from
//! its input. The program asks for them by name ([`EXTENSIONS`]), the interpreter that runs tests has them as extensions.

mod bounded;
mod crypto;
mod glob;
mod jwt;
mod net;
mod regex;
mod time;
mod urlquery;

use regorus::Value;

pub use time::nanoseconds;

/// The names of the built-ins and how many arguments each takes.
pub const EXTENSIONS: &[(&str, usize)] = &[
    ("crypto.hmac.equal", 2),
    ("crypto.hmac.sha256", 2),
    ("crypto.sha256", 1),
    ("glob.match", 3),
    ("glob.quote_meta", 1),
    ("io.jwt.decode", 1),
    ("io.jwt.decode_verify", 2),
    ("io.jwt.verify_eddsa", 2),
    ("io.jwt.verify_es256", 2),
    ("io.jwt.verify_hs256", 2),
    ("io.jwt.verify_hs384", 2),
    ("io.jwt.verify_hs512", 2),
    ("io.jwt.verify_ps256", 2),
    ("io.jwt.verify_ps384", 2),
    ("io.jwt.verify_ps512", 2),
    ("io.jwt.verify_rs256", 2),
    ("io.jwt.verify_rs384", 2),
    ("io.jwt.verify_rs512", 2),
    ("net.cidr_expand", 1),
    ("net.cidr_intersects", 2),
    ("numbers.range", 2),
    ("numbers.range_step", 3),
    ("regex.find_all_string_submatch_n", 3),
    ("bits.lsh", 2),
    ("time.now_ns", 0),
    ("urlquery.decode", 1),
    ("urlquery.decode_object", 1),
    ("urlquery.encode", 1),
    ("urlquery.encode_object", 1),
];

/// The longest text that a built-in of these looks at, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;

/// Why a built-in gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Arguments that it has no answer to: undefined, as in OPA.
    #[error("{0}: {1}")]
    Undefined(&'static str, &'static str),
    /// More than it may look at or answer: the evaluation ends, whatever the policy would make of it.
    #[error("{0} {1}; a policy may not do that for one request")]
    Limit(&'static str, String),
    /// No built-in of that name.
    #[error("this engine has no built-in `{0}`: publish the policy again from this version")]
    Unknown(String),
}

/// One evaluation, as far as built-ins know of it.
pub struct Evaluation<'a> {
    now: &'a dyn Fn() -> Option<i64>,
    checks: jwt::Checks,
}

impl<'a> Evaluation<'a> {
    /// An evaluation at this time, in nanoseconds since 1970, which is only asked for where it matters.
    #[must_use]
    pub fn at(now: &'a dyn Fn() -> Option<i64>) -> Self {
        Self {
            now,
            checks: jwt::Checks::default(),
        }
    }

    /// Runs the built-in `name`.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn call(&mut self, name: &str, arguments: &[Value]) -> Result<Value, Failure> {
        match (name, arguments) {
            ("crypto.hmac.equal", [a, b]) => crypto::hmac_equal(a, b),
            ("crypto.hmac.sha256", [message, key]) => crypto::hmac_sha256(message, key),
            ("crypto.sha256", [text]) => crypto::sha256(text),
            ("glob.match", [pattern, separators, text]) => glob::matches(pattern, separators, text),
            ("glob.quote_meta", [text]) => glob::quote_meta(text),
            ("io.jwt.decode", [token]) => jwt::decode(token),
            ("io.jwt.decode_verify", [token, constraints]) => {
                jwt::decode_verify(token, constraints, self.now, &mut self.checks)
            }
            (name, [token, key]) if name.starts_with("io.jwt.verify_") => {
                jwt::verify(name, token, key, &mut self.checks)
            }
            ("net.cidr_expand", [network]) => bounded::cidr_expand(network),
            ("net.cidr_intersects", [a, b]) => net::intersects(a, b),
            ("numbers.range", [from, to]) => bounded::range(from, to, None),
            ("numbers.range_step", [from, to, step]) => bounded::range(from, to, Some(step)),
            ("regex.find_all_string_submatch_n", [pattern, text, most]) => {
                regex::find_all_submatches(pattern, text, most)
            }
            ("bits.lsh", [number, by]) => bounded::shift_left(number, by),
            ("time.now_ns", []) => time::now_ns((self.now)()),
            ("urlquery.decode", [text]) => urlquery::decode(text),
            ("urlquery.decode_object", [text]) => urlquery::decode_object(text),
            ("urlquery.encode", [text]) => urlquery::encode(text),
            ("urlquery.encode_object", [object]) => urlquery::encode_object(object),
            (name, _) => Err(Failure::Unknown(name.to_owned())),
        }
    }
}

impl std::fmt::Debug for Evaluation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluation")
            .field("checks", &self.checks)
            .finish_non_exhaustive()
    }
}

/// The text of an argument of the built-in `of`.
fn text<'a>(of: &'static str, value: &'a Value) -> Result<&'a str, Failure> {
    match value {
        Value::String(text) if text.len() > MAX_TEXT => Err(Failure::Limit(
            of,
            format!("was given a text of more than {MAX_TEXT} bytes"),
        )),
        Value::String(text) => Ok(text),
        _ => Err(Failure::Undefined(of, "an argument is not a string")),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_that_is_named_is_there() {
        for (name, arity) in EXTENSIONS {
            let arguments = vec![Value::Null; *arity];
            let answer = Evaluation::at(&|| None).call(name, &arguments);
            assert!(
                !matches!(answer, Err(Failure::Unknown(_))),
                "{name}: {answer:?}"
            );
        }
        assert!(matches!(
            Evaluation::at(&|| None).call("http.send", &[]),
            Err(Failure::Unknown(_))
        ));
    }

    #[test]
    fn bytes_are_written_in_hex() {
        assert_eq!(hex(&[0, 15, 255]), "000fff");
    }

    #[test]
    fn a_text_that_is_too_long_ends_the_evaluation() {
        let long = Value::from("x".repeat(MAX_TEXT + 1));
        assert!(matches!(
            Evaluation::at(&|| None).call("crypto.sha256", &[long]),
            Err(Failure::Limit(..))
        ));
    }
}
