//! Whom to believe: issuers, their keys, and the signatures already checked.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use writ_policy::Value;
use writ_policy::input::{Document, Subject};

use super::cache::Cache;
use super::header::Header;
use super::{Claims, KeySet, MAX_TOKEN, TokenError, header};

/// A token whose signature, time and issuer are good.
#[derive(Debug)]
pub struct Accepted {
    /// SHA-256 of the token.
    pub digest: [u8; 32],
    /// What the token says.
    pub claims: Claims,
    /// The subject as decisions see it.
    pub subject: Document<Subject>,
}

/// A trusted issuer.
#[derive(Debug)]
struct Issuer {
    keys: KeySet,
    /// Accepted values of `typ`, in lower case.
    types: Vec<String>,
}

/// Checks tokens of trusted issuers.
#[derive(Debug)]
pub struct Verifier {
    issuers: HashMap<String, Issuer>,
    skew_s: u64,
    checked: Cache<Box<str>, Arc<Accepted>>,
    hits: u64,
    misses: u64,
}

impl Verifier {
    /// A verifier that trusts nobody yet, tolerates `skew_s` seconds between clocks and remembers at most
    /// `remembered` tokens.
    #[must_use]
    pub fn new(skew_s: u64, remembered: usize) -> Self {
        Self {
            issuers: HashMap::new(),
            skew_s,
            checked: Cache::new(remembered),
            hits: 0,
            misses: 0,
        }
    }

    /// Trusts the keys in `keys` for tokens whose `iss` is exactly `issuer` and whose `typ` is one of `types`, in
    /// place of the keys trusted for it before. Signatures checked before have to be checked again.
    pub fn trust(&mut self, issuer: &str, keys: KeySet, types: &[&str]) {
        let types = types.iter().map(|kind| kind.to_ascii_lowercase()).collect();
        self.issuers
            .insert(issuer.to_owned(), Issuer { keys, types });
        self.checked.clear();
    }

    /// Checks `token` at `now` (seconds since 1970): form, type, algorithm, issuer, key, time, signature. Whom it is
    /// for and whether its subject and client still count is the caller's to check.
    pub fn verify(&mut self, token: &str, now: u64) -> Result<Arc<Accepted>, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        // Found by the token itself, under a randomly keyed hash: four times cheaper than by its SHA-256, which
        // would be the largest part of a decision.
        if let Some(accepted) = self.checked.get(token) {
            self.hits += 1;
            accepted.claims.check_time(now, self.skew_s)?;
            return Ok(accepted);
        }
        self.misses += 1;
        let accepted = self.check(token, now, |keys, header, _| {
            keys.verifies(token, &header.key_id, header.algorithm, now)
        })?;
        let accepted = Arc::new(accepted);
        self.checked.insert(token.into(), Arc::clone(&accepted));
        Ok(accepted)
    }

    /// Checks all but the signature, which somebody else has checked where `signed` says so of the token's claims.
    pub(crate) fn verify_signed(
        &self,
        token: &str,
        now: u64,
        signed: impl FnOnce(&Value) -> bool,
    ) -> Result<Arc<Accepted>, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::TooLong);
        }
        self.check(token, now, |_, _, claims| signed(claims))
            .map(Arc::new)
    }

    fn check(
        &self,
        token: &str,
        now: u64,
        signed: impl FnOnce(&KeySet, &Header, &Value) -> bool,
    ) -> Result<Accepted, TokenError> {
        let (header, payload) = header::split(token)?;
        let claims = Claims::read(&payload)?;
        let issuer = self.issuers.get(&claims.issuer).ok_or(TokenError::Issuer)?;
        if !issuer.types.contains(&header.kind) {
            return Err(TokenError::Type);
        }
        if !issuer.keys.contains(&header.key_id) {
            return Err(TokenError::UnknownKey);
        }
        claims.check_time(now, self.skew_s)?;
        if !signed(&issuer.keys, &header, &payload) {
            return Err(TokenError::Signature);
        }
        let subject = Document::from(&Subject {
            id: claims.subject.clone(),
            kind: claims.subject_kind,
            issuer: claims.issuer.clone(),
            groups: claims.groups.clone(),
            scopes: claims.scopes.clone(),
            claims: claims.others.clone(),
        });
        Ok(Accepted {
            digest: Sha256::digest(token.as_bytes()).into(),
            claims,
            subject,
        })
    }

    /// What clocks may differ by, in seconds.
    pub(crate) fn skew_s(&self) -> u64 {
        self.skew_s
    }

    /// How often a signature was known already, and how often it had to be checked.
    #[must_use]
    pub fn cache_use(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }
}
