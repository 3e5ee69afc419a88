//! Payment card numbers in a text: 13 to 19 digits (ISO/IEC 7812), alone or in groups parted by single spaces or hyphens,
//! with the first digits of a card network and a check digit that is right (Luhn).

use std::ops::Range;

/// Digits that a card number can have.
const LENGTHS: Range<usize> = 13..20;

/// A digit of a run, and whether nothing but the run's begin or a separator is before it, its end or one behind it.
struct Digit {
    at: usize,
    value: u8,
    begins: bool,
    ends: bool,
}

/// Where card numbers are, from left to right.
pub(super) fn find(text: &str) -> impl Iterator<Item = Range<usize>> {
    let (mut rest, mut run, mut first) = (0, Vec::new(), 0);
    std::iter::from_fn(move || {
        loop {
            if let Some((card, next)) = card_in(&run, first) {
                first = next;
                return Some(card);
            }
            run = next_run(text.as_bytes(), rest)?;
            let from = run.first().map_or(rest, |digit| digit.at);
            first = match is_fraction(text.as_bytes(), from) {
                true => run.len(),
                false => 0,
            };
            rest = run.last().map_or(text.len(), |digit| digit.at + 1);
        }
    })
}

/// Whether a JSON number, as it is written, is or begins with a card number.
pub(super) fn is_in_number(number: &str) -> bool {
    if !number.contains(['e', 'E']) {
        return find(number).next().is_some();
    }
    // A double that is written with an exponent, as Java does from ten million on.
    let whole = number
        .parse::<f64>()
        .ok()
        .filter(|n| n.fract() == 0.0 && n.abs() < 1e19);
    whole.is_some_and(|whole| find(&format!("{whole:.0}")).next().is_some())
}

/// The digits of the next run, from `from` on.
fn next_run(bytes: &[u8], from: usize) -> Option<Vec<Digit>> {
    let start = (from..bytes.len()).find(|at| bytes.get(*at).is_some_and(u8::is_ascii_digit))?;
    let mut run: Vec<Digit> = Vec::new();
    let mut at = start;
    loop {
        match bytes.get(at) {
            Some(byte) if byte.is_ascii_digit() => {
                let begins = run.last().is_none_or(|last| last.at + 1 != at);
                if let Some(last) = run.last_mut() {
                    last.ends = begins;
                }
                run.push(Digit {
                    at,
                    value: byte - b'0',
                    begins,
                    ends: true,
                });
            }
            Some(b' ' | b'-')
                if run.last().is_some_and(|last| last.at + 1 == at)
                    && bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => {}
            _ => return Some(run),
        }
        at += 1;
    }
}

/// Whether the digits from `at` on are behind the point of a number: many fractions look like card numbers.
fn is_fraction(bytes: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|at| bytes.get(at));
    before(1) == Some(&b'.') && before(2).is_some_and(u8::is_ascii_digit)
}

/// The first card number in a run, from its digit `from` on, and the digit behind it: the longest that begins and ends with
/// groups of it.
fn card_in(run: &[Digit], from: usize) -> Option<(Range<usize>, usize)> {
    (from..run.len()).find_map(|first| {
        let begin = run.get(first).filter(|digit| digit.begins)?;
        LENGTHS.rev().find_map(|length| {
            let digits = run.get(first..first + length)?;
            let end = digits.last().filter(|digit| digit.ends)?;
            (is_of_a_network(digits) && checks(digits))
                .then(|| (begin.at..end.at + 1, first + length))
        })
    })
}

/// Whether a network gives out numbers that begin like this and are so long.
fn is_of_a_network(digits: &[Digit]) -> bool {
    let mut values = digits.iter().map(|digit| digit.value);
    let prefix = values.next().unwrap_or(0) * 10 + values.next().unwrap_or(0);
    match prefix {
        40..=49 => matches!(digits.len(), 13 | 16 | 19),
        22..=27 | 51..=55 => digits.len() == 16,
        34 | 37 => digits.len() == 15,
        30 | 36 | 38 | 39 => matches!(digits.len(), 14 | 16),
        35 | 50 | 56..=69 => digits.len() >= 16,
        _ => false,
    }
}

fn checks(digits: &[Digit]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(position, digit)| {
            let value = u32::from(digit.value);
            match (position % 2, value * 2) {
                (0, _) => value,
                (_, double @ 0..10) => double,
                (_, double) => double - 9,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        find(text).map(|range| &text[range]).collect()
    }

    #[test]
    fn a_run_of_many_cards_is_read_once() {
        let text = "4111 1111 1111 1111 ".repeat(10_000);
        assert_eq!(find(&text).count(), 10_000);
    }

    #[test]
    fn numbers_of_every_network_are_found_in_any_grouping() {
        for number in [
            "4111111111111111",
            "4222222222222",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "30569309025904",
            "3530111333300000",
            "6011111111111117",
            "6200000000000005",
            "6759649826438453",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "3782 822463 10005",
        ] {
            for (before, after) in [
                ("", ""),
                ("card:", "."),
                ("n 12 ", " 2029"),
                ("ü", "€"),
                ("\"", "\""),
            ] {
                let text = format!("{before}{number}{after}");
                assert_eq!(found(&text), [number], "{text}");
            }
        }
        assert_eq!(
            found("4111111111111111, 5555555555554444 and 4111111111111111").len(),
            3
        );
        assert_eq!(found("4111111111111111 5555555555554444").len(), 2);
    }

    #[test]
    fn a_number_can_be_one_however_it_is_written() {
        for number in [
            "4111111111111111",
            "6304000000000000000",
            "4111111111111111.0",
            "4.111111111111111E15",
            "4111111111111111e0",
            "41111111111111110e-1",
        ] {
            assert!(is_in_number(number), "{number}");
        }
        for number in [
            "4111111111111112",
            "0.4111111111111111",
            "4.111111111111111",
            "4.111111111111111e14",
            "4.111111111111111e999",
            "1795000000000",
            "-1",
            "true",
            "false",
            "null",
        ] {
            assert!(!is_in_number(number), "{number}");
        }
    }

    #[test]
    fn other_numbers_are_let_be() {
        for text in [
            "4111111111111112",
            "41111111111111111",
            "1795000000000",
            "0.4111111111111111",
            "4111  1111  1111  1111",
            "4111,1111,1111,1111",
            "+49 30 1234567",
            "2026-11-25 02:41:45",
            "",
            "-",
        ] {
            assert_eq!(found(text), Vec::<&str>::new(), "{text}");
        }
    }

    #[test]
    fn a_long_run_takes_linear_time() {
        let digits = "4 ".repeat(200_000);
        let start = std::time::Instant::now();
        find(&digits).count();
        assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    }
}
