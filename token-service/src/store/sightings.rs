//! What has been seen before, so that what is new is told of once: by all processes on this database, over all restarts.

use sqlx::AnyConnection;

use super::StoreError;
use crate::audit::Record;

/// So many tools of one server, agents of one user and agents in all are told of; whoever can make up more drowns nothing.
const MOST: i64 = 10_000;

/// What is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// An agent, by its id.
    Agent(String),
    /// A tool of a server, by the server's id and its name.
    Tool(String, String),
    /// A user's agent that the user never gave leave, by both ids.
    Unapproved(String, String),
}

impl Sighting {
    fn key(&self) -> (&'static str, &str, &str) {
        match self {
            Self::Agent(agent) => ("agent", "", agent),
            Self::Tool(server, tool) => ("tool", server, tool),
            Self::Unapproved(user, agent) => ("unapproved", user, agent),
        }
    }
}

/// What is on record if it was never seen before.
#[derive(Clone, Debug, PartialEq)]
pub struct IfNew {
    /// What is seen.
    pub sighting: Sighting,
    /// The record.
    pub record: Record,
}

/// Whether it was never seen before; from now on it was. Of several transactions one hears so.
pub(super) async fn is_new(
    conn: &mut AnyConnection,
    sighting: &Sighting,
) -> Result<bool, StoreError> {
    let (what, owner, name) = sighting.key();
    let known: Option<i64> = sqlx::query_scalar(
        "SELECT CAST(1 AS BIGINT) FROM sightings WHERE what = $1 AND owner = $2 AND name = $3",
    )
    .bind(what)
    .bind(owner)
    .bind(name)
    .fetch_optional(&mut *conn)
    .await?;
    if known.is_some() {
        return Ok(false);
    }
    let added = sqlx::query(
        "INSERT INTO sightings (what, owner, name)
         SELECT $1, $2, $3 WHERE (SELECT count(*) FROM sightings WHERE what = $1 AND owner = $2) < $4
         ON CONFLICT (what, owner, name) DO NOTHING",
    )
    .bind(what)
    .bind(owner)
    .bind(name)
    .bind(MOST)
    .execute(conn)
    .await?;
    Ok(added.rows_affected() > 0)
}

/// Forgets a user who is erased.
pub(super) async fn forget_user(conn: &mut AnyConnection, user: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM sightings WHERE what = 'unapproved' AND owner = $1")
        .bind(user)
        .execute(conn)
        .await?;
    Ok(())
}
