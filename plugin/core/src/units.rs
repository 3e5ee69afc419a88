//! Durations and sizes in configuration carry their unit: `500ms`, `5s`, `1MiB`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error as _};

/// Reads `500ms`, `5s`, `2m` or `1h`.
pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let factors = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    with_unit(&text, &factors)
        .map(Duration::from_millis)
        .ok_or_else(|| {
            D::Error::custom(format_args!(
                "`{text}` is no duration: write a number and ms, s, m or h, as in 500ms"
            ))
        })
}

/// Reads `512`, `64KiB` or `1MiB` as bytes.
pub(crate) fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let text = String::deserialize(deserializer)?;
    let factors = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20)];
    with_unit(&text, &factors)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| {
            D::Error::custom(format_args!(
                "`{text}` is no size: write a number and B, KiB or MiB, as in 1MiB"
            ))
        })
}

fn with_unit(text: &str, factors: &[(&str, u64)]) -> Option<u64> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let (_, factor) = factors.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_needed() {
        let factors = [("ms", 1), ("s", 1000)];
        assert_eq!(with_unit("500ms", &factors), Some(500));
        assert_eq!(with_unit("5 s", &factors), Some(5000));
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1.5s",
            "5 sec",
            "99999999999999999999s",
            "18446744073709551615s",
        ] {
            assert_eq!(with_unit(text, &factors), None, "{text}");
        }
    }
}
