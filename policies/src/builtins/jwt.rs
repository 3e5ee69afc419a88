//! `io.jwt.*`: looking into a JWT (RFC 7519), and checking one that is signed with a shared secret.
//!
//! Tokens with public keys are checked by the filter, before a policy is asked; the policy has their claims in its input.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac_sha256::HMAC;
use regorus::Value;

use super::{Failure, crypto, hex, text};

/// A JWS in compact form (RFC 7515 section 7.1), taken apart.
struct Token<'a> {
    header: Value,
    payload: Value,
    signature: Vec<u8>,
    signed: &'a str,
}

impl<'a> Token<'a> {
    fn read(name: &'static str, token: &'a Value) -> Result<Self, Failure> {
        let wrong = Failure::Undefined(name, "it is not a JWT");
        let token = text(name, token)?;
        let apart = || {
            let (signed, signature) = token.rsplit_once('.')?;
            let (header, payload) = signed.split_once('.')?;
            let object = |part: &str| {
                let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
                let value = Value::from_json_str(std::str::from_utf8(&bytes).ok()?).ok()?;
                matches!(value, Value::Object(_)).then_some(value)
            };
            Some(Self {
                header: object(header)?,
                payload: object(payload)?,
                signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
                signed,
            })
        };
        apart().ok_or(wrong)
    }
}

/// `[header, payload, signature in hex]`; nothing of it is checked.
pub(super) fn decode(token: &Value) -> Result<Value, Failure> {
    let token = Token::read("io.jwt.decode", token)?;
    Ok(Value::from(vec![
        token.header,
        token.payload,
        Value::from(hex(&token.signature)),
    ]))
}

/// Whether the token is signed with HS256 (RFC 7518 section 3.2) under `secret`. Its `alg` has to say so too.
pub(super) fn verify_hs256(token: &Value, secret: &Value) -> Result<Value, Failure> {
    let name = "io.jwt.verify_hs256";
    let token = Token::read(name, token)?;
    let expected = HMAC::mac(token.signed, text(name, secret)?);
    let named = token.header["alg"] == Value::from("HS256");
    Ok(Value::Bool(
        named && crypto::equal(&expected, &token.signature),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7519 section 3.1 has this header and payload; the signature is over them under `secret`.
    fn token(alg: &str, secret: &str) -> Value {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}"}}"#));
        let payload = URL_SAFE_NO_PAD.encode(r#"{"iss":"joe","exp":1300819380}"#);
        let signed = format!("{header}.{payload}");
        let signature = URL_SAFE_NO_PAD.encode(HMAC::mac(&signed, secret));
        Value::from(format!("{signed}.{signature}"))
    }

    #[test]
    fn a_token_is_taken_apart() {
        let parts = decode(&token("HS256", "s")).unwrap();
        assert_eq!(parts[0_u64]["alg"], Value::from("HS256"));
        assert_eq!(parts[1_u64]["iss"], Value::from("joe"));
        assert!(matches!(&parts[2_u64], Value::String(hex) if hex.len() == 64));
        for wrong in ["", "a.b", "a.b.c", "e30.e30", "e30.W10.", "e30.e30.e30.e30"] {
            assert!(decode(&Value::from(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_secret_and_the_algorithm_that_are_named_do() {
        let check = |token: &Value, secret| verify_hs256(token, &Value::from(secret));
        assert_eq!(check(&token("HS256", "s"), "s"), Ok(Value::Bool(true)));
        assert_eq!(check(&token("HS256", "s"), "t"), Ok(Value::Bool(false)));
        assert_eq!(check(&token("none", "s"), "s"), Ok(Value::Bool(false)));
    }
}
