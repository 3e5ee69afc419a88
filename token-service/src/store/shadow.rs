//! The policy that is asked beside the one in force.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::json;

use super::{
    Store, StoreError,
    policies::{self, NewRevision},
    stops,
};
use crate::{audit::Record, clock::rfc3339};

/// About whom it is asked: each list says so where it names anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Servers, by id.
    pub servers: BTreeSet<String>,
    /// Agents, by `client_id`.
    pub agents: BTreeSet<String>,
}

impl Scope {
    /// Whether it is asked about calls of this agent to this server.
    #[must_use]
    pub fn is_about(&self, server: &str, agent: &str) -> bool {
        let named = |list: &BTreeSet<String>, one: &str| list.is_empty() || list.contains(one);
        named(&self.servers, server) && named(&self.agents, agent)
    }
}

/// What is in the shadow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// The revision's number.
    pub number: i64,
    /// About whom.
    pub scope: Scope,
    /// RFC 3339, UTC.
    pub since: String,
}

/// Which policy to put there.
#[derive(Debug)]
pub enum Candidate<'a> {
    /// A new one.
    New(&'a NewRevision<'a>),
    /// One that was published before.
    Published(i64),
}

impl Store {
    /// What is in the shadow now.
    ///
    /// # Errors
    /// When the database fails, or has something in it that this version does not write.
    pub async fn shadow(&self) -> Result<Option<Shadowed>, StoreError> {
        let row: Option<(i64, String, String, String)> =
            sqlx::query_as("SELECT number, servers, agents, since FROM policy_shadow")
                .fetch_optional(&mut *self.read().await?)
                .await?;
        let list = |text: &str| {
            serde_json::from_str(text).map_err(|e| StoreError::Malformed {
                table: "policy shadow",
                id: "1".to_owned(),
                problem: e.to_string(),
            })
        };
        row.map(|(number, servers, agents, since)| {
            let scope = Scope {
                servers: list(&servers)?,
                agents: list(&agents)?,
            };
            Ok(Shadowed {
                number,
                scope,
                since,
            })
        })
        .transpose()
    }

    /// Puts a policy into the shadow, in place of the one that is there; answers with its number.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] for a server or an agent that is not registered; when the database fails.
    pub async fn put_in_shadow(
        &self,
        candidate: &Candidate<'_>,
        scope: &Scope,
        author: &str,
        now: Timestamp,
    ) -> Result<i64, StoreError> {
        let mut tx = self.write().await?;
        for (what, sql, ids) in [
            (
                "server",
                "SELECT 1 FROM servers WHERE id = $1",
                &scope.servers,
            ),
            ("agent", "SELECT 1 FROM agents WHERE id = $1", &scope.agents),
        ] {
            for id in ids {
                stops::known_as(tx.conn(), sql, what, id).await?;
            }
        }
        let number = match candidate {
            Candidate::New(new) => policies::insert(&mut tx, new, now).await?,
            Candidate::Published(number) => *number,
        };
        sqlx::query(
            "INSERT INTO policy_shadow (id, number, servers, agents, since) VALUES (1, $1, $2, $3, $4)
             ON CONFLICT (id) DO UPDATE SET number = excluded.number, servers = excluded.servers,
                 agents = excluded.agents, since = excluded.since",
        )
        .bind(number)
        .bind(super::json(&scope.servers)?)
        .bind(super::json(&scope.agents)?)
        .bind(rfc3339(now))
        .execute(tx.conn())
        .await?;
        let mut record = Record::admin(now, "policy shadow", &number.to_string());
        record.detail =
            Some(json!({"author": author, "servers": scope.servers, "agents": scope.agents}));
        tx.audit(&record).await?;
        tx.commit().await?;
        Ok(number)
    }

    /// Takes the policy out of the shadow.
    ///
    /// # Errors
    /// When there is none, or the database fails.
    pub async fn end_shadow(&self, author: &str, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM policy_shadow")
            .execute(tx.conn())
            .await?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Conflict("no policy is in the shadow"));
        }
        let mut record = Record::admin(now, "policy shadow", "off");
        record.detail = Some(json!({ "author": author }));
        tx.audit(&record).await?;
        tx.commit().await
    }
}
