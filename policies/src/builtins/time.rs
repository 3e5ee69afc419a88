//! `time.now_ns`: when the request came, not when the policy is run, so that a decision can be made again.

use regorus::Value;

use super::Failure;

pub(super) fn now_ns(now: Option<i64>) -> Result<Value, Failure> {
    now.map(Value::from).ok_or(Failure::Undefined(
        "time.now_ns",
        "the input has no time of the request",
    ))
}

/// Nanoseconds since 1970 of a time in UTC (RFC 3339 section 5.6).
#[must_use]
pub fn nanoseconds(time: &str) -> Option<i64> {
    let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = three(date.splitn(3, '-'))?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = three(clock.splitn(3, ':'))?;
    let dated = (1..=12).contains(&month) && (1..=31).contains(&day);
    if !dated || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let fraction: i64 = number(&format!("{fraction:0<9}"))?;
    // Years begin in March here, so that the day that some of them have more is their last.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = year * 365 + leaps + (153 * month + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

fn three<'a>(mut parts: impl Iterator<Item = &'a str>) -> Option<[i64; 3]> {
    let mut next = || number(parts.next()?);
    Some([next()?, next()?, next()?])
}

fn number(digits: &str) -> Option<i64> {
    let all = (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    all.then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_request_is_counted_from_1970() {
        for (time, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00.5Z", 951_825_600_500_000_000),
            ("2026-11-23T10:00:00.000Z", 1_795_428_000_000_000_000),
            ("1969-12-31T23:59:59Z", -1_000_000_000),
        ] {
            assert_eq!(nanoseconds(time), Some(expected), "{time}");
        }
        for wrong in [
            "",
            "now",
            "2026-11-23T10:00:00+01:00",
            "2026-13-23T10:00:00Z",
            "2026-11-23T25:00:00Z",
            "9999999-11-23T10:00:00Z",
            "2026-11-23T10:00:00.Z",
        ] {
            assert_eq!(nanoseconds(wrong), None, "{wrong}");
        }
    }
}
