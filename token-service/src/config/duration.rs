//! Durations as people write them: `30s`, `10m`, `1h`, `90d`.

use std::{ops::RangeInclusive, time::Duration};

/// Reads a whole number of seconds, minutes, hours or days within bounds (in seconds).
pub(crate) fn parse(text: &str, bounds: &RangeInclusive<u64>) -> Result<Duration, String> {
    let explained = || {
        format!(
            "write a duration between {} and {}, in s, m, h or d",
            shown(*bounds.start()),
            shown(*bounds.end())
        )
    };
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(explained)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| explained())?;
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err(explained()),
    };
    let seconds = number
        .checked_mul(unit_s)
        .filter(|s| bounds.contains(s))
        .ok_or_else(explained)?;
    Ok(Duration::from_secs(seconds))
}

/// In the largest unit that it is a whole number of.
fn shown(seconds: u64) -> String {
    let units = [(86400, "d"), (3600, "h"), (60, "m")];
    let whole = units
        .iter()
        .find(|(unit, _)| seconds > 0 && seconds.is_multiple_of(*unit));
    let (unit, name) = whole.copied().unwrap_or((1, "s"));
    format!("{}{name}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_stay_within_bounds() {
        assert_eq!(parse("30s", &(1..=60)), Ok(Duration::from_secs(30)));
        assert_eq!(parse("10m", &(1..=3600)), Ok(Duration::from_secs(600)));
        for wrong in [
            "",
            "30",
            "s",
            "0s",
            "61s",
            "1d",
            "-1s",
            "1.5m",
            "99999999999999999999h",
            "30 s",
        ] {
            assert!(parse(wrong, &(1..=60)).is_err(), "{wrong}");
        }
    }
}
