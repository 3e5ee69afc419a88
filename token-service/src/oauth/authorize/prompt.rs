//! What a client asks of the sign-in (OpenID Connect Core section 3.1.2.1): whether pages may be shown, and how fresh it
//! must be.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::{oauth::params::Params, store::oauth::Session};

/// What fits a hint at a user name.
const MAX_HINT: usize = 128;

/// A value of `prompt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    None,
    Login,
    Consent,
    SelectAccount,
}

/// `prompt`, `max_age` and `login_hint`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prompt {
    words: Vec<Word>,
    max_age: Option<SignedDuration>,
    hint: Option<String>,
}

impl Prompt {
    /// Reads them; the error says what is wrong.
    pub(super) fn read(params: &Params) -> Result<Self, &'static str> {
        let mut words = Vec::new();
        for word in params.get("prompt").unwrap_or_default().split_whitespace() {
            words.push(match word {
                "none" => Word::None,
                "login" => Word::Login,
                "consent" => Word::Consent,
                "select_account" => Word::SelectAccount,
                _ => return Err("prompt must be none, login, consent or select_account"),
            });
        }
        if words.contains(&Word::None) && words.len() > 1 {
            return Err("prompt none goes with no other");
        }
        let max_age = match params.get("max_age") {
            None => None,
            Some(seconds) => match seconds.parse::<u32>() {
                Ok(seconds) => Some(SignedDuration::from_secs(seconds.into())),
                Err(_) => return Err("max_age must be a number of seconds"),
            },
        };
        let hint = params.get("login_hint");
        let shown = |hint: &&str| hint.len() <= MAX_HINT && !hint.chars().any(char::is_control);
        Ok(Self {
            words,
            max_age,
            hint: hint.filter(shown).map(str::to_owned),
        })
    }

    /// What a request is taken to ask for that cannot be read now: the most.
    pub(super) fn strictest() -> Self {
        Self {
            words: vec![Word::Login],
            ..Self::default()
        }
    }

    /// Whether the user has to prove themselves again.
    pub(crate) fn asks_login(&self) -> bool {
        self.words.contains(&Word::Login)
    }

    /// Whether the user has to say again who they are.
    pub(crate) fn asks_account(&self) -> bool {
        self.words.contains(&Word::SelectAccount)
    }

    /// How long ago they may have proved themselves.
    pub(crate) fn max_age(&self) -> Option<Duration> {
        self.max_age.map(SignedDuration::unsigned_abs)
    }

    /// Whether no page may be shown.
    pub(super) fn is_silent(&self) -> bool {
        self.words.contains(&Word::None)
    }

    /// Whether the user is to be asked whatever they agreed to before.
    pub(super) fn asks_consent(&self) -> bool {
        self.words.contains(&Word::Consent)
    }

    /// Who is expected to sign in.
    pub(super) fn hint(&self) -> &str {
        self.hint.as_deref().unwrap_or_default()
    }

    /// Whether a session is fresh enough: one that was begun for this very request always is.
    pub(super) fn accepts(&self, session: &Session, request: &[u8], now: Timestamp) -> bool {
        if session.signed_in_for.as_deref() == Some(request) {
            return true;
        }
        let anew = |word: &Word| matches!(word, Word::Login | Word::SelectAccount);
        !self.words.iter().any(anew)
            && self
                .max_age
                .is_none_or(|age| now.duration_since(session.since) <= age)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(query: &str) -> Result<Prompt, &'static str> {
        Prompt::read(&Params::parse(query.as_bytes()).unwrap())
    }

    #[test]
    fn a_session_is_as_fresh_as_the_client_wants_it() {
        let since = Timestamp::from_second(1_800_000_000).unwrap();
        let session = Session {
            user: "alice".into(),
            since,
            id: "s".into(),
            signed_in_for: Some(b"this".to_vec()),
        };
        let later = since + SignedDuration::from_secs(60);
        for (query, request, expected) in [
            ("", "other", true),
            ("prompt=none", "other", true),
            ("prompt=consent", "other", true),
            ("prompt=login", "other", false),
            ("prompt=login", "this", true),
            ("prompt=select_account+consent", "other", false),
            ("max_age=60", "other", true),
            ("max_age=59", "other", false),
            ("max_age=0", "this", true),
        ] {
            let accepted = prompt(query)
                .unwrap()
                .accepts(&session, request.as_bytes(), later);
            assert_eq!(accepted, expected, "{query} {request}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for query in [
            "prompt=none+login",
            "prompt=create",
            "max_age=-1",
            "max_age=soon",
        ] {
            assert!(prompt(query).is_err(), "{query}");
        }
        assert_eq!(prompt("login_hint=alice").unwrap().hint(), "alice");
        assert_eq!(prompt("login_hint=a%01b").unwrap().hint(), "");
    }
}
