//! Passwords of the local directory: argon2id, one at a time per core, and the same work for a name that does not exist.

use std::sync::{Arc, LazyLock};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc},
};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Longer passwords are refused: nobody types them, and hashing them would be work for free.
pub const MAX_PASSWORD_BYTES: usize = 1024;
/// NIST SP 800-63B section 3.1.1.2 asks for at least 8 characters.
pub const MIN_PASSWORD_CHARS: usize = 8;

/// Each hash takes 19 MiB and a core for some 20 ms: this bounds what a flood of sign-ins can take.
static AT_ONCE: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(2)));

/// An argon2id hash in PHC form, with its salt and cost.
#[derive(Clone)]
pub struct PasswordHash(String);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(…)")
    }
}

/// Why a password cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too easy to guess.
    #[error("the password is too short: use at least {MIN_PASSWORD_CHARS} characters")]
    TooShort,
    /// Too much work to hash.
    #[error("the password is too long: use at most {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
    /// The system gave no randomness or memory.
    #[error("the password could not be hashed: {0}")]
    Hashing(String),
}

/// What a check of a password came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordCheck {
    /// It is the user's password.
    Right,
    /// It is not, or there is no such user.
    Wrong,
}

impl PasswordHash {
    /// Hashes a new password. Blocking, some 20 ms.
    ///
    /// # Errors
    /// When it is too short or too long, or the system has no randomness.
    pub fn new(password: &str) -> Result<Self, PasswordError> {
        if password.chars().count() < MIN_PASSWORD_CHARS {
            return Err(PasswordError::TooShort);
        }
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordError::TooLong);
        }
        Self::hash(password)
    }

    fn hash(password: &str) -> Result<Self, PasswordError> {
        Argon2::default()
            .hash_password(password.as_bytes())
            .map(|hash| Self(hash.to_string()))
            .map_err(|e| PasswordError::Hashing(e.to_string()))
    }

    /// A hash as it is stored, if it is one.
    #[must_use]
    pub fn from_stored(text: String) -> Option<Self> {
        phc::PasswordHash::new(&text).is_ok().then_some(Self(text))
    }

    /// For storage.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn matches(&self, password: &str) -> bool {
        phc::PasswordHash::new(&self.0).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok()
        })
    }
}

/// Checks a password against a user's hash, or does the same work for a user that does not exist, so that the time
/// an answer takes does not tell who has an account.
pub async fn check(stored: Option<PasswordHash>, password: Zeroizing<String>) -> PasswordCheck {
    static NOBODY: LazyLock<Option<PasswordHash>> =
        LazyLock::new(|| PasswordHash::hash(&crate::secret::generate()).ok());

    if password.len() > MAX_PASSWORD_BYTES {
        return PasswordCheck::Wrong;
    }
    let Ok(_turn) = Arc::clone(&AT_ONCE).acquire_owned().await else {
        return PasswordCheck::Wrong;
    };
    let checked = tokio::task::spawn_blocking(move || {
        let nobody = LazyLock::force(&NOBODY);
        match (stored, nobody) {
            (Some(hash), _) => hash.matches(&password),
            (None, Some(nobody)) => {
                nobody.matches(&password);
                false
            }
            (None, None) => false,
        }
    });
    match checked.await {
        Ok(true) => PasswordCheck::Right,
        Ok(false) | Err(_) => PasswordCheck::Wrong,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_argon2id_with_a_salt_of_their_own() {
        let (one, two) = (
            PasswordHash::new("correct horse").unwrap(),
            PasswordHash::new("correct horse").unwrap(),
        );
        assert!(one.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_ne!(one.as_str(), two.as_str());
        assert!(one.matches("correct horse"));
        assert!(!one.matches("correct horsf"));
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert!(matches!(
            PasswordHash::new("short"),
            Err(PasswordError::TooShort)
        ));
        let endless = "x".repeat(MAX_PASSWORD_BYTES + 1);
        assert!(matches!(
            PasswordHash::new(&endless),
            Err(PasswordError::TooLong)
        ));
    }

    #[tokio::test]
    async fn a_user_that_does_not_exist_has_no_password() {
        let wrong = check(None, Zeroizing::new(String::new())).await;
        assert_eq!(wrong, PasswordCheck::Wrong);
    }
}
