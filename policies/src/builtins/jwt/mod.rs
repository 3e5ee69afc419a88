//! `io.jwt.*`: looking into JWTs (RFC 7519) and checking them, as OPA does. ES384 and ES512 are missing: two more curves
//! are too much for the filter.
//!
//! The caller's own token needs none of this: the filter has checked it before a policy is asked, and the policy has its
//! claims in its input. These are for other tokens, which a call brings in a header or an argument.

mod constraints;
mod keys;
mod signature;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regorus::Value;

use self::keys::Keys;
use self::signature::{Algorithm, Hash};
use super::{Failure, hex, text};

pub(super) use constraints::decode_verify;

const DECODE: &str = "io.jwt.decode";

/// The most signatures by private keys that one decision may check: each takes up to a millisecond in the filter.
pub(super) const MAX_SIGNATURES: u32 = 16;

/// The built-ins that check a signature, with the algorithm that it must be by (RFC 7518 section 3.1, RFC 8037 section 3.1).
const VERIFIERS: [(&str, Algorithm); 11] = [
    ("io.jwt.verify_eddsa", Algorithm::EdDsa),
    ("io.jwt.verify_es256", Algorithm::Es256),
    ("io.jwt.verify_hs256", Algorithm::Hmac(Hash::Sha256)),
    ("io.jwt.verify_hs384", Algorithm::Hmac(Hash::Sha384)),
    ("io.jwt.verify_hs512", Algorithm::Hmac(Hash::Sha512)),
    ("io.jwt.verify_ps256", Algorithm::Pss(Hash::Sha256)),
    ("io.jwt.verify_ps384", Algorithm::Pss(Hash::Sha384)),
    ("io.jwt.verify_ps512", Algorithm::Pss(Hash::Sha512)),
    ("io.jwt.verify_rs256", Algorithm::Pkcs1(Hash::Sha256)),
    ("io.jwt.verify_rs384", Algorithm::Pkcs1(Hash::Sha384)),
    ("io.jwt.verify_rs512", Algorithm::Pkcs1(Hash::Sha512)),
];

/// How many signatures an evaluation has checked so far.
#[derive(Debug, Default)]
pub(super) struct Checks(u32);

impl Checks {
    fn count(&mut self, name: &'static str) -> Result<(), Failure> {
        self.0 += 1;
        if self.0 > MAX_SIGNATURES {
            let told = format!("was to check more than {MAX_SIGNATURES} signatures");
            return Err(Failure::Limit(name, told));
        }
        Ok(())
    }
}

/// A JWS in compact form (RFC 7515 section 7.1), taken apart.
struct Token<'a> {
    of: &'static str,
    header: Value,
    payload: Vec<u8>,
    signature: Vec<u8>,
    signed: &'a str,
}

impl<'a> Token<'a> {
    fn read(of: &'static str, token: &'a str) -> Result<Self, Failure> {
        let apart = || {
            let (signed, signature) = token.rsplit_once('.')?;
            let (header, payload) = signed.split_once('.')?;
            Some(Self {
                of,
                header: object(&URL_SAFE_NO_PAD.decode(header).ok()?)?,
                payload: URL_SAFE_NO_PAD.decode(payload).ok()?,
                signature: URL_SAFE_NO_PAD.decode(signature).ok()?,
                signed,
            })
        };
        apart().ok_or(Failure::Undefined(of, "it is not a JWT"))
    }

    /// A member of the header that is a text, where it is there.
    fn member(&self, name: &str) -> Result<Option<&str>, Failure> {
        match &self.header[name] {
            Value::Undefined => Ok(None),
            Value::String(text) => Ok(Some(text)),
            _ => Err(Failure::Undefined(
                self.of,
                "a member of its header is no string",
            )),
        }
    }

    fn algorithm(&self) -> Result<Option<Algorithm>, Failure> {
        Ok(self.member("alg")?.and_then(Algorithm::named))
    }

    /// The claims.
    fn claims(&self) -> Result<Value, Failure> {
        object(&self.payload).ok_or(Failure::Undefined(self.of, "its payload is no object"))
    }

    /// The token that this one is about, where it says that it is about one (RFC 7519 section 5.2).
    fn nested(&self) -> Result<Option<String>, Failure> {
        if !self
            .member("cty")?
            .is_some_and(|kind| kind.eq_ignore_ascii_case("JWT"))
        {
            return Ok(None);
        }
        let inner = std::str::from_utf8(&self.payload)
            .map_err(|_| Failure::Undefined(self.of, "its payload is not a JWT"))?;
        Ok(Some(inner.trim_matches(['"', '\'']).to_owned()))
    }

    /// Whether one of these keys has signed it by the algorithm that its header names.
    fn is_signed(&self, keys: &Keys, checks: &mut Checks) -> Result<bool, Failure> {
        let Some(algorithm) = self.algorithm()? else {
            return Ok(false);
        };
        for key in keys.candidates(self.member("kid")?, algorithm) {
            checks.count(self.of)?;
            if key.has_signed(algorithm, self.signed.as_bytes(), &self.signature) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether it is signed with this secret by the algorithm that its header names.
    fn is_signed_with(&self, secret: &str) -> Result<bool, Failure> {
        Ok(match self.algorithm()? {
            Some(Algorithm::Hmac(hash)) => hash.is_mac(self.signed, secret, &self.signature),
            _ => false,
        })
    }
}

fn object(json: &[u8]) -> Option<Value> {
    let value = Value::from_json_str(std::str::from_utf8(json).ok()?).ok()?;
    matches!(value, Value::Object(_)).then_some(value)
}

/// `[header, payload, signature in hex]`; nothing of it is checked. Of a token about a token it is what is inside.
pub(super) fn decode(token: &Value) -> Result<Value, Failure> {
    decoded(text(DECODE, token)?)
}

/// Ends, since what is inside is always shorter.
fn decoded(token: &str) -> Result<Value, Failure> {
    let token = Token::read(DECODE, token)?;
    if let Some(inner) = token.nested()? {
        return decoded(&inner);
    }
    let claims = token.claims()?;
    Ok(Value::from(vec![
        token.header,
        claims,
        Value::from(hex(&token.signature)),
    ]))
}

/// Whether the token is signed by the algorithm of the built-in `name` and with this key: a secret, or one or more public
/// keys as [`Keys::read`] takes them. Its `alg` has to say so too.
pub(super) fn verify(
    name: &str,
    token: &Value,
    key: &Value,
    checks: &mut Checks,
) -> Result<Value, Failure> {
    let verifier = VERIFIERS.iter().find(|(verifier, _)| *verifier == name);
    let (name, algorithm) = *verifier.ok_or_else(|| Failure::Unknown(name.to_owned()))?;
    let token = Token::read(name, text(name, token)?)?;
    let key = text(name, key)?;
    let named = token.algorithm()? == Some(algorithm);
    let signed = match algorithm {
        Algorithm::Hmac(_) => named && token.is_signed_with(key)?,
        _ => {
            let keys = Keys::read(key).ok_or(Failure::Undefined(name, "these are no keys"))?;
            named && token.is_signed(&keys, checks)?
        }
    };
    Ok(Value::Bool(signed))
}

#[cfg(test)]
mod tests {
    use hmac_sha256::HMAC;

    use super::*;

    /// RFC 7519 section 3.1 has this payload; the signature is over it under `secret`.
    fn token(header: &str, payload: &str, secret: &str) -> String {
        let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
        let signed = format!("{}.{}", encode(header), encode(payload));
        format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(HMAC::mac(&signed, secret))
        )
    }

    const JOE: &str = r#"{"iss":"joe","exp":1300819380}"#;

    #[test]
    fn a_token_is_taken_apart() {
        let parts = decode(&token(r#"{"alg":"HS256"}"#, JOE, "s").into()).unwrap();
        assert_eq!(parts[0_u64]["alg"], Value::from("HS256"));
        assert_eq!(parts[1_u64]["iss"], Value::from("joe"));
        assert!(matches!(&parts[2_u64], Value::String(hex) if hex.len() == 64));
        for wrong in ["", "a.b", "a.b.c", "e30.e30", "e30.W10.", "e30.e30.e30.e30"] {
            assert!(decode(&Value::from(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn of_a_token_about_a_token_the_inner_one_counts() {
        let inner = token(r#"{"alg":"HS256"}"#, JOE, "s");
        let outer = token(
            r#"{"alg":"HS256","cty":"JWT"}"#,
            &format!("\"{inner}\""),
            "s",
        );
        let outer = token(r#"{"alg":"HS256","cty":"JWT"}"#, &outer, "s");
        assert_eq!(decode(&outer.into()), decode(&inner.into()));
    }

    #[test]
    fn only_the_secret_and_the_algorithm_that_are_named_do() {
        let check = |algorithm: &str, secret: &str| {
            let token = token(&format!(r#"{{"alg":"{algorithm}"}}"#), JOE, "s");
            let (token, secret) = (Value::from(token), Value::from(secret));
            verify(
                "io.jwt.verify_hs256",
                &token,
                &secret,
                &mut Checks::default(),
            )
        };
        assert_eq!(check("HS256", "s"), Ok(Value::Bool(true)));
        assert_eq!(check("HS256", "t"), Ok(Value::Bool(false)));
        assert_eq!(check("none", "s"), Ok(Value::Bool(false)));
        assert_eq!(check("HS512", "s"), Ok(Value::Bool(false)));
    }
}
