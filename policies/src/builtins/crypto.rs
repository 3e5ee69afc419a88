//! `crypto.*`: SHA-256 and HMAC-SHA-256 (RFC 2104), in lower-case hex.

use hmac_sha256::{HMAC, Hash};
use regorus::Value;

use super::{Failure, hex, text};

pub(super) fn sha256(of: &Value) -> Result<Value, Failure> {
    let digest = Hash::hash(text("crypto.sha256", of)?.as_bytes());
    Ok(Value::from(hex(&digest)))
}

pub(super) fn hmac_sha256(message: &Value, key: &Value) -> Result<Value, Failure> {
    let name = "crypto.hmac.sha256";
    let (message, key) = (text(name, message)?, text(name, key)?);
    Ok(Value::from(hex(&HMAC::mac(message, key))))
}

pub(super) fn hmac_equal(a: &Value, b: &Value) -> Result<Value, Failure> {
    let name = "crypto.hmac.equal";
    let (a, b) = (text(name, a)?, text(name, b)?);
    Ok(Value::Bool(equal(a.as_bytes(), b.as_bytes())))
}

/// Takes as long wherever they differ.
pub(super) fn equal(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |seen, (a, b)| seen | (a ^ b));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_standards() {
        // FIPS 180-4, "abc"; RFC 4231 test case 2.
        assert_eq!(
            sha256(&Value::from("abc")).unwrap(),
            Value::from("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        );
        assert_eq!(
            hmac_sha256(
                &Value::from("what do ya want for nothing?"),
                &Value::from("Jefe")
            )
            .unwrap(),
            Value::from("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        );
    }

    #[test]
    fn equal_is_exact() {
        for (a, b, same) in [("a", "a", true), ("a", "b", false), ("a", "aa", false)] {
            assert_eq!(
                hmac_equal(&Value::from(a), &Value::from(b)).unwrap(),
                Value::Bool(same)
            );
        }
    }
}
