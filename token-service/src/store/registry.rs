//! Reading the registry as a whole, as of one revision.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use sqlx::{AnyConnection, Connection as _, Row as _, any::AnyRow};
use writ_policy::pin::Pins;

use super::{Store, StoreError, oauth, pins, stops, users};
use crate::{
    clock::rfc3339,
    registry::{
        Agent, ClientId, Gateway, GatewayProof, Id, RedirectUri, Registry, Revoked, Server,
    },
    secret::SecretHash,
};

/// The registry's revision as this connection sees it.
pub(super) async fn revision(conn: &mut AnyConnection) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar("SELECT revision FROM registry_revision")
        .fetch_one(conn)
        .await?)
}

impl Store {
    /// The registry's revision as of now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn registry_revision(&self) -> Result<i64, StoreError> {
        revision(&mut *self.read().await?).await
    }

    /// The registry at `now`; of what was taken back only what is not known yet is read.
    ///
    /// # Errors
    /// When the database fails or has a row in it that this version does not write.
    pub async fn load_registry(
        &self,
        known: Revoked,
        now: Timestamp,
    ) -> Result<Registry, StoreError> {
        let mut conn = self.read().await?;
        // One transaction: everything is read as of the same revision.
        let mut tx = conn.begin().await?;
        let revision = revision(&mut tx).await?;
        let servers = self::servers(&mut tx).await?;
        let agents = self::agents(&mut tx).await?;
        let gateways = self::gateways(&mut tx).await?;
        let disabled = users::disabled_subjects(&mut tx).await?;
        let new = oauth::revoked_since(&mut tx, known.latest()).await?;
        let stops = stops::read(&mut tx).await?;
        tx.commit().await?;
        let revoked = known.and(new, &rfc3339(now));
        Ok(Registry::new(
            revision, servers, agents, gateways, disabled, revoked, stops,
        ))
    }
}

pub(super) async fn servers(conn: &mut AnyConnection) -> Result<Vec<Server>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, resource, upstream_audience, enforcement, status, labels, scopes, secret_hash, name, owner, upstream, tools,
                may_call, origin, registration_hash, methods
         FROM servers ORDER BY id",
    )
        .fetch_all(&mut *conn)
        .await?;
    let mut pins = pins::read(conn).await?;
    let mut pinned = |mut server: Server| {
        server.pins = pins.remove(server.id.as_str()).unwrap_or_default();
        server
    };
    rows.iter()
        .map(|row| server(row).map(&mut pinned))
        .collect()
}

pub(super) async fn agents(conn: &mut AnyConnection) -> Result<Vec<Agent>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, name, auth_method, secret_hash, jwks, jwks_uri, workload, redirect_uris, grants, tools, labels, metadata, status,
                origin, registration_hash
         FROM agents ORDER BY id",
    )
        .fetch_all(conn)
        .await?;
    rows.iter().map(agent).collect()
}

pub(super) async fn gateways(conn: &mut AnyConnection) -> Result<Vec<Gateway>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, secret_hash, certificate_san, certificate_sha256, status, kind,
                (SELECT json_group_array(server) FROM gateway_servers WHERE gateway = id) AS servers
         FROM gateways ORDER BY id",
    )
    .fetch_all(conn)
    .await?;
    rows.iter().map(gateway).collect()
}

fn server(row: &AnyRow) -> Result<Server, StoreError> {
    let r = Reader {
        table: "server",
        row,
    };
    Ok(Server {
        id: r.id()?,
        resource: row.try_get("resource")?,
        upstream_audience: row.try_get("upstream_audience")?,
        enforcement: r.word("enforcement")?,
        status: r.word("status")?,
        labels: r.json("labels")?,
        scopes: r.json("scopes")?,
        secret: r.secret(row.try_get("secret_hash")?)?,
        name: row.try_get("name")?,
        owner: row.try_get("owner")?,
        upstream: row.try_get("upstream")?,
        tools: r.json("tools")?,
        methods: r.json("methods")?,
        may_call: r.json("may_call")?,
        pins: Pins::new(),
        origin: r.word("origin")?,
        registration: r.hash("registration_hash")?,
    })
}

fn agent(row: &AnyRow) -> Result<Agent, StoreError> {
    let r = Reader {
        table: "agent",
        row,
    };
    let redirect_uris: Vec<String> = r.json("redirect_uris")?;
    Ok(Agent {
        id: ClientId::parse(row.try_get("id")?).map_err(|e| r.malformed(&e))?,
        name: row.try_get("name")?,
        auth: r.word("auth_method")?,
        secret: r.hash("secret_hash")?,
        jwks: r.optional_json("jwks")?,
        jwks_uri: row.try_get("jwks_uri")?,
        workload: r.optional_json("workload")?,
        redirect_uris: redirect_uris
            .iter()
            .map(|u| RedirectUri::parse(u))
            .collect::<Result<_, _>>()
            .map_err(|e| r.malformed(&e))?,
        grants: r.json("grants")?,
        tools: r.json("tools")?,
        labels: r.json("labels")?,
        metadata: r.json("metadata")?,
        origin: r.word("origin")?,
        registration: r.hash("registration_hash")?,
        status: r.word("status")?,
    })
}

fn gateway(row: &AnyRow) -> Result<Gateway, StoreError> {
    let r = Reader {
        table: "gateway",
        row,
    };
    Ok(Gateway {
        id: r.id()?,
        kind: r.word("kind")?,
        proof: gateway_proof(&r)?,
        servers: r.json::<BTreeSet<String>>("servers")?,
        status: r.word("status")?,
    })
}

fn gateway_proof(r: &Reader<'_>) -> Result<GatewayProof, StoreError> {
    if let Some(secret) = r.hash("secret_hash")? {
        return Ok(GatewayProof::Secret(secret));
    }
    if let Some(name) = r.row.try_get("certificate_san")? {
        return Ok(GatewayProof::CertificateName(name));
    }
    let sha256: Vec<u8> = r.row.try_get("certificate_sha256")?;
    let sha256 = sha256.try_into();
    sha256
        .map(GatewayProof::Certificate)
        .map_err(|_| r.malformed(&"a certificate's SHA-256 has 32 bytes"))
}

/// Reads checked values out of a row.
struct Reader<'a> {
    table: &'static str,
    row: &'a AnyRow,
}

impl Reader<'_> {
    fn malformed(&self, problem: &dyn std::fmt::Display) -> StoreError {
        StoreError::Malformed {
            table: self.table,
            id: self.row.try_get("id").unwrap_or_default(),
            problem: problem.to_string(),
        }
    }

    fn id(&self) -> Result<Id, StoreError> {
        let id: String = self.row.try_get("id")?;
        Id::parse(&id).map_err(|e| self.malformed(&e))
    }

    /// A column that holds JSON.
    fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let text: String = self.row.try_get(column)?;
        serde_json::from_str(&text).map_err(|e| self.malformed(&e))
    }

    /// A column that may hold JSON.
    fn optional_json<T: DeserializeOwned>(&self, column: &str) -> Result<Option<T>, StoreError> {
        let text: Option<String> = self.row.try_get(column)?;
        text.map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|e| self.malformed(&e))
    }

    /// A column that holds one word of an enumeration.
    fn word<T: DeserializeOwned>(&self, column: &str) -> Result<T, StoreError> {
        let word: String = self.row.try_get(column)?;
        serde_json::from_value(serde_json::Value::String(word)).map_err(|e| self.malformed(&e))
    }

    /// A column that may hold a secret's hash.
    fn hash(&self, column: &str) -> Result<Option<SecretHash>, StoreError> {
        let bytes: Option<Vec<u8>> = self.row.try_get(column)?;
        bytes.map(|bytes| self.secret(bytes)).transpose()
    }

    fn secret(&self, bytes: Vec<u8>) -> Result<SecretHash, StoreError> {
        SecretHash::from_bytes(&bytes)
            .ok_or_else(|| self.malformed(&"a secret's hash has 32 bytes"))
    }
}
