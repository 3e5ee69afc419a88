//! Changes to servers, agents and gateways. An administrator's are methods of the store, each committed with its audit
//! record; what registers itself is written by the functions, as part of its own transaction.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::AnyConnection;

use super::{Store, StoreError, WriteTx, registry};
use crate::{
    audit::{Record, Verdict},
    clock::rfc3339,
    registry::{Agent, Gateway, GatewayKind, GatewayProof, Server, Status},
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
        insert_server(tx.conn(), server, now).await?;
        audited(tx, now, "server add", server.id.as_str()).await
    }

    /// Registers an agent.
    ///
    /// # Errors
    /// When the id is taken.
    pub async fn add_agent(&self, agent: &Agent, now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        insert_agent(tx.conn(), agent, now).await?;
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
            "INSERT INTO gateways (id, kind, secret_hash, certificate_san, certificate_sha256, status, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(id)
        .bind(gateway.kind.as_str())
        .bind(match &gateway.proof {
            GatewayProof::Secret(hash) => Some(hash.as_bytes()),
            _ => None,
        })
        .bind(match &gateway.proof {
            GatewayProof::CertificateName(name) => Some(name),
            _ => None,
        })
        .bind(match &gateway.proof {
            GatewayProof::Certificate(sha256) => Some(sha256.as_slice()),
            _ => None,
        })
        .bind(word(&gateway.status)?)
        .bind(rfc3339(now))
        .execute(tx.conn())
        .await;
        added.map_err(|e| refused(e, "gateway", id))?;
        for server in &gateway.servers {
            let added =
                sqlx::query("INSERT INTO gateway_servers (gateway, server) VALUES ($1, $2)")
                    .bind(id)
                    .bind(server)
                    .execute(tx.conn())
                    .await;
            added.map_err(|e| refused(e, "server", server))?;
        }
        audited(tx, now, "gateway add", id).await
    }

    /// Sets what a gateway does: mint tokens, or spend them.
    ///
    /// # Errors
    /// When there is none with this id, one of both is an egress, or the database fails.
    pub async fn set_kind(
        &self,
        id: &str,
        kind: GatewayKind,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let before: Option<String> = sqlx::query_scalar("SELECT kind FROM gateways WHERE id = $1")
            .bind(id)
            .fetch_optional(tx.conn())
            .await?;
        let egress = GatewayKind::Egress;
        if kind == egress || before.as_deref() == Some(egress.as_str()) {
            return Err(StoreError::Conflict(
                "an egress is for no servers, and others are: remove it, and add it as the other kind",
            ));
        }
        let set = sqlx::query("UPDATE gateways SET kind = $1 WHERE id = $2")
            .bind(kind.as_str())
            .bind(id)
            .execute(tx.conn())
            .await?;
        found(set.rows_affected(), Registered::Gateway, id)?;
        let mut record = Record::admin(now, "gateway update", id);
        record.detail = Some(json!({ "kind": kind }));
        tx.audit(&record).await?;
        tx.commit().await
    }

    /// Decides about a registration that waits for a person.
    ///
    /// # Errors
    /// When there is none with this id, or it does not wait.
    pub async fn decide(
        &self,
        what: Registered,
        id: &str,
        verdict: Verdict,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let sql = match what {
            Registered::Server => "SELECT status FROM servers WHERE id = $1",
            Registered::Agent => "SELECT status FROM agents WHERE id = $1",
            Registered::Gateway => "SELECT status FROM gateways WHERE id = $1",
        };
        let status: Option<String> = sqlx::query_scalar(sql)
            .bind(id)
            .fetch_optional(tx.conn())
            .await?;
        found(u64::from(status.is_some()), what, id)?;
        if status.as_deref() != Some("pending") {
            return Err(StoreError::Conflict(
                "it does not wait for a decision; `enable` and `disable` switch it on and off",
            ));
        }
        let (status, verb) = match verdict {
            Verdict::Allow => (Status::Approved, "approve"),
            Verdict::Deny => (Status::Disabled, "reject"),
        };
        set(&mut tx, what, id, status).await?;
        audited(tx, now, &format!("{} {verb}", what.as_str()), id).await
    }

    /// Deletes a registration.
    ///
    /// # Errors
    /// When there is none with this id.
    pub async fn remove(
        &self,
        what: Registered,
        id: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        remove(tx.conn(), what, id).await?;
        audited(tx, now, &format!("{} remove", what.as_str()), id).await
    }

    /// Switches a registration on or off. Effective with the next decision of any service on this database,
    /// and on record with the administrator's reason.
    ///
    /// # Errors
    /// When there is none with this id.
    pub async fn set_status(
        &self,
        what: Registered,
        id: &str,
        status: Status,
        reason: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        set(&mut tx, what, id, status).await?;
        let verb = match status {
            Status::Approved => "enable",
            Status::Disabled => "disable",
            Status::Pending => "suspend",
        };
        let mut record = Record::admin(now, &format!("{} {verb}", what.as_str()), id);
        record.reason = reason.map(str::to_owned);
        tx.audit(&record).await?;
        tx.commit().await
    }

    /// Sets the methods beyond those of MCP that messages to and from a server may name.
    ///
    /// # Errors
    /// When there is no such server, or the database fails.
    pub async fn set_methods(
        &self,
        server: &str,
        methods: &[String],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        let updated = sqlx::query("UPDATE servers SET methods = $1 WHERE id = $2")
            .bind(super::json(&methods)?)
            .bind(server)
            .execute(tx.conn())
            .await?;
        found(updated.rows_affected(), Registered::Server, server)?;
        audited(tx, now, "server update", server).await
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

/// Registers a server, as part of a transaction.
///
/// # Errors
/// When the id, the resource or the audience is taken, or the audience is somebody's resource.
pub async fn insert_server(
    conn: &mut AnyConnection,
    server: &Server,
    now: Timestamp,
) -> Result<(), StoreError> {
    let added = sqlx::query(
        "INSERT INTO servers (id, resource, upstream_audience, enforcement, status, labels, scopes, secret_hash, name,
         owner, upstream, tools, methods, may_call, origin, registration_hash, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
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
    .bind(super::json(&server.methods)?)
    .bind(super::json(&server.may_call)?)
    .bind(word(&server.origin)?)
    .bind(server.registration.as_ref().map(SecretHash::as_bytes))
    .bind(rfc3339(now))
    .execute(conn)
    .await;
    added
        .map(drop)
        .map_err(|e| refused(e, "server", server.id.as_str()))
}

/// Registers an agent, as part of a transaction.
///
/// # Errors
/// When the id is taken.
pub async fn insert_agent(
    conn: &mut AnyConnection,
    agent: &Agent,
    now: Timestamp,
) -> Result<(), StoreError> {
    let added = sqlx::query(
        "INSERT INTO agents (id, name, auth_method, secret_hash, jwks, jwks_uri, workload, redirect_uris, grants, tools,
         labels, metadata, status, origin, registration_hash, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
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
    .execute(conn)
    .await;
    added
        .map(drop)
        .map_err(|e| refused(e, "agent", agent.id.as_str()))
}

/// Replaces what is registered of an agent, as part of a transaction.
///
/// # Errors
/// When there is none with this id.
pub async fn update_agent(conn: &mut AnyConnection, agent: &Agent) -> Result<(), StoreError> {
    let updated = sqlx::query(
        "UPDATE agents SET name = $1, auth_method = $2, secret_hash = $3, jwks = $4, jwks_uri = $5, workload = $6,
         redirect_uris = $7, grants = $8, tools = $9, labels = $10, metadata = $11, status = $12, registration_hash = $13
         WHERE id = $14",
    )
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
    .bind(agent.registration.as_ref().map(SecretHash::as_bytes))
    .bind(agent.id.as_str())
    .execute(conn)
    .await?;
    found(
        updated.rows_affected(),
        Registered::Agent,
        agent.id.as_str(),
    )
}

/// Replaces what is registered of a server, as part of a transaction; its audience and secret stay.
///
/// # Errors
/// When there is none with this id, or the resource is taken.
pub async fn update_server(conn: &mut AnyConnection, server: &Server) -> Result<(), StoreError> {
    let updated = sqlx::query(
        "UPDATE servers SET resource = $1, enforcement = $2, status = $3, labels = $4, scopes = $5, name = $6, owner = $7,
         upstream = $8, tools = $9, methods = $10, may_call = $11, registration_hash = $12 WHERE id = $13",
    )
    .bind(&server.resource)
    .bind(word(&server.enforcement)?)
    .bind(word(&server.status)?)
    .bind(super::json(&server.labels)?)
    .bind(super::json(&server.scopes)?)
    .bind(&server.name)
    .bind(&server.owner)
    .bind(&server.upstream)
    .bind(super::json(&server.tools)?)
    .bind(super::json(&server.methods)?)
    .bind(super::json(&server.may_call)?)
    .bind(server.registration.as_ref().map(SecretHash::as_bytes))
    .bind(server.id.as_str())
    .execute(conn)
    .await
    .map_err(|e| refused(e, "server", server.id.as_str()))?;
    found(
        updated.rows_affected(),
        Registered::Server,
        server.id.as_str(),
    )
}

/// Deletes a registration, as part of a transaction, with what was granted to it.
///
/// # Errors
/// When there is none with this id.
pub async fn remove(
    conn: &mut AnyConnection,
    what: Registered,
    id: &str,
) -> Result<(), StoreError> {
    let sql = match what {
        Registered::Server => "DELETE FROM servers WHERE id = $1",
        Registered::Agent => "DELETE FROM agents WHERE id = $1",
        Registered::Gateway => "DELETE FROM gateways WHERE id = $1",
    };
    let removed = sqlx::query(sql).bind(id).execute(&mut *conn).await?;
    if what == Registered::Agent {
        for sql in [
            "DELETE FROM authorization_codes WHERE client_id = $1",
            "DELETE FROM grants WHERE client_id = $1",
            "DELETE FROM consents WHERE client_id = $1",
            "DELETE FROM pushed_requests WHERE client_id = $1",
        ] {
            sqlx::query(sql).bind(id).execute(&mut *conn).await?;
        }
    }
    found(removed.rows_affected(), what, id)
}

async fn set(
    tx: &mut WriteTx,
    what: Registered,
    id: &str,
    status: Status,
) -> Result<(), StoreError> {
    let sql = match what {
        Registered::Server => "UPDATE servers SET status = $1 WHERE id = $2",
        Registered::Agent => "UPDATE agents SET status = $1 WHERE id = $2",
        Registered::Gateway => "UPDATE gateways SET status = $1 WHERE id = $2",
    };
    let set = sqlx::query(sql)
        .bind(word(&status)?)
        .bind(id)
        .execute(tx.conn())
        .await?;
    found(set.rows_affected(), what, id)
}

fn found(rows: u64, what: Registered, id: &str) -> Result<(), StoreError> {
    if rows == 0 {
        return Err(StoreError::NotFound {
            what: what.as_str(),
            id: id.to_owned(),
        });
    }
    Ok(())
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
        return error.into();
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
    } else if message.contains("gateways.certificate") {
        StoreError::Conflict(
            "another gateway has this certificate already; `writ gateway list` shows which",
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
        error.into()
    }
}
