//! The kill switch: taking back what a subject, an agent, a session or a transaction has, and the lockdown.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::json;
use sqlx::AnyConnection;
use writ_policy::stops::{Lockdown, Stops};

use super::{Store, StoreError, departures, grants, oauth, tasks};
use crate::{
    audit::Record,
    clock::{Clock, rfc3339, unix},
};

/// What an administrator takes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// A token by its `jti`, or a grant by its `grant_id`, with all that was derived from it.
    Token(String),
    /// All tokens of a transaction (`txn`), and the tasks that it belongs to.
    Transaction(String),
    /// All that a subject has got so far: sign-ins, grants and tokens.
    Subject(String),
    /// All that an agent has got so far, whoever it acts for: grants and tokens.
    Agent(String),
    /// A sign-in (`sid`), with the grants that were given in it.
    Session(String),
}

impl Revocation {
    /// What it names.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Token(_) => "jti",
            Self::Transaction(_) => "txn",
            Self::Subject(_) => "subject",
            Self::Agent(_) => "agent",
            Self::Session(_) => "session",
        }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Token(id)
            | Self::Transaction(id)
            | Self::Subject(id)
            | Self::Agent(id)
            | Self::Session(id) => id,
        }
    }
}

impl Store {
    /// Takes something back, at once and for good; on record with the administrator's reason. The moment up to which it
    /// counts is taken while nobody else writes: what was issued while this waited for its turn is taken back with the rest.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a subject, an agent or a session that is not known; when the database fails.
    pub async fn revoke(
        &self,
        what: &Revocation,
        reason: Option<&str>,
        clock: &dyn Clock,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let now = clock.now();
        let conn = tx.conn();
        match what {
            // One that is no grant's ends no grant.
            Revocation::Token(id) => grants::end(conn, id, now).await?,
            Revocation::Transaction(txn) => {
                tasks::close_transaction(conn, txn, now).await?;
                oauth::revoke_token(conn, txn, now, grants::dead_by(now)).await?;
            }
            Revocation::Subject(name) => {
                let known =
                    "SELECT 1 FROM users WHERE name = $1 UNION SELECT 1 FROM agents WHERE id = $1";
                known_as(conn, known, "user", name).await?;
                departures::end_everything(conn, name, now).await?;
                revoke_until(conn, "subject", name, now).await?;
            }
            Revocation::Agent(id) => {
                let known = "SELECT 1 FROM agents WHERE id = $1";
                known_as(conn, known, "agent", id).await?;
                departures::end_all_of_agent(conn, id, now).await?;
                revoke_until(conn, "agent", id, now).await?;
            }
            Revocation::Session(sid) => departures::end_session(conn, sid, now).await?,
        }
        let mut record = Record::admin(now, "revoke", what.id());
        record.reason = reason.map(str::to_owned);
        record.detail = Some(json!({ "what": what.kind() }));
        tx.audit(&record).await?;
        tx.commit().await
    }

    /// Stops everybody but those on a list, or nobody any more; on record with the administrator's reason.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn lock_down(
        &self,
        lockdown: Option<&Lockdown>,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let record = match lockdown {
            Some(allow) => {
                sqlx::query(
                    "INSERT INTO lockdown (id, allow) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET allow = excluded.allow",
                )
                .bind(super::json(allow)?)
                .execute(tx.conn())
                .await?;
                let mut record = Record::admin(now, "lockdown", "on");
                record.detail = Some(json!({ "allow": allow }));
                record
            }
            None => {
                sqlx::query("DELETE FROM lockdown")
                    .execute(tx.conn())
                    .await?;
                Record::admin(now, "lockdown", "off")
            }
        };
        let record = Record {
            reason: reason.map(str::to_owned),
            ..record
        };
        tx.audit(&record).await?;
        tx.commit().await
    }

    /// What is stopped now.
    ///
    /// # Errors
    /// When the database fails or has a row in it that this version does not write.
    pub async fn stops(&self) -> Result<Stops, StoreError> {
        read(&mut *self.read().await?).await
    }
}

pub(super) async fn read(conn: &mut AnyConnection) -> Result<Stops, StoreError> {
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT what, id, until FROM revoked_until")
            .fetch_all(&mut *conn)
            .await?;
    let of = |wanted: &str| -> BTreeMap<String, u64> {
        let rows = rows.iter().filter(|(what, ..)| what == wanted);
        rows.map(|(_, id, until)| (id.clone(), u64::try_from(*until).unwrap_or(0)))
            .collect()
    };
    let allow: Option<String> = sqlx::query_scalar("SELECT allow FROM lockdown")
        .fetch_optional(conn)
        .await?;
    let lockdown = allow
        .map(|text| serde_json::from_str(&text))
        .transpose()
        .map_err(|e| StoreError::Malformed {
            table: "lockdown",
            id: "1".to_owned(),
            problem: e.to_string(),
        })?;
    Ok(Stops {
        subjects: of("subject"),
        agents: of("agent"),
        lockdown,
    })
}

/// Nothing is done about what is not there.
pub(super) async fn known_as(
    conn: &mut AnyConnection,
    sql: &'static str,
    what: &'static str,
    id: &str,
) -> Result<(), StoreError> {
    let known = sqlx::query(sql).bind(id).fetch_optional(conn).await?;
    if known.is_some() {
        return Ok(());
    }
    Err(StoreError::NotFound {
        what,
        id: id.to_owned(),
    })
}

async fn revoke_until(
    conn: &mut AnyConnection,
    what: &str,
    id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM revoked_until WHERE expires_at <= $1")
        .bind(rfc3339(now))
        .execute(&mut *conn)
        .await?;
    sqlx::query(
        "INSERT INTO revoked_until (what, id, until, expires_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (what, id) DO UPDATE SET expires_at = excluded.expires_at,
             until = CASE WHEN revoked_until.until > excluded.until THEN revoked_until.until ELSE excluded.until END",
    )
    .bind(what)
    .bind(id)
    .bind(i64::try_from(unix(now)).unwrap_or(i64::MAX))
    .bind(rfc3339(grants::dead_by(now)))
    .execute(conn)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future as _,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;
    use crate::clock::{tests::Moved, unix};

    #[tokio::test]
    async fn what_is_issued_while_a_revocation_waits_for_its_turn_is_taken_back_too() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&crate::store::Place::of_test(dir.path()))
            .await
            .unwrap();
        let mut tx = store.write().await.unwrap();
        sqlx::query("INSERT INTO users (name, password_hash, groups, status, created_at) VALUES ('alice', 'none', '[]', 'approved', '')")
            .execute(tx.conn())
            .await
            .unwrap();
        let clock = Moved::default();
        let what = Revocation::Subject("alice".to_owned());
        let mut revoking = pin!(store.revoke(&what, None, &clock));
        let first = revoking
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(first, Poll::Pending), "somebody else writes");
        clock.pass(2);
        tx.commit().await.unwrap();
        revoking.await.unwrap();
        let until = store.stops().await.unwrap().subjects;
        assert_eq!(until["alice"], unix(clock.now()));
    }
}
