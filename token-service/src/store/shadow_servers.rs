//! The shadow inventory: MCP servers that agents use and nobody has registered.

use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use sqlx::{AnyConnection, Row as _};

use super::{Store, StoreError, registrations, signed};
use crate::{audit::Record, clock::rfc3339, hex::hex, registry::Server};

/// So many are told apart; whatever else is seen has a record and no place here.
const MOST: i64 = 10_000;
/// How much of a digest is an id, in bytes.
const ID_BYTES: usize = 12;
/// So many clients, addresses and tools are told apart of each.
const MOST_USES: i64 = 100;

/// What a gateway saw of one.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Where it is; none where more were seen than are told apart.
    pub place: Option<(String, String)>,
    /// What its clients are called, where they are, and which of its tools they called.
    pub uses: Vec<(Use, String)>,
    /// Whether it was refused: that has a record each time.
    pub refused: bool,
    /// The first time.
    pub first: Timestamp,
    /// The last time.
    pub last: Timestamp,
    /// How often.
    pub count: u64,
    /// What is on record where something of it is new.
    pub record: Record,
}

/// What is told apart of the uses of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// What a client calls itself.
    Client,
    /// An address that it is used from.
    Source,
    /// A tool that was called.
    Tool,
}

impl Use {
    fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Source => "source",
            Self::Tool => "tool",
        }
    }
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Nobody has decided.
    Open,
    /// It was registered.
    Adopted,
    /// Somebody knows of it, and it is to be said no more.
    Dismissed,
}

impl Fate {
    const ALL: [Self; 3] = [Self::Open, Self::Adopted, Self::Dismissed];

    /// The word in the store and the CLI.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Adopted => "adopted",
            Self::Dismissed => "dismissed",
        }
    }
}

/// One of the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShadowServer {
    /// What it is called here.
    pub id: String,
    /// Its host.
    pub host: String,
    /// Its path; `*` stands for parts that could be credentials.
    pub path: String,
    /// When it was seen first.
    pub first: String,
    /// When it was seen last.
    pub last: String,
    /// How many messages it was sent.
    pub calls: i64,
    /// What became of it.
    pub fate: Fate,
    /// The server that it was registered as.
    pub server: Option<String>,
    /// Why it was dismissed.
    pub reason: Option<String>,
    /// What its clients call themselves.
    pub clients: Vec<String>,
    /// Where they are.
    pub sources: Vec<String>,
    /// The tools that they called.
    pub tools: Vec<String>,
}

/// Counts what was seen, and says whether it is to be on record.
pub(super) async fn see(conn: &mut AnyConnection, seen: &Seen) -> Result<bool, StoreError> {
    let Some((host, path)) = &seen.place else {
        return Ok(true);
    };
    let id = id(host, path);
    let known = sqlx::query(
        "UPDATE shadow_servers SET calls = calls + $2, last = CASE WHEN last > $3 THEN last ELSE $3 END,
                fate = CASE WHEN fate = 'adopted' THEN 'open' ELSE fate END
         WHERE id = $1 RETURNING fate",
    )
    .bind(&id)
    .bind(signed(seen.count))
    .bind(rfc3339(seen.last))
    .fetch_optional(&mut *conn)
    .await?;
    let mut is_new = false;
    let fate = match known {
        Some(row) => row.try_get("fate")?,
        None => {
            let added = sqlx::query(
                "INSERT INTO shadow_servers (id, host, path, first, last, calls, fate)
                 SELECT $1, $2, $3, $4, $5, $6, 'open' WHERE (SELECT count(*) FROM shadow_servers) < $7",
            )
            .bind(&id)
            .bind(host)
            .bind(path)
            .bind(rfc3339(seen.first))
            .bind(rfc3339(seen.last))
            .bind(signed(seen.count))
            .bind(MOST)
            .execute(&mut *conn)
            .await?;
            if added.rows_affected() == 0 {
                return Ok(true);
            }
            is_new = true;
            "open".to_owned()
        }
    };
    for (what, name) in &seen.uses {
        is_new |= note(conn, &id, *what, name, seen.count).await?;
    }
    Ok(seen.refused || (is_new && fate == "open"))
}

/// Counts a use of one, and says whether there was none like it before.
async fn note(
    conn: &mut AnyConnection,
    id: &str,
    what: Use,
    name: &str,
    count: u64,
) -> Result<bool, StoreError> {
    let known = sqlx::query(
        "UPDATE shadow_uses SET calls = calls + $4 WHERE shadow = $1 AND what = $2 AND name = $3",
    )
    .bind(id)
    .bind(what.as_str())
    .bind(name)
    .bind(signed(count))
    .execute(&mut *conn)
    .await?;
    if known.rows_affected() > 0 {
        return Ok(false);
    }
    let added = sqlx::query(
        "INSERT INTO shadow_uses (shadow, what, name, calls)
         SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM shadow_uses WHERE shadow = $1 AND what = $2) < $5",
    )
    .bind(id)
    .bind(what.as_str())
    .bind(name)
    .bind(signed(count))
    .bind(MOST_USES)
    .execute(conn)
    .await?;
    Ok(added.rows_affected() > 0)
}

/// The same for the same place, at every service. Long enough that nobody finds another place with the id of one that was dismissed.
fn id(host: &str, path: &str) -> String {
    let digest = Sha256::digest(format!("{host}{path}"));
    hex(digest.get(..ID_BYTES).unwrap_or(&digest))
}

impl Store {
    /// The inventory, by host and path; with what was adopted or dismissed only where that is asked for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn shadow_servers(&self, all: bool) -> Result<Vec<ShadowServer>, StoreError> {
        let mut conn = self.read().await?;
        let rows = sqlx::query(
            "SELECT id, host, path, first, last, calls, fate, server, reason FROM shadow_servers
             WHERE fate = 'open' OR $1 = 1 ORDER BY host, path",
        )
        .bind(i64::from(all))
        .fetch_all(&mut *conn)
        .await?;
        let mut servers = Vec::with_capacity(rows.len());
        for row in rows {
            let id: String = row.try_get("id")?;
            let word: String = row.try_get("fate")?;
            let fate = Fate::ALL.into_iter().find(|fate| fate.as_str() == word);
            let mut server = ShadowServer {
                host: row.try_get("host")?,
                path: row.try_get("path")?,
                first: row.try_get("first")?,
                last: row.try_get("last")?,
                calls: row.try_get("calls")?,
                fate: fate.unwrap_or(Fate::Open),
                server: row.try_get("server")?,
                reason: row.try_get("reason")?,
                clients: Vec::new(),
                sources: Vec::new(),
                tools: Vec::new(),
                id,
            };
            let uses: Vec<(String, String)> = sqlx::query_as(
                "SELECT what, name FROM shadow_uses WHERE shadow = $1 ORDER BY what, name",
            )
            .bind(&server.id)
            .fetch_all(&mut *conn)
            .await?;
            for (what, name) in uses {
                match what.as_str() {
                    "client" => server.clients.push(name),
                    "source" => server.sources.push(name),
                    _ => server.tools.push(name),
                }
            }
            servers.push(server);
        }
        Ok(servers)
    }

    /// Registers one of the inventory as `server`.
    ///
    /// # Errors
    /// As for [`Store::add_server`].
    pub async fn adopt(
        &self,
        shadow: &str,
        server: &Server,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        registrations::insert_server(tx.conn(), server, now).await?;
        let id = server.id.as_str();
        settle(tx.conn(), shadow, Fate::Adopted, Some(id), None).await?;
        let mut record = Record::admin(now, "rogue adopt", shadow);
        record.server = Some(server.id.to_string());
        place(tx.conn(), shadow, &mut record).await?;
        tx.audit(&record).await?;
        tx.commit().await
    }

    /// Says no more of one of the inventory, which is still counted.
    ///
    /// # Errors
    /// When there is none with this id.
    pub async fn dismiss(
        &self,
        shadow: &str,
        reason: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        settle(tx.conn(), shadow, Fate::Dismissed, None, Some(reason)).await?;
        let mut record = Record::admin(now, "rogue dismiss", shadow);
        record.reason = Some(reason.to_owned());
        place(tx.conn(), shadow, &mut record).await?;
        tx.audit(&record).await?;
        tx.commit().await
    }
}

/// Says in the record where it is.
async fn place(
    conn: &mut AnyConnection,
    shadow: &str,
    record: &mut Record,
) -> Result<(), StoreError> {
    let row = sqlx::query("SELECT host, path FROM shadow_servers WHERE id = $1")
        .bind(shadow)
        .fetch_one(conn)
        .await?;
    for name in ["host", "path"] {
        let said: String = row.try_get(name)?;
        record.note(name, said.into());
    }
    Ok(())
}

async fn settle(
    conn: &mut AnyConnection,
    shadow: &str,
    fate: Fate,
    server: Option<&str>,
    reason: Option<&str>,
) -> Result<(), StoreError> {
    let settled =
        sqlx::query("UPDATE shadow_servers SET fate = $2, server = $3, reason = $4 WHERE id = $1")
            .bind(shadow)
            .bind(fate.as_str())
            .bind(server)
            .bind(reason)
            .execute(conn)
            .await?;
    if settled.rows_affected() == 0 {
        return Err(StoreError::NotFound {
            what: "shadow server",
            id: shadow.to_owned(),
        });
    }
    Ok(())
}
