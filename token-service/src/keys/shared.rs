//! Keys that all processes on one database share, made when they are first asked for and kept as signing keys are.

use super::{EncryptionKey, KeyError, Sealing};
use crate::store::{
    Store, StoreError, WriteTx,
    shared_keys::{self as rows, SharedKeyRow},
};

/// Bytes of a shared key.
const KEY_BYTES: usize = 32;

/// The key for a purpose: made when there is none yet, and encrypted when it is kept in clear although a key for that is
/// configured.
///
/// # Errors
/// When it does not open, or the database fails.
pub async fn shared(
    store: &Store,
    sealing: &Sealing,
    purpose: &str,
) -> Result<[u8; KEY_BYTES], KeyError> {
    let mut tx = store.write().await?;
    let row = rows::find(tx.conn(), purpose).await?;
    let key = match &row {
        Some(row) => open(row, sealing)?,
        None => rand::random(),
    };
    let lay_in_clear = row.as_ref().is_some_and(|row| !row.sealed) && sealing.is_some();
    if row.is_none() || lay_in_clear {
        rows::put(tx.conn(), &sealed(purpose, &key, sealing.as_ref())?).await?;
    }
    tx.commit().await?;
    if lay_in_clear {
        store.empty_log().await?;
    }
    Ok(key)
}

/// Encrypts all shared keys with another encryption key.
///
/// # Errors
/// When a key does not open with the present one, or the database fails.
pub(super) async fn reseal(
    tx: &mut WriteTx,
    from: &Sealing,
    to: &EncryptionKey,
) -> Result<(), KeyError> {
    for row in rows::all(tx.conn()).await? {
        let key = open(&row, from)?;
        rows::put(tx.conn(), &sealed(&row.purpose, &key, Some(to))?).await?;
    }
    Ok(())
}

fn open(row: &SharedKeyRow, sealing: &Sealing) -> Result<[u8; KEY_BYTES], KeyError> {
    let key = match (row.sealed, sealing) {
        (false, _) => row.key.as_slice().try_into().ok(),
        (true, None) => return Err(KeyError::Sealed),
        (true, Some(with)) => {
            let opened = with.open(&bound_to(&row.purpose), &row.key);
            let opened = opened.ok_or_else(|| KeyError::WrongKey {
                origin: with.origin().to_owned(),
                kid: row.purpose.clone(),
            })?;
            opened.as_slice().try_into().ok()
        }
    };
    key.ok_or_else(|| {
        KeyError::Store(StoreError::Malformed {
            table: "shared key",
            id: row.purpose.clone(),
            problem: format!("it must have {KEY_BYTES} bytes"),
        })
    })
}

fn sealed(
    purpose: &str,
    key: &[u8; KEY_BYTES],
    with: Option<&EncryptionKey>,
) -> Result<SharedKeyRow, KeyError> {
    let kept = match with {
        None => key.to_vec(),
        Some(with) => with
            .seal(&bound_to(purpose), key)
            .ok_or_else(|| KeyError::SealShared(purpose.to_owned()))?,
    };
    Ok(SharedKeyRow {
        purpose: purpose.to_owned(),
        key: kept,
        sealed: with.is_some(),
    })
}

fn bound_to(purpose: &str) -> Vec<u8> {
    format!("writ shared key\0{purpose}").into_bytes()
}
