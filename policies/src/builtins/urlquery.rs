//! `urlquery.*`: `application/x-www-form-urlencoded`, as the URL standard has it.

use std::collections::BTreeMap;

use form_urlencoded::{Serializer, byte_serialize, parse};
use regorus::Value;

use super::{Failure, text};

pub(super) fn encode(value: &Value) -> Result<Value, Failure> {
    let encoded: String = byte_serialize(text("urlquery.encode", value)?.as_bytes()).collect();
    Ok(Value::from(encoded))
}

pub(super) fn decode(value: &Value) -> Result<Value, Failure> {
    let text = text("urlquery.decode", value)?;
    // What separates pairs is nothing special in a single value.
    let escaped = text.replace('&', "%26").replace('=', "%3D");
    let decoded = parse(escaped.as_bytes()).next().map(|(name, _)| name);
    Ok(Value::from(decoded.unwrap_or_default().into_owned()))
}

pub(super) fn decode_object(value: &Value) -> Result<Value, Failure> {
    let text = text("urlquery.decode_object", value)?;
    let mut found: BTreeMap<Value, Vec<Value>> = BTreeMap::new();
    for (name, value) in parse(text.as_bytes()) {
        let values = found.entry(Value::from(name.as_ref())).or_default();
        values.push(Value::from(value.as_ref()));
    }
    let pairs = found
        .into_iter()
        .map(|(name, all)| (name, Value::from(all)));
    Ok(pairs.collect::<BTreeMap<_, _>>().into())
}

pub(super) fn encode_object(value: &Value) -> Result<Value, Failure> {
    let name = "urlquery.encode_object";
    let Value::Object(object) = value else {
        return Err(Failure::Undefined(name, "it is not an object"));
    };
    let mut query = Serializer::new(String::new());
    for (key, value) in object.iter() {
        let key = text(name, key)?;
        match value {
            Value::Array(all) => all.iter().try_for_each(|one| {
                query.append_pair(key, text(name, one)?);
                Ok(())
            })?,
            Value::Set(all) => all.iter().try_for_each(|one| {
                query.append_pair(key, text(name, one)?);
                Ok(())
            })?,
            one => {
                query.append_pair(key, text(name, one)?);
            }
        }
    }
    Ok(Value::from(query.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_and_written() {
        let value = |json| Value::from_json_str(json).unwrap();
        let object = value(r#"{"a":["1","2"],"b c":["ü&"]}"#);
        let query = encode_object(&object).unwrap();
        assert_eq!(query, Value::from("a=1&a=2&b+c=%C3%BC%26"));
        assert_eq!(decode_object(&query).unwrap(), object);
        assert_eq!(
            encode(&value(r#""a b=&""#)).unwrap(),
            value(r#""a+b%3D%26""#)
        );
        assert_eq!(
            decode(&value(r#""a+b%3D&=c""#)).unwrap(),
            value(r#""a b=&=c""#)
        );
        assert_eq!(decode(&value("\"\"")).unwrap(), value("\"\""));
        assert!(encode_object(&value(r#"{"a":1}"#)).is_err());
    }
}
