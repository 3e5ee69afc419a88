//! What is kept of what calls carry: tools' arguments, and what users answer. Which of it, [`Rules`] say for each tool.
//!
//! A record has the digest only, under a key and for itself alone, so that nobody who has the database can find out by trying what
//! it is of, or that two calls were alike. The rest lies beside the record, encrypted, and goes when the person is erased.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac_sha256::HMAC;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use subtle::ConstantTimeEq as _;
use writ_policy::{
    Value,
    kept::{KeptInput, Lack, MOST_KEPT},
};

use super::Record;
use crate::{
    config::arguments::Rules,
    keys::{self, EncryptionKey, KeyError, Sealing},
    store::{Store, inputs::Decided},
};

/// How much is kept of what a call carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Nothing.
    None,
    /// Its digest, so that who says what it was can be believed or not.
    #[default]
    Digest,
    /// That, and all but what is named.
    Redacted,
    /// That, and all.
    Full,
}

impl Keep {
    /// The word in the configuration and on record.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Digest => "digest",
            Self::Redacted => "redacted",
            Self::Full => "full",
        }
    }

    /// What has this name.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        [Self::None, Self::Digest, Self::Redacted, Self::Full]
            .into_iter()
            .find(|keep| keep.as_str() == word)
    }
}

/// What lies beside a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// What the policy was asked, without what the call carried.
    pub input: Option<KeptInput>,
    /// What the call carried, encrypted.
    pub carried: Option<String>,
}

/// What is encrypted.
#[derive(Serialize, Deserialize)]
struct Sealed<'a> {
    keep: Keep,
    #[serde(borrow)]
    carried: &'a RawValue,
}

/// What a call carried, as far as it was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// [`Keep::Redacted`] or [`Keep::Full`].
    pub keep: Keep,
    /// By the names of [`writ_policy::kept::CARRIED`].
    pub carried: Value,
}

/// Why it cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Somebody else's, or changed.
    #[error(
        "what is kept of the arguments of {0} does not open: it was changed, or is of another record or installation"
    )]
    Damaged(String),
}

/// Keeps what calls carry, and shows it again.
#[derive(Debug)]
pub struct Arguments {
    key: Key,
    rules: Rules,
}

impl Arguments {
    /// With the key that all processes of an installation share.
    ///
    /// # Errors
    /// When the key cannot be had.
    pub async fn open(store: &Store, sealing: &Sealing, rules: Rules) -> Result<Self, KeyError> {
        let key = Key::open(store, sealing).await?;
        Ok(Self { key, rules })
    }

    /// Says in the record what is kept of what the call carried, and adds it to what lies beside.
    pub fn keep(&self, record: &mut Record, beside: &mut Beside, carried: Option<&Value>) {
        let Some(carried) = carried else { return };
        let server = record.server.as_deref().unwrap_or_default();
        let tool = match record.method.as_deref() {
            Some("tools/call") => record.target.as_deref(),
            _ => None,
        };
        let (keep, redaction) = self.rules.of(server, tool);
        if keep == Keep::None {
            return;
        }
        let digest = self.key.digest(&record.id, carried);
        let kept = match keep {
            Keep::None | Keep::Digest => None,
            Keep::Redacted => Some(redaction.of(carried).to_string()),
            Keep::Full => Some(carried.to_string()),
        };
        let is_long = kept.as_ref().is_some_and(|kept| kept.len() > MOST_KEPT);
        beside.carried = kept
            .filter(|_| !is_long)
            .and_then(|kept| self.key.seal(&record.id, keep, kept));
        if is_long
            && let Some(input) = &mut beside.input
            && input.lacks == Some(Lack::Arguments)
        {
            input.lacks = Some(Lack::LongArguments);
        }
        let kept = match is_long {
            true => "too_long",
            false => keep.as_str(),
        };
        record.note("arguments", json!({"kept": kept, "digest": digest}));
    }
}

/// What digests are made with, and what is kept is encrypted with.
#[derive(Debug)]
pub struct Key {
    digests: DigestKey,
    sealing: EncryptionKey,
}

struct DigestKey([u8; 32]);

impl std::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestKey(…)")
    }
}

impl Key {
    /// The installation's.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn open(store: &Store, sealing: &Sealing) -> Result<Self, KeyError> {
        let key = keys::shared(store, sealing, "audit_arguments").await?;
        Ok(Self {
            digests: DigestKey(HMAC::mac(b"digests", key)),
            sealing: EncryptionKey::of(HMAC::mac(b"arguments", key), "the key for arguments"),
        })
    }

    /// Whether the record with this digest is of a call that carried this.
    #[must_use]
    pub fn is_of(&self, record: &str, digest: &str, carried: &Value) -> bool {
        let again = self.digest(record, carried);
        again.as_bytes().ct_eq(digest.as_bytes()).into()
    }

    fn digest(&self, record: &str, carried: &Value) -> String {
        let message = format!("{record}\n{carried}");
        URL_SAFE_NO_PAD.encode(HMAC::mac(message, self.digests.0))
    }

    fn seal(&self, record: &str, keep: Keep, carried: String) -> Option<String> {
        let carried = RawValue::from_string(carried).ok()?;
        let carried = &*carried;
        let text = serde_json::to_vec(&Sealed { keep, carried }).ok()?;
        let sealed = self.sealing.seal(&bound_to(record), &text)?;
        Some(URL_SAFE_NO_PAD.encode(sealed))
    }

    /// What was kept beside the record of this id.
    ///
    /// # Errors
    /// When it does not open.
    pub fn opened(&self, record: &str, sealed: &str) -> Result<Opened, OpenError> {
        let opened = || {
            let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
            let text = self.sealing.open(&bound_to(record), &sealed)?;
            let Sealed { keep, carried } = serde_json::from_slice(&text).ok()?;
            let carried = Value::from_json_str(carried.get()).ok()?;
            Some(Opened { keep, carried })
        };
        opened().ok_or_else(|| OpenError::Damaged(record.to_owned()))
    }

    /// Puts what a call carried back into what the policy was asked about it, where all of it was kept.
    ///
    /// # Errors
    /// When it does not open.
    pub fn put_back(&self, decided: &mut Decided) -> Result<(), OpenError> {
        let (Some(input), Some(sealed)) = (&mut decided.input, &decided.carried) else {
            return Ok(());
        };
        let opened = self.opened(&decided.record.id, sealed)?;
        decided.is_redacted = opened.keep == Keep::Redacted;
        if opened.keep == Keep::Full
            && let Some(whole) = input.with_carried(&opened.carried)
        {
            *input = whole;
        }
        Ok(())
    }
}

fn bound_to(record: &str) -> Vec<u8> {
    format!("writ audit arguments\0{record}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(of: u8) -> Key {
        Key {
            digests: DigestKey([of; 32]),
            sealing: EncryptionKey::of([of; 32], "a test"),
        }
    }

    #[test]
    fn what_is_kept_opens_for_its_record_and_installation_only() {
        let carried = Value::from_json_str(r#"{"arguments":{"amount":0.10}}"#).unwrap();
        let sealed = key(1).seal("a", Keep::Full, carried.to_string()).unwrap();
        assert!(!sealed.contains("amount"));
        let opened = key(1).opened("a", &sealed).unwrap();
        assert_eq!((opened.keep, &opened.carried), (Keep::Full, &carried));
        assert!(key(1).opened("b", &sealed).is_err());
        assert!(key(2).opened("a", &sealed).is_err());
        assert!(key(1).opened("a", &sealed[1..]).is_err());
    }

    #[test]
    fn a_digest_is_of_one_record_and_says_nothing_without_the_key() {
        let carried = Value::from_json_str(r#"{"arguments":{"yes":true}}"#).unwrap();
        let digest = key(1).digest("a", &carried);
        assert!(key(1).is_of("a", &digest, &carried));
        assert!(!key(1).is_of("b", &digest, &carried));
        assert!(!key(2).is_of("a", &digest, &carried));
        assert!(!key(1).is_of("a", &digest, &Value::from("else")));
    }
}
