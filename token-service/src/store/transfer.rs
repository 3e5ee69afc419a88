//! An installation's move from SQLite to PostgreSQL: every table as it is, in one transaction.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sqlx::{
    Any, AnyConnection, AssertSqlSafe, Connection as _, Row as _,
    any::{AnyArguments, AnyRow},
    query::Query,
};
use tokio_stream::StreamExt as _;

use super::{
    StoreError, audit,
    dialect::Dialect,
    layout,
    place::{Place, Role},
};
use crate::audit::Record;

/// So many values go into one statement; PostgreSQL takes 65,535.
const VALUES: usize = 20_000;
/// What has its first rows from the beginning, as the source does.
const SEEDED: [&str; 3] = ["log_state", "registry_revision", "snapshots"];

/// A table that was copied.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Copied {
    /// Its name.
    pub table: String,
    /// How many rows it has.
    pub rows: i64,
}

/// What a column holds.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Number,
    Text,
    Bytes,
}

struct Table {
    name: String,
    columns: Vec<(String, Kind)>,
    key: Vec<String>,
}

/// Copies an installation, and puts that on record in the copy. Nobody else uses the source meanwhile, and nothing of it is
/// changed.
///
/// # Errors
/// [`StoreError::Conflict`] when the source is in use or of an earlier version, or the target has something in it already;
/// when a database fails. The target is then as it was.
pub async fn to_postgres(
    source: &Place,
    target: &Place,
    now: Timestamp,
) -> Result<Vec<Copied>, StoreError> {
    let mut from = source
        .connect(Role::Source)
        .await
        .map_err(|error| match error {
            StoreError::Unreachable { problem, .. } if problem.contains("locked") => {
                StoreError::Conflict(
                    "the SQLite database is in use: stop the service, and whatever else has it open",
                )
            }
            other => other,
        })?;
    if !layout::is_current(&mut from).await? {
        return Err(StoreError::Conflict(
            "the SQLite database is of another version: let this version's `writ serve` run on it once",
        ));
    }
    let mut to = target.connect(Role::Builder).await?;
    layout::bring_up_to_date(&mut to).await?;
    let (begin, lock) = Dialect::Postgres.begin_alone();
    let mut tx = to.begin_with(begin).await?;
    if let Some(lock) = lock {
        sqlx::raw_sql(lock).execute(&mut *tx).await?;
    }
    let tables = tables(&mut from, &mut tx).await?;
    for table in &tables {
        let seeded = SEEDED.contains(&table.name.as_str());
        if !seeded && count(&mut tx, &table.name).await? > 0 {
            return Err(StoreError::Conflict(
                "the PostgreSQL database is not empty: name a new one in `store.url`",
            ));
        }
    }
    let mut copied = Vec::with_capacity(tables.len());
    // The registry's revision comes last: what is copied before moves it on.
    let (revision, others): (Vec<_>, Vec<_>) = tables
        .iter()
        .partition(|table| table.name == "registry_revision");
    for table in others.into_iter().chain(revision) {
        copy(&mut from, &mut tx, table).await?;
        let rows = count(&mut from, &table.name).await?;
        if count(&mut tx, &table.name).await? != rows {
            return Err(StoreError::Conflict(
                "the copy has not as many rows as the source; nothing was written",
            ));
        }
        copied.push(Copied {
            table: table.name.clone(),
            rows,
        });
    }
    go_on_counting(&mut tx).await?;
    let record = Record::admin(now, "migrate", "sqlite-to-postgres");
    audit::append(&mut tx, &[record]).await?;
    tx.commit().await?;
    Ok(copied)
}

/// The tables, each after those that it refers to.
async fn tables(
    from: &mut AnyConnection,
    to: &mut AnyConnection,
) -> Result<Vec<Table>, StoreError> {
    let columns: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT CAST(c.table_name AS TEXT), CAST(c.column_name AS TEXT), CAST(c.data_type AS TEXT)
         FROM information_schema.columns AS c JOIN information_schema.tables AS t USING (table_schema, table_name)
         WHERE table_schema = current_schema() AND t.table_type = 'BASE TABLE' AND c.table_name <> '_sqlx_migrations'
         ORDER BY c.table_name, c.ordinal_position",
    )
    .fetch_all(&mut *to)
    .await?;
    let mut waiting: BTreeMap<String, Vec<(String, Kind)>> = BTreeMap::new();
    for (table, column, kind) in columns {
        let kind = match kind.as_str() {
            "bigint" => Kind::Number,
            "bytea" => Kind::Bytes,
            _ => Kind::Text,
        };
        waiting.entry(table).or_default().push((column, kind));
    }
    let mut references: Vec<(String, String)> = sqlx::query_as(
        "SELECT CAST(r.relname AS TEXT), CAST(f.relname AS TEXT) FROM pg_constraint AS c
         JOIN pg_class AS r ON r.oid = c.conrelid JOIN pg_class AS f ON f.oid = c.confrelid WHERE c.contype = 'f'",
    )
    .fetch_all(to)
    .await?;
    let mut tables = Vec::with_capacity(waiting.len());
    while let Some(name) = waiting
        .keys()
        .find(|name| !references.iter().any(|(referring, _)| referring == *name))
        .cloned()
    {
        references.retain(|(_, referred)| *referred != name);
        let columns = waiting.remove(&name).unwrap_or_default();
        tables.push(table(from, name, columns).await?);
    }
    Ok(tables)
}

/// The columns that the source has too, and those that its rows are in the order of.
async fn table(
    from: &mut AnyConnection,
    name: String,
    columns: Vec<(String, Kind)>,
) -> Result<Table, StoreError> {
    let known: Vec<(String, i64)> =
        sqlx::query_as("SELECT name, pk FROM pragma_table_info($1) ORDER BY pk")
            .bind(&name)
            .fetch_all(from)
            .await?;
    let is_known = |column: &String| known.iter().any(|(name, _)| name == column);
    Ok(Table {
        columns: columns.into_iter().filter(|(c, _)| is_known(c)).collect(),
        key: known
            .iter()
            .filter(|(_, place)| *place > 0)
            .map(|(name, _)| name.clone())
            .collect(),
        name,
    })
}

async fn copy(
    from: &mut AnyConnection,
    to: &mut AnyConnection,
    table: &Table,
) -> Result<(), StoreError> {
    let name = &table.name;
    if SEEDED.contains(&name.as_str()) {
        let seed = format!("DELETE FROM {name}");
        sqlx::query(AssertSqlSafe(seed)).execute(&mut *to).await?;
    }
    let columns: Vec<&str> = table.columns.iter().map(|(name, _)| &**name).collect();
    let (columns, key) = (columns.join(", "), table.key.join(", "));
    let all = format!("SELECT {columns} FROM {name} ORDER BY {key}");
    let mut rows = sqlx::query(AssertSqlSafe(all)).fetch(from);
    let most = VALUES / table.columns.len().max(1);
    let mut batch = Vec::with_capacity(most);
    loop {
        let row = rows.next().await.transpose()?;
        let over = row.is_none();
        batch.extend(row);
        if batch.len() == most || (over && !batch.is_empty()) {
            insert(to, table, &columns, &batch).await?;
            batch.clear();
        }
        if over {
            return Ok(());
        }
    }
}

async fn insert(
    to: &mut AnyConnection,
    table: &Table,
    columns: &str,
    rows: &[AnyRow],
) -> Result<(), StoreError> {
    let width = table.columns.len();
    let values = |row: usize| {
        let places: Vec<_> = (1..=width)
            .map(|at| format!("${}", row * width + at))
            .collect();
        format!("({})", places.join(", "))
    };
    let values: Vec<_> = (0..rows.len()).map(values).collect();
    let sql = format!(
        "INSERT INTO {} ({columns}) VALUES {}",
        table.name,
        values.join(", ")
    );
    let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(false);
    for row in rows {
        for (at, (_, kind)) in table.columns.iter().enumerate() {
            query = bound(query, row, at, *kind)?;
        }
    }
    query.execute(to).await?;
    Ok(())
}

type Statement<'q> = Query<'q, Any, AnyArguments>;

fn bound<'q>(
    query: Statement<'q>,
    row: &AnyRow,
    at: usize,
    kind: Kind,
) -> Result<Statement<'q>, StoreError> {
    Ok(match kind {
        Kind::Number => query.bind(row.try_get::<Option<i64>, _>(at)?),
        Kind::Text => query.bind(row.try_get::<Option<String>, _>(at)?),
        Kind::Bytes => query.bind(row.try_get::<Option<Vec<u8>>, _>(at)?),
    })
}

/// What is numbered goes on after the highest number there is.
async fn go_on_counting(to: &mut AnyConnection) -> Result<(), StoreError> {
    let numbered: Vec<(String, String)> = sqlx::query_as(
        "SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns
         WHERE table_schema = current_schema() AND is_identity = 'YES'",
    )
    .fetch_all(&mut *to)
    .await?;
    for (table, column) in numbered {
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), max({column})) FROM {table} HAVING count(*) > 0"
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *to).await?;
    }
    Ok(())
}

async fn count(conn: &mut AnyConnection, table: &str) -> Result<i64, StoreError> {
    let sql = format!("SELECT count(*) FROM {table}");
    Ok(sqlx::query_scalar(AssertSqlSafe(sql))
        .fetch_one(conn)
        .await?)
}
