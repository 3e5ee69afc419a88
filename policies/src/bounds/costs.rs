//! How much a built-in can make of its arguments, in bytes, told before it is called; `None` where it may not be called so.
#![allow(
    clippy::unnecessary_wraps,
    reason = "as all of them: sprintf may not be called with every format"
)]

use regorus::Value;

use super::MOST;

/// The widest that a number may be written, in characters.
const MOST_WIDTH: usize = 256;

/// The deepest value that is looked into.
const MOST_DEPTH: usize = 256;

/// What a value costs beside the text in it, in bytes.
const NODE: usize = 16;

pub(super) fn elements(arguments: &[Value]) -> Option<usize> {
    let count = |value: &Value| value.as_array().map_or(0, |all| all.len());
    Some(arguments.iter().map(count).sum::<usize>() * NODE)
}

/// Twice what hexadecimal makes: where addresses have 32 bits, the encoder breaks off at 8 MiB.
pub(super) fn encoded(arguments: &[Value]) -> Option<usize> {
    Some(
        length(arguments.first())
            .saturating_mul(4)
            .saturating_add(1),
    )
}

/// A delimiter between the texts of a list or set.
pub(super) fn joined(arguments: &[Value]) -> Option<usize> {
    let [delimiter, list] = arguments else {
        return Some(0);
    };
    let count = match list {
        Value::Array(all) => all.len(),
        Value::Set(all) => all.len(),
        _ => 0,
    };
    let delimiters = length(Some(delimiter)).saturating_mul(count);
    Some(size(list).saturating_add(delimiters))
}

/// JSON; indented by what the second argument says.
pub(super) fn written(arguments: &[Value]) -> Option<usize> {
    let (value, options) = (arguments.first()?, arguments.get(1));
    Some(size(value).saturating_mul(2 + options.map_or(0, size)))
}

/// Parts of a text.
pub(super) fn pieces(arguments: &[Value]) -> Option<usize> {
    let longest = arguments.iter().map(|one| length(Some(one))).max();
    Some(longest.unwrap_or(0).saturating_mul(8))
}

/// `replace(text, old, new)`.
pub(super) fn replaced(arguments: &[Value]) -> Option<usize> {
    let [Value::String(text), Value::String(old), Value::String(new)] = arguments else {
        return Some(0);
    };
    let times = text.matches(old.as_ref()).count();
    Some(text.len().saturating_add(times.saturating_mul(new.len())))
}

/// `regex.replace(text, pattern, new)`: the new text may have the old one in it.
pub(super) fn replaced_by_pattern(arguments: &[Value]) -> Option<usize> {
    let text = length(arguments.first()) + 1;
    Some(text.saturating_mul(length(arguments.get(2)) + 1))
}

/// `strings.replace_n({old: new}, text)`.
pub(super) fn replaced_by_each(arguments: &[Value]) -> Option<usize> {
    let [Value::Object(pairs), text] = arguments else {
        return Some(0);
    };
    let mut made = length(Some(text));
    for (old, new) in pairs.iter() {
        let times = made / length(Some(old)).max(1) + 1;
        made = made.saturating_add(times.saturating_mul(length(Some(new))));
    }
    Some(made)
}

/// `sprintf(format, arguments)`. The engine breaks off at digits that are not ASCII's, and believes any width.
pub(super) fn formatted(arguments: &[Value]) -> Option<usize> {
    let [Value::String(format), arguments] = arguments else {
        return Some(0);
    };
    let mut cost = format.len();
    for verb in format.split('%').skip(1) {
        let verb = verb.strip_prefix('.').unwrap_or(verb);
        let end = verb.find(|c: char| !c.is_numeric()).unwrap_or(verb.len());
        let width = match verb.get(..end)? {
            "" => 0,
            digits => digits.parse().ok().filter(|width| *width <= MOST_WIDTH)?,
        };
        cost = cost.saturating_add(width);
    }
    Some(cost.saturating_add(size(arguments)))
}

fn length(value: Option<&Value>) -> usize {
    match value {
        Some(Value::String(text)) => text.len(),
        _ => 0,
    }
}

/// How much there is to a value, that which is there several times as often as it is; about [`MOST`] where it is more.
fn size(value: &Value) -> usize {
    fn add(value: &Value, depth: usize, sum: &mut usize) {
        *sum = sum.saturating_add(NODE + depth);
        if *sum > MOST {
            return;
        }
        if depth > MOST_DEPTH {
            *sum = MOST.saturating_add(1);
            return;
        }
        match value {
            Value::String(text) => *sum = sum.saturating_add(text.len()),
            Value::Array(all) => all.iter().for_each(|one| add(one, depth + 1, sum)),
            Value::Set(all) => all.iter().for_each(|one| add(one, depth + 1, sum)),
            Value::Object(all) => all.iter().for_each(|(name, one)| {
                add(name, depth + 1, sum);
                add(one, depth + 1, sum);
            }),
            _ => {}
        }
    }
    let mut sum = 0;
    add(value, 0, &mut sum);
    sum
}
