//! What is done to the keys in the store: by a service at its start and now and then, and by the command line.
//!
//! Several processes do this on one database. Keys are made before a transaction, since that is slow; inside it, what is
//! due is looked at again, so that of two who make a key one finds it made.

use std::{collections::HashMap, path::Path};

use jiff::Timestamp;

use super::{
    Algorithm, EncryptionKey, KeyError, Schedule, State, Term, file, shared,
    signing::SigningKey,
    term::{self, Due},
};
use crate::{
    audit::Record,
    store::{
        Store, WriteTx,
        keys::{self as rows, KeyRow, Private},
    },
};

/// What private halves are encrypted with; kept in clear where nothing is configured.
pub type Sealing = Option<EncryptionKey>;

/// Opens the private half of a key.
///
/// # Errors
/// When it does not open, or is not the key that the row says.
pub(super) fn open_private(row: &KeyRow, sealing: &Sealing) -> Result<SigningKey, KeyError> {
    let pem = match (&row.private, sealing) {
        (Private::Clear(pem), _) => pem.clone(),
        (Private::Sealed(_), None) => return Err(KeyError::Sealed),
        (Private::Sealed(sealed), Some(with)) => with
            .open_signing(row.alg, &row.kid, sealed)
            .ok_or_else(|| KeyError::WrongKey {
                origin: with.origin().to_owned(),
                kid: row.kid.clone(),
            })?,
    };
    SigningKey::from_pem(row.alg, &pem)
        .filter(|key| key.kid() == row.kid)
        .ok_or_else(|| KeyError::Damaged {
            kid: row.kid.clone(),
            algorithm: row.alg,
        })
}

/// Whether the private half of a key opens.
///
/// # Errors
/// Why it does not.
pub fn check_private(row: &KeyRow, sealing: &Sealing) -> Result<(), KeyError> {
    open_private(row, sealing).map(|_| ())
}

/// Takes over the key files of a data directory from before keys were kept in the database. The files are removed:
/// what lies in clear beside an encrypted database protects nothing.
pub(super) async fn import(
    store: &Store,
    directory: &Path,
    schedule: &Schedule,
    sealing: &Sealing,
    now: Timestamp,
) -> Result<(), KeyError> {
    for alg in Algorithm::ALL {
        let path = file::path(directory, alg);
        let Some(pem) = file::read(&path)? else {
            continue;
        };
        let key = SigningKey::from_pem(alg, &pem).ok_or_else(|| KeyError::Malformed {
            path: path.clone(),
            algorithm: alg,
        })?;
        let mut tx = store.write().await?;
        if !rows::all(tx.conn()).await?.iter().any(|row| row.alg == alg) {
            rows::add(tx.conn(), &row(&key, schedule, sealing, now, now)?).await?;
            tx.audit(&Record::admin(now, "keys import", key.kid()))
                .await?;
        }
        tx.commit().await?;
        file::remove(&path)?;
    }
    Ok(())
}

/// Announces the keys that are due and removes those that nobody needs any more.
pub(super) async fn tend(
    store: &Store,
    schedule: &Schedule,
    sealing: &Sealing,
    now: Timestamp,
) -> Result<(), KeyError> {
    let present = store.signing_keys().await?;
    let present = facts(&present);
    let expected = term::due(&present, schedule, now);
    if expected.is_empty() {
        return Ok(());
    }
    let mut made = HashMap::new();
    for due in &expected {
        if let Due::Announce { alg, .. } = due {
            made.insert(*alg, generate(*alg).await?);
        }
    }
    let mut tx = store.write().await?;
    let present = rows::all(tx.conn()).await?;
    for due in term::due(&facts(&present), schedule, now) {
        match due {
            Due::Announce { alg, signs_from } => {
                if let Some(key) = made.remove(&alg) {
                    announce(
                        &mut tx,
                        &row(&key, schedule, sealing, signs_from, now)?,
                        now,
                    )
                    .await?;
                }
            }
            Due::Remove(kid) => {
                rows::remove(tx.conn(), kid).await?;
                tx.audit(&Record::admin(now, "keys retire", kid)).await?;
            }
        }
    }
    tx.commit().await?;
    Ok(())
}

/// Encrypts what is kept in clear although a key for that is configured, and sees to it that no key goes before the
/// longest-lived token of the present configuration.
pub(super) async fn bring_up_to_date(
    store: &Store,
    schedule: &Schedule,
    sealing: &Sealing,
    now: Timestamp,
) -> Result<(), KeyError> {
    let present = store.signing_keys().await?;
    if present
        .iter()
        .any(|row| row.term.overlap < schedule.overlap)
    {
        let mut tx = store.write().await?;
        rows::lengthen(tx.conn(), schedule.overlap, now).await?;
        tx.commit().await?;
    }
    let Some(with) = sealing else {
        return Ok(());
    };
    if present.iter().all(|row| row.private.is_sealed()) {
        return Ok(());
    }
    let mut tx = store.write().await?;
    for row in rows::all(tx.conn()).await? {
        if let Private::Clear(pem) = &row.private {
            let sealed = seal(row.alg, &row.kid, pem, with)?;
            rows::replace(tx.conn(), &row.kid, &sealed).await?;
        }
    }
    tx.audit(&Record::admin(now, "keys reencrypt", with.origin()))
        .await?;
    tx.commit().await?;
    store.empty_log().await?;
    Ok(())
}

/// When a new key is to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// After it was announced for as long as the schedule says.
    Announced,
    /// Now: whoever knows the published keys by heart has to fetch them again.
    Immediate,
}

/// Makes a new key of an algorithm, by an administrator's command, and returns its name and when it signs.
///
/// # Errors
/// [`KeyError::Announced`] when the next one is there and need not sign at once; when the database fails.
pub async fn rotate(
    store: &Store,
    (schedule, sealing): (&Schedule, &Sealing),
    alg: Algorithm,
    rotation: Rotation,
    now: Timestamp,
) -> Result<(String, Timestamp), KeyError> {
    let key = generate(alg).await?;
    let mut tx = store.write().await?;
    let present = rows::all(tx.conn()).await?;
    let next = present
        .iter()
        .find(|row| row.alg == alg && row.term.state(now) == State::Next);
    let signs = match (rotation, next) {
        (Rotation::Announced, Some(next)) => {
            return Err(KeyError::Announced {
                kid: next.kid.clone(),
                algorithm: alg,
                signs_from: next.term.signs_from,
            });
        }
        (Rotation::Announced, None) => {
            let from = term::later(now, schedule.announce_ahead);
            let new = row(&key, schedule, sealing, from, now)?;
            announce(&mut tx, &new, now).await?;
            (new.kid, from)
        }
        (Rotation::Immediate, _) => {
            let new = row(&key, schedule, sealing, now, now)?;
            (replace_signer(&mut tx, next, &new, now).await?, now)
        }
    };
    tx.commit().await?;
    Ok(signs)
}

/// Removes a key at once: everything that it signed is refused from now on. Where it signs, another takes its place.
///
/// # Errors
/// [`KeyError::Unknown`] when there is no such key; when the database fails.
pub async fn revoke(
    store: &Store,
    (schedule, sealing): (&Schedule, &Sealing),
    kid: &str,
    now: Timestamp,
) -> Result<(), KeyError> {
    let unknown = || KeyError::Unknown(kid.to_owned());
    let alg = store
        .signing_keys()
        .await?
        .iter()
        .find(|row| row.kid == kid)
        .map(|row| row.alg)
        .ok_or_else(unknown)?;
    let key = generate(alg).await?;
    let mut tx = store.write().await?;
    let present = rows::all(tx.conn()).await?;
    let revoked = present
        .iter()
        .find(|row| row.kid == kid)
        .ok_or_else(unknown)?;
    if revoked.term.state(now) != State::Retiring {
        let next = present
            .iter()
            .find(|row| row.alg == alg && row.kid != kid && row.term.state(now) == State::Next);
        replace_signer(&mut tx, next, &row(&key, schedule, sealing, now, now)?, now).await?;
    }
    rows::remove(tx.conn(), kid).await?;
    tx.audit(&Record::admin(now, "keys revoke", kid)).await?;
    tx.commit().await?;
    store.empty_log().await?;
    Ok(())
}

/// Encrypts all keys with another encryption key.
///
/// # Errors
/// When a key does not open with the present one; when the database fails.
pub async fn reseal(
    store: &Store,
    from: &Sealing,
    to: &EncryptionKey,
    now: Timestamp,
) -> Result<usize, KeyError> {
    let mut tx = store.write().await?;
    let present = rows::all(tx.conn()).await?;
    for row in &present {
        let pem = open_private(row, from)?.to_pem()?;
        let sealed = seal(row.alg, &row.kid, &pem, to)?;
        rows::replace(tx.conn(), &row.kid, &sealed).await?;
    }
    shared::reseal(&mut tx, from, to).await?;
    tx.audit(&Record::admin(now, "keys reencrypt", to.origin()))
        .await?;
    tx.commit().await?;
    store.empty_log().await?;
    Ok(present.len())
}

/// Lets the key that is announced already sign now, or else the new one; the name of which it is.
async fn replace_signer(
    tx: &mut WriteTx,
    next: Option<&KeyRow>,
    new: &KeyRow,
    now: Timestamp,
) -> Result<String, KeyError> {
    let Some(next) = next else {
        announce(tx, new, now).await?;
        return Ok(new.kid.clone());
    };
    rows::promote(tx.conn(), next, now).await?;
    tx.audit(&Record::admin(now, "keys rotate", &next.kid))
        .await?;
    Ok(next.kid.clone())
}

async fn announce(tx: &mut WriteTx, new: &KeyRow, now: Timestamp) -> Result<(), KeyError> {
    rows::add(tx.conn(), new).await?;
    tx.audit(&Record::admin(now, "keys announce", &new.kid))
        .await?;
    Ok(())
}

/// RSA takes up to seconds.
async fn generate(alg: Algorithm) -> Result<SigningKey, KeyError> {
    tokio::task::spawn_blocking(move || SigningKey::generate(alg))
        .await
        .map_err(|_| KeyError::Generate(alg))?
}

fn row(
    key: &SigningKey,
    schedule: &Schedule,
    sealing: &Sealing,
    signs_from: Timestamp,
    now: Timestamp,
) -> Result<KeyRow, KeyError> {
    let (alg, pem) = (key.algorithm(), key.to_pem()?);
    Ok(KeyRow {
        kid: key.kid().to_owned(),
        alg,
        term: Term {
            announced_at: now,
            signs_from,
            signs_until: None,
            overlap: schedule.overlap,
        },
        private: match sealing {
            Some(with) => seal(alg, key.kid(), &pem, with)?,
            None => Private::Clear(pem),
        },
    })
}

fn seal(alg: Algorithm, kid: &str, pem: &str, with: &EncryptionKey) -> Result<Private, KeyError> {
    with.seal_signing(alg, kid, pem)
        .map(Private::Sealed)
        .ok_or(KeyError::Generate(alg))
}

fn facts(rows: &[KeyRow]) -> Vec<(&str, Algorithm, Term)> {
    rows.iter()
        .map(|row| (row.kid.as_str(), row.alg, row.term))
        .collect()
}
