//! The log's tables: which record is which leaf, the tree's tiles, and what was signed of it.

use jiff::Timestamp;
use serde_json::value::RawValue;
use sqlx::{Row as _, any::AnyRow};

use super::{Store, StoreError, signed, unsigned};
use crate::{
    audit::Record,
    clock::rfc3339,
    log::{
        leaf::{Leaf, LeafHash, Logged, Opening, Personal},
        tree::{Hash, TileId, Tiles, leaf_tile},
    },
};

/// How far the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Records that are leaves.
    pub size: u64,
    /// The place in the trail of the last of them.
    pub seq: i64,
}

/// A record that is no leaf yet.
#[derive(Clone, Debug)]
pub struct Unsequenced {
    /// Its place in the trail.
    pub seq: i64,
    /// Its leaf, without the commitment.
    pub leaf: Leaf,
    /// What the commitment is to.
    pub opening: Opening,
}

/// What becomes of one.
#[derive(Clone, Debug, serde::Serialize)]
pub struct NewLeaf {
    /// Its place in the log.
    pub leaf: u64,
    /// Its place in the trail.
    pub seq: i64,
    /// The commitment.
    pub personal: String,
}

/// A checkpoint that was signed.
#[derive(Clone, Debug)]
pub struct Signed {
    /// How many records it is of.
    pub size: u64,
    /// When (RFC 3339, UTC).
    pub time: String,
    /// The signed note.
    pub note: String,
}

/// Each column by its name, here and elsewhere: a newer version may add others while this one runs on, and PostgreSQL does not go on
/// with a prepared statement that has another result.
const SELECT: &str = "SELECT a.seq, a.id, a.time, a.kind, a.agent, a.gateway, a.server, a.method, a.target, a.decision, a.gateway_policy,
    a.service_policy, a.token_id, a.txn, a.subject_token_id, a.content_digest, a.result_digest, a.request_id, a.task, p.salt, p.subject, p.target AS personal_target, p.reason, p.source_ip, p.detail, p.erased_by";

impl Store {
    /// How far the log is.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log_state(&self) -> Result<LogState, StoreError> {
        let row = sqlx::query("SELECT size, seq FROM log_state")
            .fetch_one(&mut *self.read().await?)
            .await?;
        Ok(LogState {
            size: unsigned(row.try_get("size")?),
            seq: row.try_get("seq")?,
        })
    }

    /// What the log is called: what it was called first.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn log_origin(&self, unless_named: &str) -> Result<String, StoreError> {
        let mut tx = self.write().await?;
        let origin = sqlx::query_scalar(
            "UPDATE log_state SET origin = coalesce(origin, $1) RETURNING origin",
        )
        .bind(unless_named)
        .fetch_one(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(origin)
    }

    /// The public key that checkpoints are signed with, as it was last written down.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn log_key(&self) -> Result<Option<String>, StoreError> {
        Ok(sqlx::query_scalar("SELECT public_key FROM log_state")
            .fetch_one(&mut *self.read().await?)
            .await?)
    }

    /// Writes it down, for who verifies.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn keep_log_key(&self, key: &str) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query("UPDATE log_state SET public_key = $1")
            .bind(key)
            .execute(tx.conn())
            .await?;
        tx.commit().await
    }

    /// The id of a record that never became a leaf, although those after it did: nobody here has put it there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn never_sequenced(&self) -> Result<Option<String>, StoreError> {
        let id = sqlx::query_scalar(
            "SELECT a.id FROM audit AS a LEFT JOIN leaves AS l ON l.seq = a.seq
             WHERE a.seq <= (SELECT seq FROM log_state) AND l.seq IS NULL ORDER BY a.seq LIMIT 1",
        )
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(id)
    }

    /// The place in the trail of the last record that is committed; 0 where there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn last_committed(&self) -> Result<i64, StoreError> {
        Ok(
            sqlx::query_scalar("SELECT coalesce(max(seq), 0) FROM audit")
                .fetch_one(&mut *self.read().await?)
                .await?,
        )
    }

    /// How many records are no leaves yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unsequenced_count(&self) -> Result<u64, StoreError> {
        let count = sqlx::query_scalar(
            "SELECT count(*) FROM audit WHERE seq > (SELECT seq FROM log_state)",
        )
        .fetch_one(&mut *self.read().await?)
        .await?;
        Ok(unsigned(count))
    }

    /// When the oldest record was made that is no leaf yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn oldest_unsequenced(&self) -> Result<Option<Timestamp>, StoreError> {
        self.time_of(
            "SELECT id, time FROM audit WHERE seq > (SELECT seq FROM log_state) ORDER BY seq LIMIT 1",
        )
        .await
    }

    /// When the record was made that a query names, as id and time.
    pub(super) async fn time_of(&self, one: &'static str) -> Result<Option<Timestamp>, StoreError> {
        let found: Option<(String, String)> = sqlx::query_as(one)
            .fetch_optional(&mut *self.read().await?)
            .await?;
        let read = |(id, time): (String, String)| {
            time.parse()
                .map_err(|e: jiff::Error| StoreError::Malformed {
                    table: "audit",
                    id,
                    problem: e.to_string(),
                })
        };
        found.map(read).transpose()
    }

    /// Up to `limit` records after `seq`, in their order.
    ///
    /// # Errors
    /// When the database fails, or holds what this version does not write.
    pub async fn unsequenced(&self, seq: i64, limit: u32) -> Result<Vec<Unsequenced>, StoreError> {
        let settled = self.settled().await?;
        let sql = format!(
            "{SELECT} FROM audit AS a JOIN audit_personal AS p ON p.record = a.id
             WHERE a.seq > $1 AND {settled} ORDER BY a.seq LIMIT $2"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(seq)
            .bind(i64::from(limit))
            .fetch_all(&mut *self.read().await?)
            .await?;
        let unsequenced = |row: &AnyRow| {
            let leaf = leaf(row, String::new())?;
            let opening = opening(row, &leaf.id)?;
            let opening = opening.ok_or_else(|| malformed(&leaf.id, "it was erased too soon"))?;
            Ok(Unsequenced {
                seq: row.try_get("seq")?,
                leaf,
                opening,
            })
        };
        rows.iter().map(unsequenced).collect()
    }

    /// Makes leaves of records. `false` where somebody else has done so since: then nothing is written.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn append_leaves(
        &self,
        from: LogState,
        to: LogState,
        leaves: &[NewLeaf],
        tiles: &Tiles,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write_beside().await?;
        let moved =
            sqlx::query("UPDATE log_state SET size = $1, seq = $2 WHERE size = $3 AND seq = $4")
                .bind(signed(to.size))
                .bind(to.seq)
                .bind(signed(from.size))
                .bind(from.seq)
                .execute(tx.conn())
                .await?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query(
            "INSERT INTO leaves (leaf, seq, personal)
             SELECT CAST(value ->> 'leaf' AS BIGINT), CAST(value ->> 'seq' AS BIGINT), value ->> 'personal'
             FROM jsonb_each($1) ORDER BY key",
        )
        .bind(super::json(leaves)?)
        .execute(tx.conn())
        .await?;
        for ((level, number), hashes) in tiles.iter() {
            sqlx::query(
                "INSERT INTO tiles (level, number, hashes) VALUES ($1, $2, $3)
                 ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes",
            )
            .bind(i64::from(level))
            .bind(signed(number))
            .bind(hashes)
            .execute(tx.conn())
            .await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// The tiles of these ids; those that are not there are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tiles(&self, ids: impl IntoIterator<Item = TileId>) -> Result<Tiles, StoreError> {
        let mut conn = self.read().await?;
        let mut tiles = Tiles::default();
        for (level, number) in ids {
            let hashes: Option<Vec<u8>> =
                sqlx::query_scalar("SELECT hashes FROM tiles WHERE level = $1 AND number = $2")
                    .bind(i64::from(level))
                    .bind(signed(number))
                    .fetch_optional(&mut *conn)
                    .await?;
            if let Some(hashes) = hashes {
                tiles.insert((level, number), hashes);
            }
        }
        Ok(tiles)
    }

    /// Up to `limit` leaves from this place on, as the database has them.
    ///
    /// # Errors
    /// When the database fails, or holds what this version does not write.
    pub async fn logged(&self, from: u64, limit: u32) -> Result<Vec<Logged>, StoreError> {
        let sql = format!(
            "{SELECT}, l.leaf, l.personal
             FROM leaves AS l JOIN audit AS a ON a.seq = l.seq JOIN audit_personal AS p ON p.record = a.id
             WHERE l.leaf >= $1 ORDER BY l.leaf LIMIT $2"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(signed(from))
            .bind(i64::from(limit))
            .fetch_all(&mut *self.read().await?)
            .await?;
        let places = rows.iter().map(|row| row.try_get("leaf").map(unsigned));
        let places = places.collect::<Result<Vec<u64>, _>>()?;
        let mut ids: Vec<TileId> = places.iter().map(|place| leaf_tile(*place)).collect();
        ids.dedup();
        let tiles = self.tiles(ids).await?;
        let logged = |(row, index): (&AnyRow, u64)| {
            let leaf = leaf(row, row.try_get("personal")?)?;
            Ok(Logged {
                index,
                hash: tiles.leaf(index).map(LeafHash),
                personal: opening(row, &leaf.id)?,
                erased_by: row.try_get("erased_by")?,
                leaf,
            })
        };
        rows.iter().zip(places).map(logged).collect()
    }

    /// Keeps a checkpoint; of one size, the first.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn add_checkpoint(
        &self,
        size: u64,
        note: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut tx = self.write_beside().await?;
        sqlx::query(
            "INSERT INTO checkpoints (size, time, note) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(signed(size))
        .bind(rfc3339(now))
        .bind(note)
        .execute(tx.conn())
        .await?;
        tx.commit().await
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn newest_checkpoint(&self) -> Result<Option<Signed>, StoreError> {
        let row =
            sqlx::query("SELECT size, time, note FROM checkpoints ORDER BY size DESC LIMIT 1")
                .fetch_optional(&mut *self.read().await?)
                .await?;
        row.as_ref().map(checkpoint).transpose()
    }

    /// All checkpoints that are kept, from the smallest on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn checkpoints(&self) -> Result<Vec<Signed>, StoreError> {
        let rows = sqlx::query("SELECT size, time, note FROM checkpoints ORDER BY size")
            .fetch_all(&mut *self.read().await?)
            .await?;
        rows.iter().map(checkpoint).collect()
    }
}

impl Store {
    /// Whether somebody is called that here, or a record is about them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn speaks_of(&self, subject: &str) -> Result<bool, StoreError> {
        let found: Option<i64> = sqlx::query_scalar(
            "SELECT 1 FROM users WHERE name = $1
             UNION SELECT 1 FROM tasks WHERE subject = $1
             UNION SELECT 1 FROM audit_personal WHERE subject = $1
             UNION SELECT 1 FROM audit AS a JOIN audit_personal AS p ON p.record = a.id WHERE a.kind = 'admin' AND p.target = $1
             LIMIT 1",
        )
        .bind(subject)
        .fetch_optional(&mut *self.read().await?)
        .await?;
        Ok(found.is_some())
    }

    /// Erases what leaves say about a person, with the record of it, whose detail says of how many `records`. What lies
    /// beside their records goes, too.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn erase(&self, subject: &str, mut record: Record) -> Result<u64, StoreError> {
        let mut tx = self.write().await?;
        for beside in [
            "DELETE FROM decision_inputs WHERE record IN (SELECT record FROM audit_personal WHERE subject = $1)",
            "DELETE FROM kept_arguments WHERE record IN (SELECT record FROM audit_personal WHERE subject = $1)",
        ] {
            sqlx::query(beside).bind(subject).execute(tx.conn()).await?;
        }
        let erased = sqlx::query(
            "UPDATE audit_personal
             SET salt = NULL, subject = NULL, target = NULL, reason = NULL, source_ip = NULL, detail = NULL, erased_by = $2
             WHERE record IN (
               SELECT p.record FROM audit_personal AS p JOIN audit AS a ON a.id = p.record JOIN leaves AS l ON l.seq = a.seq
               WHERE p.subject = $1 AND l.leaf >= (SELECT coalesce(max(size), 0) FROM archives)
               UNION
               SELECT p.record FROM audit AS a JOIN audit_personal AS p ON p.record = a.id JOIN leaves AS l ON l.seq = a.seq
               WHERE a.kind = 'admin'
                 AND (p.target = $1 AND (a.method LIKE 'user %' OR a.method = 'revoke' AND p.detail ->> 'what' = 'subject')
                   OR a.method = 'lockdown'
                     AND $1 IN (SELECT value FROM json_each(coalesce((p.detail ->> 'allow') ->> 'subjects', '[]'))))
                 AND l.leaf >= (SELECT coalesce(max(size), 0) FROM archives))",
        )
        .bind(subject)
        .bind(&record.id)
        .execute(tx.conn())
        .await?
        .rows_affected();
        // By a task's id, and its transaction's, records of calls would still say whose they were.
        for told_by in [
            "DELETE FROM tasks WHERE subject = $1",
            "DELETE FROM task_calls WHERE subject = $1",
        ] {
            sqlx::query(told_by)
                .bind(subject)
                .execute(tx.conn())
                .await?;
        }
        super::sightings::forget_user(tx.conn(), subject).await?;
        sqlx::query("UPDATE log_state SET erasures = erasures + 1")
            .execute(tx.conn())
            .await?;
        record.note("records", erased.into());
        tx.audit(&record).await?;
        tx.commit().await?;
        Ok(erased)
    }
}

/// What a witness cosigned last of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Witnessed {
    /// How many records.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
}

impl Store {
    /// How many records of this log a witness has cosigned.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cosigned(&self, witness: &str) -> Result<u64, StoreError> {
        let size = sqlx::query_scalar("SELECT size FROM cosigned WHERE witness = $1")
            .bind(witness)
            .fetch_optional(&mut *self.read().await?)
            .await?;
        Ok(unsigned(size.unwrap_or(0)))
    }

    /// Adds a witness's line to a checkpoint.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn add_cosignature(
        &self,
        size: u64,
        witness: &str,
        line: &str,
    ) -> Result<(), StoreError> {
        let mut tx = self.write_beside().await?;
        sqlx::query("UPDATE checkpoints SET note = note || $1 WHERE size = $2")
            .bind(line)
            .bind(signed(size))
            .execute(tx.conn())
            .await?;
        sqlx::query(
            "INSERT INTO cosigned (witness, size) VALUES ($1, $2)
             ON CONFLICT (witness) DO UPDATE SET size = excluded.size",
        )
        .bind(witness)
        .bind(signed(size))
        .execute(tx.conn())
        .await?;
        tx.commit().await
    }

    /// What this service cosigned last of somebody's log.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn witnessed(&self, origin: &str) -> Result<Option<Witnessed>, StoreError> {
        let row = sqlx::query("SELECT size, root FROM witnessed WHERE origin = $1")
            .bind(origin)
            .fetch_optional(&mut *self.read().await?)
            .await?;
        let witnessed = |row: AnyRow| {
            let root: Vec<u8> = row.try_get("root")?;
            let root = <[u8; 32]>::try_from(root);
            Ok(Witnessed {
                size: unsigned(row.try_get("size")?),
                root: Hash(root.map_err(|_| StoreError::Malformed {
                    table: "witnessed log",
                    id: origin.to_owned(),
                    problem: "its root must have 32 bytes".to_owned(),
                })?),
            })
        };
        row.map(witnessed).transpose()
    }

    /// Keeps what is cosigned now. `false` where something else was cosigned since `last`: then nothing is kept.
    ///
    /// # Errors
    /// When the database fails or stays busy.
    pub async fn witness(
        &self,
        origin: &str,
        last: Option<&Witnessed>,
        now: &Witnessed,
    ) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let kept = sqlx::query(
            "INSERT INTO witnessed (origin, size, root) VALUES ($1, $2, $3)
             ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root
             WHERE witnessed.size = $4 AND witnessed.root = $5",
        )
        .bind(origin)
        .bind(signed(now.size))
        .bind(&now.root.0[..])
        .bind(signed(last.map_or(0, |last| last.size)))
        .bind(last.map_or(&[][..], |last| &last.root.0[..]))
        .execute(tx.conn())
        .await?;
        tx.commit().await?;
        Ok(kept.rows_affected() > 0)
    }
}

fn checkpoint(row: &AnyRow) -> Result<Signed, StoreError> {
    Ok(Signed {
        size: unsigned(row.try_get("size")?),
        time: row.try_get("time")?,
        note: row.try_get("note")?,
    })
}

fn leaf(row: &AnyRow, personal: String) -> Result<Leaf, StoreError> {
    Ok(Leaf {
        agent: row.try_get("agent")?,
        content_digest: row.try_get("content_digest")?,
        decision: row.try_get("decision")?,
        gateway: row.try_get("gateway")?,
        gateway_policy: row.try_get("gateway_policy")?,
        id: row.try_get("id")?,
        kind: row.try_get("kind")?,
        method: row.try_get("method")?,
        personal,
        request_id: row.try_get("request_id")?,
        result_digest: row.try_get("result_digest")?,
        server: row.try_get("server")?,
        service_policy: row.try_get("service_policy")?,
        subject_token_id: row.try_get("subject_token_id")?,
        target: row.try_get("target")?,
        task: row.try_get("task")?,
        time: row.try_get("time")?,
        token_id: row.try_get("token_id")?,
        txn: row.try_get("txn")?,
    })
}

/// None where it was erased.
fn opening(row: &AnyRow, id: &str) -> Result<Option<Opening>, StoreError> {
    let Some(salt) = row.try_get("salt")? else {
        return Ok(None);
    };
    let detail: Option<String> = row.try_get("detail")?;
    let detail = detail.map(RawValue::from_string).transpose();
    let said = Personal {
        detail: detail.map_err(|e| malformed(id, &e.to_string()))?,
        reason: row.try_get("reason")?,
        source_ip: row.try_get("source_ip")?,
        subject: row.try_get("subject")?,
        target: row.try_get("personal_target")?,
    };
    Ok(Some(Opening { salt, said }))
}

fn malformed(id: &str, problem: &str) -> StoreError {
    StoreError::Malformed {
        table: "audit record",
        id: id.to_owned(),
        problem: problem.to_owned(),
    }
}
