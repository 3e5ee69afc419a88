//! The issuer's signing keys as rows. What they mean is [`crate::keys`]'s business.

use std::time::Duration;

use jiff::Timestamp;
use sqlx::{AnyConnection, Row as _, any::AnyRow};
use zeroize::Zeroizing;

use super::{Store, StoreError, dialect::Dialect};
use crate::{
    clock::rfc3339,
    keys::{Algorithm, Term},
};

/// One key.
#[derive(Debug)]
pub struct KeyRow {
    /// Its name: the RFC 7638 thumbprint.
    pub kid: String,
    /// What it signs with.
    pub alg: Algorithm,
    /// When it is published and signs.
    pub term: Term,
    /// The private half.
    pub private: Private,
}

/// The private half of a key as it is kept.
pub enum Private {
    /// PKCS #8 in PEM.
    Clear(Zeroizing<String>),
    /// The same, encrypted.
    Sealed(Vec<u8>),
}

impl std::fmt::Debug for Private {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Clear(_) => "Clear(…)",
            Self::Sealed(_) => "Sealed(…)",
        })
    }
}

impl Private {
    /// Whether it is encrypted.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        matches!(self, Self::Sealed(_))
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Clear(pem) => pem.as_bytes(),
            Self::Sealed(sealed) => sealed,
        }
    }
}

/// All keys, by algorithm and age.
///
/// # Errors
/// When the database fails or holds something that this version does not write.
pub async fn all(conn: &mut AnyConnection) -> Result<Vec<KeyRow>, StoreError> {
    sqlx::query("SELECT kid, alg, private, sealed, announced_at, signs_from, signs_until, overlap_s FROM signing_keys ORDER BY alg, signs_from, kid")
        .fetch_all(conn)
        .await?
        .iter()
        .map(key)
        .collect()
}

/// Adds a key in front of those of its algorithm: from its time on, they sign no more.
///
/// # Errors
/// When the database fails.
pub async fn add(conn: &mut AnyConnection, row: &KeyRow) -> Result<(), StoreError> {
    succeeded(&mut *conn, row.alg, row.term.signs_from, row.term.overlap).await?;
    sqlx::query(
        "INSERT INTO signing_keys (kid, alg, private, sealed, announced_at, signs_from, overlap_s) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(&row.kid)
    .bind(row.alg.name())
    .bind(row.private.bytes())
    .bind(i64::from(row.private.is_sealed()))
    .bind(rfc3339(row.term.announced_at))
    .bind(rfc3339(row.term.signs_from))
    .bind(seconds(row.term.overlap))
    .execute(conn)
    .await?;
    Ok(())
}

/// Lets an announced key sign from `now` on.
///
/// # Errors
/// When the database fails.
pub async fn promote(
    conn: &mut AnyConnection,
    row: &KeyRow,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE signing_keys SET signs_until = $1 WHERE alg = $2 AND kid <> $3 AND signs_until > $1",
    )
    .bind(rfc3339(now))
    .bind(row.alg.name())
    .bind(&row.kid)
    .execute(&mut *conn)
    .await?;
    sqlx::query("UPDATE signing_keys SET signs_from = $1 WHERE kid = $2")
        .bind(rfc3339(now))
        .bind(&row.kid)
        .execute(conn)
        .await?;
    Ok(())
}

/// Removes a key.
///
/// # Errors
/// When the database fails.
pub async fn remove(conn: &mut AnyConnection, kid: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM signing_keys WHERE kid = $1")
        .bind(kid)
        .execute(conn)
        .await?;
    Ok(())
}

/// Puts another form of the same private half in place.
///
/// # Errors
/// When the database fails.
pub async fn replace(
    conn: &mut AnyConnection,
    kid: &str,
    private: &Private,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE signing_keys SET private = $1, sealed = $2 WHERE kid = $3")
        .bind(private.bytes())
        .bind(i64::from(private.is_sealed()))
        .bind(kid)
        .execute(conn)
        .await?;
    Ok(())
}

/// Keeps every key that can still sign published for at least `overlap` after that.
///
/// # Errors
/// When the database fails.
pub async fn lengthen(
    conn: &mut AnyConnection,
    overlap: Duration,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE signing_keys SET overlap_s = $1 \
         WHERE overlap_s < $1 AND (signs_until IS NULL OR signs_until > $2)",
    )
    .bind(seconds(overlap))
    .bind(rfc3339(now))
    .execute(conn)
    .await?;
    Ok(())
}

async fn succeeded(
    conn: &mut AnyConnection,
    alg: Algorithm,
    from: Timestamp,
    overlap: Duration,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE signing_keys SET signs_until = $1, overlap_s = CASE WHEN overlap_s > $2 THEN overlap_s ELSE $2 END \
         WHERE alg = $3 AND (signs_until IS NULL OR signs_until > $1)",
    )
    .bind(rfc3339(from))
    .bind(seconds(overlap))
    .bind(alg.name())
    .execute(conn)
    .await?;
    Ok(())
}

impl Store {
    /// All signing keys, by algorithm and age.
    ///
    /// # Errors
    /// See [`all`].
    pub async fn signing_keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        all(&mut *self.read().await?).await
    }

    /// Writes SQLite's log into the database and empties it, so that nothing that was overwritten lies on in it. Tried once:
    /// while somebody reads, it stays until the next time. PostgreSQL keeps its log as its administrator wants it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn empty_log(&self) -> Result<(), StoreError> {
        if self.dialect == Dialect::Sqlite {
            sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
                .execute(&self.writer)
                .await?;
        }
        Ok(())
    }
}

fn key(row: &AnyRow) -> Result<KeyRow, StoreError> {
    let kid: String = row.try_get("kid")?;
    let malformed = |problem: String| StoreError::Malformed {
        table: "signing key",
        id: kid.clone(),
        problem,
    };
    let time = |text: &str| {
        text.parse::<Timestamp>()
            .map_err(|e| malformed(e.to_string()))
    };
    let alg: &str = row.try_get("alg")?;
    let private: Vec<u8> = row.try_get("private")?;
    let private = match row.try_get::<i64, _>("sealed")? {
        1 => Private::Sealed(private),
        _ => Private::Clear(Zeroizing::new(
            String::from_utf8(private).map_err(|_| malformed("it is not PEM".to_owned()))?,
        )),
    };
    Ok(KeyRow {
        alg: Algorithm::from_name(alg)
            .ok_or_else(|| malformed(format!("the algorithm {alg:?} is unknown")))?,
        term: Term {
            announced_at: time(row.try_get("announced_at")?)?,
            signs_from: time(row.try_get("signs_from")?)?,
            signs_until: row
                .try_get::<Option<&str>, _>("signs_until")?
                .map(time)
                .transpose()?,
            overlap: Duration::from_secs(
                u64::try_from(row.try_get::<i64, _>("overlap_s")?).unwrap_or(0),
            ),
        },
        private,
        kid,
    })
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
