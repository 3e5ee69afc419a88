//! What Envoy's `jwt_authn` says that it has verified: the claims of a token, as dynamic metadata.
//!
//! Nothing says which token of the request they are of. So they count for the token at hand only if they are its claims,
//! all of them: whoever signed the one has signed the other.

use writ_policy::Value;

use crate::host::Host;

/// The most of it that is read, in bytes.
const MAX_METADATA: usize = 64 * 1024;

/// Whether `jwt_authn` has put exactly `claims` under `key` (`payload_in_metadata` of its provider).
pub(super) fn has_verified(host: &dyn Host, key: &str, claims: &Value) -> bool {
    let path = [
        "metadata",
        "filter_metadata",
        "envoy.filters.http.jwt_authn",
        key,
    ];
    host.property(&path)
        .is_some_and(|bytes| bytes.len() <= MAX_METADATA && is(claims, &bytes))
}

/// Whether `bytes` are `value` as Envoy hands out attributes: texts as they are, numbers as little-endian doubles, objects
/// as pairs, lists as pairs of an element and nothing.
fn is(value: &Value, bytes: &[u8]) -> bool {
    match value {
        Value::String(text) => text.as_bytes() == bytes,
        Value::Number(number) => number
            .as_f64()
            .is_some_and(|number| number.to_le_bytes() == *bytes),
        Value::Bool(yes) => [u8::from(*yes)] == *bytes,
        Value::Array(items) => pairs(bytes).is_some_and(|pairs| {
            pairs.len() == items.len()
                && items
                    .iter()
                    .zip(&pairs)
                    .all(|(item, (bytes, rest))| rest.is_empty() && is(item, bytes))
        }),
        Value::Object(members) => pairs(bytes).is_some_and(|pairs| {
            pairs.len() == members.len()
                && members.iter().all(|(name, value)| {
                    pairs
                        .iter()
                        .find(|(key, _)| is(name, key))
                        .is_some_and(|(_, bytes)| is(value, bytes))
                })
        }),
        _ => false,
    }
}

/// The pairs of a proxy-wasm map: how many, their sizes, and each part with a zero behind it.
fn pairs(bytes: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let (count, rest) = number(bytes)?;
    let (mut sizes, mut rest) = rest.split_at_checked(count.checked_mul(8)?)?;
    let mut pairs = Vec::with_capacity(count);
    for _ in 0..count {
        let (key_size, more) = number(sizes)?;
        let (value_size, more) = number(more)?;
        sizes = more;
        let (key, after) = part(rest, key_size)?;
        let (value, after) = part(after, value_size)?;
        rest = after;
        pairs.push((key, value));
    }
    rest.is_empty().then_some(pairs)
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

fn part(bytes: &[u8], size: usize) -> Option<(&[u8], &[u8])> {
    let (part, rest) = bytes.split_at_checked(size)?;
    Some((part, rest.strip_prefix(b"\0")?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// As Envoy writes it.
    pub(crate) fn written(value: &serde_json::Value) -> Vec<u8> {
        use serde_json::Value as Json;
        match value {
            Json::String(text) => text.clone().into_bytes(),
            Json::Number(number) => number.as_f64().unwrap().to_le_bytes().to_vec(),
            Json::Bool(yes) => vec![u8::from(*yes)],
            Json::Null => Vec::new(),
            Json::Array(items) => {
                let pairs = items.iter().map(|item| (written(item), Vec::new()));
                marshalled(&pairs.collect::<Vec<_>>())
            }
            Json::Object(members) => {
                let pairs = members
                    .iter()
                    .map(|(k, v)| (k.clone().into_bytes(), written(v)));
                marshalled(&pairs.collect::<Vec<_>>())
            }
        }
    }

    fn marshalled(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let mut out = u32::try_from(pairs.len()).unwrap().to_le_bytes().to_vec();
        for (key, value) in pairs {
            out.extend(size(key));
            out.extend(size(value));
        }
        for part in pairs.iter().flat_map(|(key, value)| [key, value]) {
            out.extend(part);
            out.push(0);
        }
        out
    }

    fn parsed(json: &serde_json::Value) -> Value {
        Value::from_json_str(&json.to_string()).unwrap()
    }

    #[test]
    fn only_the_same_claims_are_the_same() {
        let claims = serde_json::json!({"iss": "i", "exp": 1_800_000_000u64, "ok": true, "nothing": {},
            "authorization_details": [{"type": "mcp_request", "target": "a"}], "list": ["x", "y"]});
        assert!(is(&parsed(&claims), &written(&claims)));
        for (name, other) in [
            ("iss", serde_json::json!("j")),
            ("exp", serde_json::json!(1_800_000_001u64)),
            ("exp", serde_json::json!("1800000000")),
            ("ok", serde_json::json!(false)),
            ("nothing", serde_json::json!({"a": 1})),
            ("list", serde_json::json!(["y", "x"])),
            ("list", serde_json::json!(["x"])),
            (
                "authorization_details",
                serde_json::json!([{"type": "mcp_request", "target": "b"}]),
            ),
            ("more", serde_json::json!("x")),
            ("iss", serde_json::Value::Null),
        ] {
            let mut changed = claims.clone();
            changed[name] = other;
            assert!(!is(&parsed(&changed), &written(&claims)), "{name}");
            assert!(!is(&parsed(&claims), &written(&changed)), "{name}");
        }
    }

    #[test]
    fn broken_metadata_is_nobodys_claims() {
        let claims = serde_json::json!({"a": ["b", {"c": 1}]});
        let good = written(&claims);
        for end in 0..good.len() {
            assert!(!is(&parsed(&claims), &good[..end]), "{end}");
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x80;
            assert!(!is(&parsed(&claims), &bad), "{at}");
        }
        assert!(!is(&parsed(&claims), &[&good[..], b"x"].concat()));
        assert!(!is(&parsed(&claims), &[0xff; 64]));
    }
}
