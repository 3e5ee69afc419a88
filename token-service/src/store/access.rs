//! Who has used a tool, and what users gave leave for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;
use sqlx::{Row as _, any::AnyRow};

use super::{Store, StoreError};
use crate::clock::rfc3339;

/// Who called, through what and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// The user, or the agent itself.
    pub subject: String,
    /// The agent.
    pub agent: String,
    /// The server.
    pub server: String,
}

/// How often somebody called, by the trail, and when last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Uses {
    /// Calls that were let through.
    pub allowed: i64,
    /// The last of them (RFC 3339).
    pub last_allowed: Option<String>,
    /// Calls that were refused.
    pub denied: i64,
    /// The last of them.
    pub last_denied: Option<String>,
}

/// What a user gave an agent leave for at a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Leave {
    /// When they agreed (RFC 3339).
    pub consent: Option<String>,
    /// Until when what they gave is good.
    pub grant_until: Option<String>,
}

impl Store {
    /// The calls of a tool, of one subject or of all.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn uses(
        &self,
        tool: &str,
        subject: Option<&str>,
    ) -> Result<BTreeMap<Way, Uses>, StoreError> {
        let rows = sqlx::query(
            "SELECT a.subject, a.agent, a.server,
                    count(*) FILTER (WHERE a.kind = 'mint') AS allowed, max(a.time) FILTER (WHERE a.kind = 'mint') AS last_allowed,
                    count(*) FILTER (WHERE a.kind = 'denied') AS denied, max(a.time) FILTER (WHERE a.kind = 'denied') AS last_denied
             FROM records AS a
             WHERE a.method = 'tools/call' AND a.target = $1 AND a.kind IN ('mint', 'denied') AND ($2 IS NULL OR a.subject = $2)
               AND a.subject IS NOT NULL AND a.agent IS NOT NULL AND a.server IS NOT NULL
             GROUP BY a.subject, a.agent, a.server",
        )
        .bind(tool)
        .bind(subject)
        .fetch_all(&mut *self.read().await?)
        .await?;
        let uses = |row: &AnyRow| {
            let way = Way {
                subject: row.try_get("subject")?,
                agent: row.try_get("agent")?,
                server: row.try_get("server")?,
            };
            let uses = Uses {
                allowed: row.try_get("allowed")?,
                last_allowed: row.try_get("last_allowed")?,
                denied: row.try_get("denied")?,
                last_denied: row.try_get("last_denied")?,
            };
            Ok((way, uses))
        };
        rows.iter().map(uses).collect()
    }

    /// The servers that a tool of this name was called at, whoever that was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn called_at(&self, tool: &str) -> Result<BTreeSet<String>, StoreError> {
        let servers: Vec<String> = sqlx::query_scalar(
            "SELECT DISTINCT server FROM audit
             WHERE method = 'tools/call' AND target = $1 AND kind IN ('mint', 'denied') AND server IS NOT NULL",
        )
        .bind(tool)
        .fetch_all(&mut *self.read().await?)
        .await?;
        Ok(servers.into_iter().collect())
    }

    /// What users gave leave for, of one or of all; the server is named by its resource identifier here.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn leave(
        &self,
        user: Option<&str>,
        now: Timestamp,
    ) -> Result<BTreeMap<Way, Leave>, StoreError> {
        let rows = sqlx::query(
            "SELECT user_name, client_id, resource, max(consent) AS consent, max(grant_until) AS grant_until FROM (
               SELECT user_name, client_id, resource, given_at AS consent, NULL AS grant_until FROM consents
               UNION ALL
               SELECT user_name, client_id, resource, NULL, expires_at FROM grants
               WHERE revoked_at IS NULL AND expires_at > $2 AND resource IS NOT NULL) AS given
             WHERE $1 IS NULL OR user_name = $1 GROUP BY user_name, client_id, resource",
        )
        .bind(user)
        .bind(rfc3339(now))
        .fetch_all(&mut *self.read().await?)
        .await?;
        let leave = |row: &AnyRow| {
            let way = Way {
                subject: row.try_get("user_name")?,
                agent: row.try_get("client_id")?,
                server: row.try_get("resource")?,
            };
            let leave = Leave {
                consent: row.try_get("consent")?,
                grant_until: row.try_get("grant_until")?,
            };
            Ok((way, leave))
        };
        rows.iter().map(leave).collect()
    }
}
