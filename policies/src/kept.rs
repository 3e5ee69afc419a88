//! What is kept of a decision's input, so that it can be asked again: the `input` document as JSON, within bounds, with or
//! without what the message carries.

use std::sync::Arc;

use regorus::Value;
use regorus::value::Object;
use serde::{Deserialize, Serialize};

use crate::input::Mcp;

/// So many bytes of an input does a gateway report at most.
pub const MOST_REPORTED: usize = 4 * 1024;

/// So many bytes of an input are kept at most.
pub const MOST_KEPT: usize = 16 * 1024;

/// The members of `mcp` that hold what a message carries: what a tool is called with, what a user answers. Where one is
/// left out the others are, too.
pub const CARRIED: [&str; 3] = ["answer", "arguments", "input_responses"];

/// What becomes of what a message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// It is kept with the rest.
    Kept,
    /// It is left out.
    LeftOut,
}

/// What an input that is kept lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lack {
    /// What the message carried, which is not to be kept.
    Arguments,
    /// What the message carried, which was too long.
    LongArguments,
    /// All of it: even without what the message carried it was too long.
    Everything,
}

/// As much of an input as is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptInput {
    /// The document, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// What is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<Lack>,
}

impl KeptInput {
    /// As much of `input` as `most` bytes hold.
    #[must_use]
    pub fn of(input: &Value, carried: Carried, most: usize) -> Self {
        let fits = |document: &String| document.len() <= most;
        let kept = |document, lacks| Self {
            document: Some(document),
            lacks,
        };
        let whole = || Some(input.to_string()).filter(fits);
        if carried == Carried::Kept
            && let Some(whole) = whole()
        {
            return kept(whole, None);
        }
        let lack = match carried {
            Carried::Kept => Lack::LongArguments,
            Carried::LeftOut => Lack::Arguments,
        };
        let some = match bare(input) {
            None => whole().map(|whole| kept(whole, None)),
            Some(bare) => Some(bare.to_string())
                .filter(fits)
                .map(|bare| kept(bare, Some(lack))),
        };
        some.unwrap_or(Self {
            document: None,
            lacks: Some(Lack::Everything),
        })
    }

    /// What a gateway reports to be the input about a call to `server`, as it is kept; none where it is no such thing.
    #[must_use]
    pub fn reported(&self, server: &str, carried: Carried) -> Option<Self> {
        let Some(document) = &self.document else {
            return (self.lacks == Some(Lack::Everything)).then(|| self.clone());
        };
        let input = (document.len() <= MOST_REPORTED)
            .then(|| self.value())
            .flatten()?;
        let is_of = input["server"]["id"] == Value::from(server);
        let kept = Self::of(&input, carried, MOST_KEPT);
        is_of.then(|| Self {
            lacks: kept.lacks.or(self.lacks),
            ..kept
        })
    }

    /// The same with what the message carried put back; none where there is no document to put it into.
    #[must_use]
    pub fn with_carried(&self, carried: &Value) -> Option<Self> {
        let (Value::Object(input), Value::Object(carried)) = (self.value()?, carried) else {
            return None;
        };
        let Value::Object(mcp) = input.get(&Value::from("mcp"))? else {
            return None;
        };
        let mut whole = Object::clone(mcp);
        for (name, value) in carried.iter() {
            whole.insert(name.clone(), value.clone());
        }
        let mut input = Object::clone(&input);
        input.insert(Value::from("mcp"), Value::Object(Arc::new(whole)));
        Some(Self {
            document: Some(Value::Object(Arc::new(input)).to_string()),
            lacks: None,
        })
    }

    /// The document, if there is one and it is what was kept.
    #[must_use]
    pub fn value(&self) -> Option<Value> {
        let input = Value::from_json_str(self.document.as_deref()?).ok()?;
        matches!(input["mcp"], Value::Object(_)).then_some(input)
    }
}

/// What a message carries, by the names that [`CARRIED`] has for it; none where that is nothing.
#[must_use]
pub fn carried_by(mcp: &Mcp<'_>) -> Option<Value> {
    of_carried([mcp.answer, mcp.arguments, mcp.input_responses])
}

/// The same of the message that an input is about.
#[must_use]
pub fn carried(input: &Value) -> Option<Value> {
    let mcp = &input["mcp"];
    of_carried(CARRIED.map(|name| Some(&mcp[name])))
}

fn of_carried(values: [Option<&Value>; CARRIED.len()]) -> Option<Value> {
    let mut object = Object::new();
    for (name, value) in CARRIED.into_iter().zip(values) {
        if let Some(value) = value.filter(|value| is_something(value)) {
            object.insert(Value::from(name), value.clone());
        }
    }
    (!object.is_empty()).then(|| Value::Object(Arc::new(object)))
}

fn is_something(value: &Value) -> bool {
    match value {
        Value::Undefined | Value::Null => false,
        Value::Object(members) => !members.is_empty(),
        _ => true,
    }
}

/// The input without what its message carries; none where that is nothing.
fn bare(input: &Value) -> Option<Value> {
    let (Value::Object(input), mcp) = (input, &input["mcp"]) else {
        return None;
    };
    let Value::Object(mcp) = mcp else { return None };
    let carried = CARRIED.map(Value::from);
    let carries = |name| mcp.get(name).is_some_and(is_something);
    if !carried.iter().any(carries) {
        return None;
    }
    let mut left = Object::clone(mcp);
    for name in &carried {
        left.remove(name);
    }
    let mut input = Object::clone(input);
    input.insert(Value::from("mcp"), Value::Object(Arc::new(left)));
    Some(Value::Object(Arc::new(input)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(mcp: &str) -> Value {
        let json =
            format!(r#"{{"server":{{"id":"ledger"}},"mcp":{mcp},"subject":{{"id":"alice"}}}}"#);
        Value::from_json_str(&json).unwrap()
    }

    fn kept(mcp: &str, carried: Carried, most: usize) -> (Option<Lack>, Option<Value>) {
        let kept = KeptInput::of(&input(mcp), carried, most);
        (kept.lacks, kept.value())
    }

    const TRANSFER: &str = r#"{"tool":"transfer","arguments":{"amount":0.1,"n":9007199254740991,"e":1e300},"answer":null,"input_responses":null}"#;

    #[test]
    fn what_fits_is_kept_as_it_was() {
        assert_eq!(
            kept(TRANSFER, Carried::Kept, MOST_KEPT),
            (None, Some(input(TRANSFER)))
        );
    }

    #[test]
    fn what_a_message_carries_is_left_out_and_that_is_said() {
        let bare = Some(input(r#"{"tool":"transfer"}"#));
        let (lacks, document) = kept(TRANSFER, Carried::LeftOut, MOST_KEPT);
        assert_eq!((lacks, &document), (Some(Lack::Arguments), &bare));
        assert!(!document.unwrap().to_string().contains("amount"));
        assert_eq!(
            kept(TRANSFER, Carried::Kept, 100),
            (Some(Lack::LongArguments), bare)
        );
        for carrying in [
            r#"{"answer":{"result":1}}"#,
            r#"{"input_responses":{"a":1}}"#,
            r#"{"arguments":[]}"#,
        ] {
            let (lacks, document) = kept(carrying, Carried::LeftOut, MOST_KEPT);
            assert_eq!(lacks, Some(Lack::Arguments), "{carrying}");
            assert_eq!(document, Some(input("{}")), "{carrying}");
        }
        // Nothing is missing where nothing was.
        let nothing = r#"{"arguments":{},"answer":null,"input_responses":null}"#;
        assert_eq!(
            kept(nothing, Carried::LeftOut, MOST_KEPT),
            (None, Some(input(nothing)))
        );
    }

    #[test]
    fn what_was_left_out_can_be_put_back() {
        let whole = input(TRANSFER);
        let kept = KeptInput::of(&whole, Carried::LeftOut, MOST_KEPT);
        let carried = carried(&whole).unwrap();
        let back = kept.with_carried(&carried).unwrap();
        assert_eq!(
            (back.lacks, carried.to_string()),
            (
                None,
                r#"{"arguments":{"amount":0.1,"e":1e+300,"n":9007199254740991}}"#.to_owned()
            )
        );
        assert_eq!(
            back.value().unwrap()["mcp"]["arguments"],
            whole["mcp"]["arguments"]
        );
        assert_eq!(
            super::carried(&input(r#"{"arguments":{},"answer":null}"#)),
            None
        );
    }

    #[test]
    fn what_does_not_fit_is_not_kept_and_that_is_said() {
        for carried in [Carried::Kept, Carried::LeftOut] {
            assert_eq!(kept(TRANSFER, carried, 20), (Some(Lack::Everything), None));
            assert_eq!(kept("{}", carried, 20), (Some(Lack::Everything), None));
        }
    }

    #[test]
    fn what_a_gateway_reports_is_looked_at() {
        let report = KeptInput::of(&input(TRANSFER), Carried::Kept, MOST_REPORTED);
        let again = |report: &KeptInput| report.reported("ledger", Carried::Kept);
        assert_eq!(again(&report), Some(report.clone()));
        let left_out = report.reported("ledger", Carried::LeftOut).unwrap();
        assert_eq!(left_out.lacks, Some(Lack::Arguments));
        let long = KeptInput::of(&input(TRANSFER), Carried::Kept, 100);
        assert_eq!(again(&long), Some(long));

        assert_eq!(report.reported("other", Carried::Kept), None);
        let with = |document: &str| KeptInput {
            document: Some(document.to_owned()),
            lacks: None,
        };
        let padded = format!(
            "{}{}",
            report.document.clone().unwrap(),
            " ".repeat(MOST_REPORTED)
        );
        for wrong in ["", "{", "[]", r#"{"server":{"id":"ledger"}}"#, &padded] {
            assert_eq!(again(&with(wrong)), None, "{wrong}");
        }
        let nothing = KeptInput {
            document: None,
            lacks: None,
        };
        assert_eq!(again(&nothing), None);
    }
}
