//! The definitions of tools that somebody has approved.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::json;
use sqlx::{AnyConnection, Row as _};
use writ_policy::pin::{Definition, Pin, Pins};

use super::{Store, StoreError, audit, dialect::Dialect, stops};
use crate::{audit::Record, clock::rfc3339};

/// A tool that is pinned.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// As it was approved.
    pub definition: Definition,
    /// Who approved it.
    pub by: String,
    /// When.
    pub at: String,
}

impl Store {
    /// The pinned tools of a server, by name.
    ///
    /// # Errors
    /// When there is no such server, or the database fails.
    pub async fn pins(&self, server: &str) -> Result<Vec<Pinned>, StoreError> {
        let mut conn = self.read().await?;
        known(&mut conn, server).await?;
        let rows = sqlx::query("SELECT tool, pin, definition, pinned_by, pinned_at FROM pins WHERE server = $1 ORDER BY tool")
            .bind(server)
            .fetch_all(&mut *conn)
            .await?;
        let pinned = rows.iter().map(|row| {
            Ok(Pinned {
                definition: Definition {
                    name: row.try_get("tool")?,
                    pin: pin(server, row.try_get("pin")?)?,
                    canonical: row.try_get("definition")?,
                },
                by: row.try_get("pinned_by")?,
                at: row.try_get("pinned_at")?,
            })
        });
        pinned.collect()
    }

    /// Pins tools of a server, each on record with its digest. One that is pinned like that already stays as it is.
    ///
    /// # Errors
    /// When there is no such server, or the database fails.
    pub async fn pin<'a>(
        &self,
        server: &str,
        tools: impl IntoIterator<Item = &'a Definition>,
        by: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        known(tx.conn(), server).await?;
        let mut records = Vec::new();
        for tool in tools {
            let set = sqlx::query(
                "INSERT INTO pins (server, tool, pin, definition, pinned_by, pinned_at) VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (server, tool) DO UPDATE SET pin = excluded.pin, definition = excluded.definition,
                     pinned_by = excluded.pinned_by, pinned_at = excluded.pinned_at WHERE pins.pin <> excluded.pin",
            )
            .bind(server)
            .bind(&tool.name)
            .bind(super::json(&tool.pin)?.trim_matches('"'))
            .bind(&tool.canonical)
            .bind(by)
            .bind(rfc3339(now))
            .execute(tx.conn())
            .await?;
            if set.rows_affected() > 0 {
                let digest = Some(tool.pin.digest.to_string());
                records.push(record("server pin", server, &tool.name, digest, by, now));
            }
        }
        audit::append(tx.conn(), &records).await?;
        tx.commit().await
    }

    /// Takes the pins off tools of a server, or off all of them; on record. Answers off which.
    ///
    /// # Errors
    /// When there is no such server or one of the tools is not pinned, or the database fails.
    pub async fn unpin(
        &self,
        server: &str,
        tools: Option<&[String]>,
        by: &str,
        now: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        let mut tx = self.write().await?;
        known(tx.conn(), server).await?;
        let named = tools.map(super::json).transpose()?;
        let gone: Vec<String> = sqlx::query_scalar(
            "DELETE FROM pins WHERE server = $1 AND ($2 IS NULL OR tool IN (SELECT value FROM json_each($2)))
             RETURNING tool",
        )
        .bind(server)
        .bind(named)
        .fetch_all(tx.conn())
        .await?;
        let missing = tools
            .into_iter()
            .flatten()
            .find(|tool| !gone.contains(tool));
        if let Some(tool) = missing {
            return Err(StoreError::NoPin {
                server: server.to_owned(),
                tool: tool.clone(),
            });
        }
        let records: Vec<Record> = gone
            .iter()
            .map(|tool| record("server unpin", server, tool, None, by, now))
            .collect();
        audit::append(tx.conn(), &records).await?;
        tx.commit().await?;
        Ok(gone)
    }
}

fn record(
    command: &str,
    server: &str,
    tool: &str,
    digest: Option<String>,
    by: &str,
    now: Timestamp,
) -> Record {
    let mut record = Record::admin(now, command, tool);
    record.server = Some(server.to_owned());
    record.detail = Some(match digest {
        Some(digest) => json!({ "by": by, "digest": digest }),
        None => json!({ "by": by }),
    });
    record
}

/// The pins of all servers, by their ids.
pub(super) async fn read(conn: &mut AnyConnection) -> Result<HashMap<String, Pins>, StoreError> {
    let rows: Vec<(String, String)> = sqlx::query_as(Dialect::of(conn).pins())
        .fetch_all(conn)
        .await?;
    let of_server = |(server, pins): (String, String)| {
        let pins = serde_json::from_str(&pins).map_err(|e| malformed(&server, &e))?;
        Ok((server, pins))
    };
    rows.into_iter().map(of_server).collect()
}

fn pin(server: &str, text: String) -> Result<Pin, StoreError> {
    serde_json::from_value(text.into()).map_err(|e| malformed(server, &e))
}

fn malformed(server: &str, problem: &serde_json::Error) -> StoreError {
    StoreError::Malformed {
        table: "pins",
        id: server.to_owned(),
        problem: problem.to_string(),
    }
}

async fn known(conn: &mut AnyConnection, server: &str) -> Result<(), StoreError> {
    stops::known_as(
        conn,
        "SELECT 1 FROM servers WHERE id = $1",
        "server",
        server,
    )
    .await
}
