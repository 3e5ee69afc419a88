//! Ids of registrations: short, printable, safe in URLs, logs and Basic credentials.

use std::fmt;

/// A checked id: 1 to 64 of `a-z A-Z 0-9 . _ -`, starting with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(String);

/// Why a text is not an [`Id`].
#[derive(Debug, thiserror::Error)]
#[error(
    "{given:?} is not a valid id: use 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit"
)]
pub struct IdError {
    given: String,
}

impl Id {
    /// Checks a text.
    ///
    /// # Errors
    /// When the text is too long, empty or has characters an id may not have.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if starts_well && text.len() <= 64 && text.chars().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdError {
                given: text.chars().take(80).collect(),
            })
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl serde::Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_short_and_printable() {
        for good in ["ledger", "a", "7", "team-a.ledger_2", &"x".repeat(64)] {
            assert!(Id::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            ".a",
            "a b",
            "a:b",
            "ä",
            "a/b",
            "a\n",
            &"x".repeat(65),
        ] {
            assert!(Id::parse(bad).is_err(), "{bad}");
        }
    }
}
