//! Built-ins that make much out of little, with a bound: the engine's own have none.

use regorus::Value;

use super::Failure;
use super::net::Network;

/// The most elements that one call answers.
pub(super) const MAX_ELEMENTS: u64 = 65_536;

/// The furthest that a number is shifted, in bits.
const MAX_SHIFT: i64 = 1_024;

pub(super) fn range(from: &Value, to: &Value, step: Option<&Value>) -> Result<Value, Failure> {
    let name = match step {
        None => "numbers.range",
        Some(_) => "numbers.range_step",
    };
    let whole = |value: &Value| {
        value
            .as_i64()
            .map_err(|_| Failure::Undefined(name, "an argument is no whole number of 64 bits"))
    };
    let (from, to) = (whole(from)?, whole(to)?);
    let step = step.map(whole).transpose()?.unwrap_or(1);
    let Some(step) = u64::try_from(step).ok().filter(|step| *step > 0) else {
        return Err(Failure::Undefined(name, "the step is not positive"));
    };
    let steps = from.abs_diff(to) / step;
    if steps >= MAX_ELEMENTS {
        let told = format!("was asked for more than {MAX_ELEMENTS} numbers");
        return Err(Failure::Limit(name, told));
    }
    let number = |nth: u64| {
        let way = nth.saturating_mul(step);
        Value::from(match from <= to {
            true => from.saturating_add_unsigned(way),
            false => from.saturating_sub_unsigned(way),
        })
    };
    Ok(Value::from((0..=steps).map(number).collect::<Vec<_>>()))
}

pub(super) fn cidr_expand(network: &Value) -> Result<Value, Failure> {
    let name = "net.cidr_expand";
    let network = Network::read(name, network)?;
    if network.free() > MAX_ELEMENTS.ilog2() {
        let told = format!("was asked for more than {MAX_ELEMENTS} addresses");
        return Err(Failure::Limit(name, told));
    }
    let addresses = network
        .addresses()
        .map(|address| Value::from(address.to_string()));
    Ok(addresses.collect::<std::collections::BTreeSet<_>>().into())
}

pub(super) fn shift_left(number: &Value, by: &Value) -> Result<Value, Failure> {
    let name = "bits.lsh";
    let wrong = Failure::Undefined(name, "an argument is no whole number");
    let (Value::Number(number), Value::Number(by)) = (number, by) else {
        return Err(wrong);
    };
    if by.as_i64().is_none_or(|by| by > MAX_SHIFT) {
        let told = format!("was asked to shift by more than {MAX_SHIFT} bits");
        return Err(Failure::Limit(name, told));
    }
    number.lsh(by).map(Value::from).ok_or(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(from: i64, to: i64, step: Option<i64>) -> Result<String, Failure> {
        let step = step.map(Value::from);
        range(&Value::from(from), &Value::from(to), step.as_ref()).map(|v| v.to_string())
    }

    #[test]
    fn ranges_go_both_ways() {
        assert_eq!(numbers(1, 3, None).unwrap(), "[1,2,3]");
        assert_eq!(numbers(1, -1, None).unwrap(), "[1,0,-1]");
        assert_eq!(numbers(5, 5, None).unwrap(), "[5]");
        assert_eq!(numbers(0, 9, Some(4)).unwrap(), "[0,4,8]");
        assert_eq!(numbers(9, 0, Some(4)).unwrap(), "[9,5,1]");
        assert!(matches!(
            numbers(0, 9, Some(0)),
            Err(Failure::Undefined(..))
        ));
        let half = Value::from(0.5);
        assert!(matches!(
            range(&half, &half, None),
            Err(Failure::Undefined(..))
        ));
    }

    #[test]
    fn networks_are_written_out() {
        let expand = |text| cidr_expand(&Value::from(text)).map(|v| v.to_string());
        assert_eq!(
            expand("10.0.0.6/30").unwrap(),
            r#"["10.0.0.4","10.0.0.5","10.0.0.6","10.0.0.7"]"#
        );
        assert_eq!(expand("::1/128").unwrap(), r#"["::1"]"#);
    }

    #[test]
    fn what_would_make_too_much_ends_the_evaluation() {
        let most = i64::try_from(MAX_ELEMENTS).unwrap();
        assert!(numbers(1, most, None).is_ok());
        for answer in [
            numbers(0, most, None),
            numbers(i64::MIN, i64::MAX, None),
            cidr_expand(&Value::from("10.0.0.0/8")).map(|v| v.to_string()),
            cidr_expand(&Value::from("::/0")).map(|v| v.to_string()),
            shift_left(&Value::from(1_i64), &Value::from(1_i64 << 40)).map(|v| v.to_string()),
        ] {
            assert!(matches!(answer, Err(Failure::Limit(..))), "{answer:?}");
        }
        let shifted = shift_left(&Value::from(1_i64), &Value::from(4_i64));
        assert_eq!(shifted, Ok(Value::from(16_i64)));
    }
}
