//! `io.jwt.decode_verify`: a token's signature and the claims that say for whom and when it is good (RFC 7519 section 7.2).

use regorus::Value;

use super::keys::Keys;
use super::{Checks, Token, text};
use crate::builtins::Failure;

const NAME: &str = "io.jwt.decode_verify";

/// What a token has to meet.
struct Constraints<'a> {
    key: Trusted<'a>,
    algorithm: Option<&'a str>,
    issuer: Option<&'a str>,
    audience: Option<&'a str>,
    /// Nanoseconds since 1970: a number.
    time: Value,
}

/// Whose signature counts.
enum Trusted<'a> {
    Keys(Keys),
    Secret(&'a str),
}

/// `[true, header, payload]` of a token that meets all constraints, `[false, {}, {}]` of another.
pub(in crate::builtins) fn decode_verify(
    token: &Value,
    constraints: &Value,
    now: &dyn Fn() -> Option<i64>,
    checks: &mut Checks,
) -> Result<Value, Failure> {
    let constraints = Constraints::read(constraints, now)?;
    let answer = match verified(text(NAME, token)?, &constraints, checks)? {
        Some((header, claims)) => [Value::Bool(true), header, claims],
        None => [Value::Bool(false), Value::new_object(), Value::new_object()],
    };
    Ok(Value::from(answer.to_vec()))
}

/// The header and the claims of a good token. Ends, since what is inside a token is always shorter.
fn verified(
    token: &str,
    constraints: &Constraints<'_>,
    checks: &mut Checks,
) -> Result<Option<(Value, Value)>, Failure> {
    let token = Token::read(NAME, token)?;
    let algorithm = token.member("alg")?;
    if constraints
        .algorithm
        .is_some_and(|only| algorithm != Some(only))
        || has_unknown_extensions(&token)?
    {
        return Ok(None);
    }
    let signed = match &constraints.key {
        Trusted::Keys(keys) => token.is_signed(keys, checks)?,
        Trusted::Secret(secret) => token.is_signed_with(secret)?,
    };
    if !signed {
        return Ok(None);
    }
    if let Some(inner) = token.nested()? {
        return verified(&inner, constraints, checks);
    }
    let claims = token.claims()?;
    Ok(constraints
        .are_met(&claims)?
        .then_some((token.header, claims)))
}

/// RFC 7515 section 4.1.11: no extension is known here.
fn has_unknown_extensions(token: &Token<'_>) -> Result<bool, Failure> {
    match &token.header["crit"] {
        Value::Undefined => Ok(false),
        Value::Array(names) if !names.is_empty() => Ok(true),
        _ => Err(wrong("`crit` of the header is no list of names")),
    }
}

fn wrong(problem: &'static str) -> Failure {
    Failure::Undefined(NAME, problem)
}

impl<'a> Constraints<'a> {
    fn read(constraints: &'a Value, now: &dyn Fn() -> Option<i64>) -> Result<Self, Failure> {
        let Value::Object(members) = constraints else {
            return Err(wrong("the constraints are no object"));
        };
        let (mut keys, mut secret, mut time) = (None, None, None);
        let (mut algorithm, mut issuer, mut audience) = (None, None, None);
        for (name, value) in members.iter() {
            match name.as_string().map(AsRef::as_ref).unwrap_or_default() {
                "cert" => {
                    let read = Keys::read(text(NAME, value)?);
                    keys = Some(read.ok_or(wrong("`cert` holds no keys"))?);
                }
                "secret" => secret = Some(text(NAME, value)?),
                "alg" => algorithm = Some(text(NAME, value)?),
                "iss" => issuer = Some(text(NAME, value)?),
                "aud" => audience = Some(text(NAME, value)?),
                "time" => match value {
                    Value::Number(_) if *value >= Value::from(0_u64) => time = Some(value.clone()),
                    _ => return Err(wrong("`time` is no number of nanoseconds")),
                },
                _ => return Err(wrong("a constraint is unknown")),
            }
        }
        let given = |text: Option<&'a str>| text.filter(|text| !text.is_empty());
        let key = match (keys, given(secret)) {
            (Some(keys), None) => Trusted::Keys(keys),
            (None, Some(secret)) => Trusted::Secret(secret),
            _ => return Err(wrong("it takes either `cert` or `secret`")),
        };
        let time = match time {
            Some(given) => given,
            None => Value::from(now().ok_or(wrong("the input has no time of the request"))?),
        };
        Ok(Self {
            key,
            algorithm: given(algorithm),
            issuer: given(issuer),
            audience: given(audience),
            time,
        })
    }

    /// Whether these claims are for whom and when they have to be (RFC 7519 section 4.1). A token for somebody is for nobody
    /// where no audience is wanted.
    fn are_met(&self, claims: &Value) -> Result<bool, Failure> {
        let is =
            |value: &Value, wanted: &str| matches!(value, Value::String(text) if &**text == wanted);
        let issued = self.issuer.is_none_or(|wanted| is(&claims["iss"], wanted));
        let meant = match (&claims["aud"], self.audience) {
            (Value::Undefined, wanted) => wanted.is_none(),
            (Value::Array(all), Some(wanted)) => all.iter().any(|one| is(one, wanted)),
            (one, Some(wanted)) => is(one, wanted),
            (_, None) => false,
        };
        let nanoseconds = |name: &str| match &claims[name] {
            Value::Undefined => Ok(None),
            Value::Number(seconds) => seconds
                .mul(&1_000_000_000_u64.into())
                .map(|time| Some(Value::from(time)))
                .map_err(|_| wrong("a time in the token is out of range")),
            _ => Err(wrong("a time in the token is no number")),
        };
        let begun = nanoseconds("nbf")?.is_none_or(|from| self.time >= from);
        let over = nanoseconds("exp")?.is_some_and(|until| self.time >= until);
        Ok(issued && meant && begun && !over)
    }
}
