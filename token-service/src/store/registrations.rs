//! An administrator's changes to servers, agents and gateways, each committed with its audit record.

use jiff::Timestamp;
use serde::Serialize;

use super::{Store, StoreError, WriteTx, registry};
use crate::{
    audit::Record,
    clock::rfc3339,
    registry::{Agent, Gateway, Server, Status},
    secret::SecretHash,
};

/// What kinds of registration can be switched on and off here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// An MCP server.
    Server,
    /// An agent (OAuth client).
    Agent,
    /// A gateway.
    Gateway,
}

impl Registered {
    /// The word of the CLI.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
            Self::Gateway => "gateway",
        }
    }
}

impl Store {
    /// Registers a server.
    ///
    /// # Errors
    /// When the id, the resource or the audience is taken, or the audience is somebody's resource.
    pub async fn add_server(&self, server: &Server, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let added = sqlx::query(
            "INSERT INTO servers (id, resource, upstream_audience, enforcement, status, labels, scopes, secret_hash, name,
             owner, upstream, tools, may_call, origin, registration_hash, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(server.id.as_str())
        .bind(&server.resource)
        .bind(&server.upstream_audience)
        .bind(word(&server.enforcement)?)
        .bind(word(&server.status)?)
        .bind(super::json(&server.labels)?)
        .bind(super::json(&server.scopes)?)
        .bind(server.secret.as_bytes())
        .bind(&server.name)
        .bind(&server.owner)
        .bind(&server.upstream)
        .bind(super::json(&server.tools)?)
        .bind(super::json(&server.may_call)?)
        .bind(word(&server.origin)?)
        .bind(server.registration.as_ref().map(SecretHash::as_bytes))
        .bind(rfc3339(now))
        .execute(tx.conn())
        .await;
        added.map_err(|e| refused(e, "server", server.id.as_str()))?;
        audited(tx, now, "server add", server.id.as_str()).await
    }

    /// Registers an agent.
    ///
    /// # Errors
    /// When the id is taken.
    pub async fn add_agent(&self, agent: &Agent, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let added = sqlx::query(
            "INSERT INTO agents (id, name, auth_method, secret_hash, jwks, jwks_uri, workload, redirect_uris, grants, tools,
             labels, metadata, status, origin, registration_hash, created_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(agent.id.as_str())
        .bind(&agent.name)
        .bind(agent.auth.as_str())
        .bind(agent.secret.as_ref().map(SecretHash::as_bytes))
        .bind(agent.jwks.as_ref().map(super::json).transpose()?)
        .bind(&agent.jwks_uri)
        .bind(agent.workload.as_ref().map(super::json).transpose()?)
        .bind(super::json(&agent.redirect_uris)?)
        .bind(super::json(&agent.grants)?)
        .bind(super::json(&agent.tools)?)
        .bind(super::json(&agent.labels)?)
        .bind(super::json(&agent.metadata)?)
        .bind(word(&agent.status)?)
        .bind(word(&agent.origin)?)
        .bind(agent.registration.as_ref().map(SecretHash::as_bytes))
        .bind(rfc3339(now))
        .execute(tx.conn())
        .await;
        added.map_err(|e| refused(e, "agent", agent.id.as_str()))?;
        audited(tx, now, "agent add", agent.id.as_str()).await
    }

    /// Registers a gateway.
    ///
    /// # Errors
    /// When the id is taken or one of its servers is not registered.
    pub async fn add_gateway(&self, gateway: &Gateway, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let id = gateway.id.as_str();
        let added = sqlx::query(
            "INSERT INTO gateways (id, secret_hash, status, created_at) VALUES (?, ?, ?, ?)",
        )
        .bind(id)
        .bind(gateway.secret.as_bytes())
        .bind(word(&gateway.status)?)
        .bind(rfc3339(now))
        .execute(tx.conn())
        .await;
        added.map_err(|e| refused(e, "gateway", id))?;
        for server in &gateway.servers {
            let added = sqlx::query("INSERT INTO gateway_servers (gateway, server) VALUES (?, ?)")
                .bind(id)
                .bind(server)
                .execute(tx.conn())
                .await;
            added.map_err(|e| refused(e, "server", server))?;
        }
        audited(tx, now, "gateway add", id).await
    }

    /// Switches a registration on or off. Effective with the next decision of any service on this database.
    ///
    /// # Errors
    /// When there is none with this id.
    pub async fn set_status(
        &self,
        what: Registered,
        id: &str,
        status: Status,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let sql = match what {
            Registered::Server => "UPDATE servers SET status = ?1 WHERE id = ?2",
            Registered::Agent => "UPDATE agents SET status = ?1 WHERE id = ?2",
            Registered::Gateway => "UPDATE gateways SET status = ?1 WHERE id = ?2",
        };
        let set = sqlx::query(sql)
            .bind(word(&status)?)
            .bind(id)
            .execute(tx.conn())
            .await?;
        if set.rows_affected() == 0 {
            return Err(StoreError::NotFound {
                what: what.as_str(),
                id: id.to_owned(),
            });
        }
        let verb = match status {
            Status::Approved => "enable",
            Status::Disabled => "disable",
            Status::Pending => "suspend",
        };
        audited(tx, now, &format!("{} {verb}", what.as_str()), id).await
    }

    /// All servers, by id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn servers(&self) -> Result<Vec<Server>, StoreError> {
        registry::servers(&mut *self.read().await?).await
    }

    /// All agents, by id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn agents(&self) -> Result<Vec<Agent>, StoreError> {
        registry::agents(&mut *self.read().await?).await
    }

    /// All gateways, by id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn gateways(&self) -> Result<Vec<Gateway>, StoreError> {
        registry::gateways(&mut *self.read().await?).await
    }
}

async fn audited(
    mut tx: WriteTx,
    now: Timestamp,
    command: &str,
    id: &str,
) -> Result<(), StoreError> {
    tx.audit(&Record::admin(now, command, id)).await?;
    tx.commit().await
}

/// The word that serde gives an enumeration's value.
fn word<T: Serialize>(value: &T) -> Result<String, StoreError> {
    Ok(super::json(value)?.trim_matches('"').to_owned())
}

/// Says what a constraint means to an administrator.
fn refused(error: sqlx::Error, what: &'static str, id: &str) -> StoreError {
    let Some(e) = error.as_database_error() else {
        return StoreError::Database(error);
    };
    let message = e.message();
    if message.contains("audience_is_resource") {
        StoreError::Conflict(
            "the audience is a server's resource: a minted token must never pass for a caller's; choose another",
        )
    } else if message.contains(super::users::SUBJECT_IS_TAKEN) {
        StoreError::Conflict(
            "a user has this name: a workload must never pass for a person; choose another id",
        )
    } else if message.contains("agents.workload") {
        StoreError::Conflict(
            "another agent is this workload already; `writ agent list --json` shows which",
        )
    } else if message.contains("servers.resource") {
        StoreError::Conflict(
            "another server has this resource already; `writ server list` shows which",
        )
    } else if message.contains("servers.upstream_audience") {
        StoreError::Conflict(
            "another server has this audience already; `writ server list` shows which",
        )
    } else if e.is_unique_violation() {
        StoreError::Exists {
            what,
            id: id.to_owned(),
        }
    } else if e.is_foreign_key_violation() {
        StoreError::NotFound {
            what,
            id: id.to_owned(),
        }
    } else {
        StoreError::Database(error)
    }
}
