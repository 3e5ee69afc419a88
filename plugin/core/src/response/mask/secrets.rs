//! Credentials in a text that say by their form what they are: a prefix that its issuer gives them for that very reason,
//! or the lines around a private key.

use std::ops::Range;

/// A form that credentials have.
struct Form {
    prefix: &'static str,
    /// What follows the prefix.
    rest: fn(u8) -> bool,
    /// At least and at most so many bytes of it.
    length: (usize, usize),
    /// Whether there must be a digit in it, without which it may well be words.
    digit: bool,
}

const ANY: usize = usize::MAX;

const fn form(prefix: &'static str, rest: fn(u8) -> bool, length: (usize, usize)) -> Form {
    Form {
        prefix,
        rest,
        length,
        digit: false,
    }
}

fn alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn dotted(byte: u8) -> bool {
    word(byte) || byte == b'.'
}

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

const FORMS: [Form; 18] = [
    form("ghp_", alphanumeric, (30, ANY)),
    form("gho_", alphanumeric, (30, ANY)),
    form("ghu_", alphanumeric, (30, ANY)),
    form("ghs_", alphanumeric, (30, ANY)),
    form("ghr_", alphanumeric, (30, ANY)),
    form("github_pat_", word, (30, ANY)),
    form("glpat-", dotted, (20, ANY)),
    form("xoxa-", word, (10, ANY)),
    form("xoxb-", word, (10, ANY)),
    form("xoxc-", word, (10, ANY)),
    form("xoxe-", word, (10, ANY)),
    form("xoxo-", word, (10, ANY)),
    form("xoxp-", word, (10, ANY)),
    form("xoxr-", word, (10, ANY)),
    form("xoxs-", word, (10, ANY)),
    form("AKIA", upper, (16, 16)),
    form("npm_", alphanumeric, (30, ANY)),
    Form {
        digit: true,
        ..form("sk-", word, (20, ANY))
    },
];

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const KEY: &str = "PRIVATE KEY";
const DASHES: &str = "-----";

/// Where credentials are, from left to right.
pub(super) fn find(text: &str) -> impl Iterator<Item = Range<usize>> {
    let (mut at, mut digitless) = (0, 0);
    std::iter::from_fn(move || {
        while at < text.len() {
            let length =
                private_key(text, at).or_else(|| token(text.as_bytes(), at, &mut digitless));
            let start = at;
            at += length.unwrap_or(1);
            if length.is_some() {
                return Some(start..at);
            }
        }
        None
    })
}

/// The length of the token that begins at `at`. Up to `digitless` there is known to be no digit: a word of many beginnings
/// is read once.
fn token(bytes: &[u8], at: usize, digitless: &mut usize) -> Option<usize> {
    let rest = bytes.get(at..)?;
    if !matches!(rest.first()?, b'g' | b'x' | b's' | b'A' | b'n') {
        return None;
    }
    // In the middle of a word it is a word: `risk-…`.
    if at
        .checked_sub(1)
        .and_then(|before| bytes.get(before))
        .is_some_and(|b| alphanumeric(*b))
    {
        return None;
    }
    FORMS.iter().find_map(|form| {
        let rest = rest.strip_prefix(form.prefix.as_bytes())?;
        if form.digit && at < *digitless {
            return None;
        }
        let length = rest.iter().take_while(|byte| (form.rest)(**byte)).count();
        let (least, most) = form.length;
        let rest = rest.get(..length)?;
        if form.digit && !rest.iter().any(u8::is_ascii_digit) {
            *digitless = at + form.prefix.len() + length;
            return None;
        }
        let fits = (least..=most).contains(&length);
        fits.then_some(form.prefix.len() + length)
    })
}

/// The length of the private key (RFC 7468, PEM) that begins at `at`; one that does not end goes on to the end.
fn private_key(text: &str, at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let label = rest.strip_prefix(BEGIN)?;
    let (label, _) = label.split_once(DASHES)?;
    if !label.ends_with(KEY) && !label.ends_with("PRIVATE KEY BLOCK") {
        return None;
    }
    let end = rest.find(END).and_then(|end| {
        let after = end + END.len();
        let dashes = rest.get(after..)?.find(DASHES)?;
        Some(after + dashes + DASHES.len())
    });
    Some(end.unwrap_or(rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        find(text).map(|range| &text[range]).collect()
    }

    #[test]
    fn a_word_of_many_beginnings_is_read_once() {
        assert!(found(&"sk-".repeat(100_000)).is_empty());
        let late = format!("{} sk-abcdefghijklmnopqrst1", "sk-".repeat(1000));
        assert_eq!(found(&late), ["sk-abcdefghijklmnopqrst1"]);
    }

    #[test]
    fn every_known_form_is_found_wherever_it_stands() {
        let some = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8";
        for secret in [
            format!("ghp_{some}"),
            format!("gho_{some}"),
            format!("github_pat_11ABCDE_{some}"),
            "glpat-abc_DEF-123.456789012".to_owned(),
            "xoxb-1234567890-abcdef".to_owned(),
            "xoxp-1234567890-abcdef".to_owned(),
            format!("sk-proj-{some}"),
            format!("sk-ant-api03-{some}"),
            "AKIAIOSFODNN7EXAMPLE".to_owned(),
            format!("npm_{some}"),
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----".to_owned(),
            "-----BEGIN PRIVATE KEY-----\\nMIIE\\n-----END PRIVATE KEY-----".to_owned(),
            "-----BEGIN PGP PRIVATE KEY BLOCK-----x-----END PGP PRIVATE KEY BLOCK-----".to_owned(),
        ] {
            for (before, after) in [("", ""), ("ü ", "\n"), ("token=", ";"), ("\"", "\"")] {
                let text = format!("{before}{secret}{after}");
                assert_eq!(found(&text), [secret.as_str()], "{text}");
            }
        }
    }

    #[test]
    fn a_key_that_does_not_end_is_hidden_to_the_end() {
        let text = "x -----BEGIN EC PRIVATE KEY-----\nMIIE";
        assert_eq!(found(text), [&text[2..]]);
    }

    #[test]
    fn words_and_public_keys_are_let_be() {
        for text in [
            "risk-management-2026-and-a-lot-more-0",
            "sk-learn-is-a-library-for-machine-learning",
            "ghp_short",
            "AKIA",
            "AKIAIOSFODNN7EXAMPLEX",
            "-----BEGIN PUBLIC KEY-----x-----END PUBLIC KEY-----",
            "npm_config_registry",
            "",
        ] {
            assert_eq!(found(text), Vec::<&str>::new(), "{text}");
        }
    }
}
