//! Which database the tests use: SQLite's in each test's directory or, where `WRIT_TEST_STORE` is `postgres`, one of its own for
//! each such directory in the cluster that `WRIT_TEST_POSTGRES` names. `tests/postgres.sh` starts one.

#![allow(dead_code, reason = "each test crate uses its part of this file")]
#![allow(clippy::expect_used, reason = "test code: a panic is how it says no")]

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher as _},
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex},
};

use sqlx::{
    AnyConnection, ConnectOptions as _, Connection as _, any::AnyConnectOptions, migrate::Migrator,
};
use url::Url;

/// The URL of this directory's database, made if it is not there yet; `None` where that is SQLite's.
pub(crate) fn url_of(dir: &Path) -> Option<Url> {
    let postgres = std::env::var("WRIT_TEST_STORE").is_ok_and(|store| store == "postgres");
    postgres.then(|| postgres_of(&cluster(), dir))
}

/// The cluster that tests on PostgreSQL make their databases in.
pub(crate) fn cluster() -> Url {
    let given = std::env::var("WRIT_TEST_POSTGRES");
    let missing = "this test needs PostgreSQL: run it by `sh tests/postgres.sh cargo test …`, or set WRIT_TEST_POSTGRES to the URL of a cluster";
    given.expect(missing).parse().expect("a URL")
}

/// The URL of this directory's database in a cluster, made if it is not there yet.
pub(crate) fn postgres_of(cluster: &Url, dir: &Path) -> Url {
    static MADE: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    let cluster = cluster.clone();
    let name = format!("writ_test_{}", digest(dir));
    let mut url = cluster.clone();
    url.set_path(&name);
    let mut made = MADE.lock().unwrap();
    if made.insert(name.clone()) {
        // Callers may be in a runtime, or in none.
        let making = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(make(&cluster, &name))
        });
        making.join().unwrap();
    }
    url
}

/// A connection of one's own to this directory's database.
pub(crate) async fn connect(dir: &Path) -> AnyConnection {
    sqlx::any::install_default_drivers();
    let sqlite = || format!("sqlite://{}", dir.join("writ.db").display()).parse();
    let url = url_of(dir).map_or_else(|| sqlite().unwrap(), Into::into);
    open(&url).await
}

/// The same, in a transaction that lets nobody else write.
pub(crate) async fn hold(dir: &Path) -> AnyConnection {
    let mut holder = connect(dir).await;
    let begin = match url_of(dir) {
        Some(_) => "BEGIN; SELECT pg_advisory_xact_lock(registry_lock())",
        None => "BEGIN IMMEDIATE",
    };
    sqlx::raw_sql(begin).execute(&mut holder).await.unwrap();
    holder
}

/// Whether bytes are anywhere in what this directory's database keeps.
pub(crate) async fn keeps(dir: &Path, sought: &[u8]) -> bool {
    let holds = |bytes: Vec<u8>| bytes.windows(sought.len()).any(|w| w == sought);
    if url_of(dir).is_none() {
        let mut files = files_in(dir).into_iter();
        return files.any(|file| holds(std::fs::read(file).unwrap()));
    }
    // As PostgreSQL writes bytes in a row's text.
    let hex: String = sought.iter().map(|b| format!("{b:02x}")).collect();
    let mut connection = connect(dir).await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT CAST(table_name AS TEXT) FROM information_schema.tables WHERE table_schema = 'public'",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    for table in tables {
        let sql = format!("SELECT CAST(t AS TEXT) FROM {table} AS t");
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .fetch_all(&mut connection)
            .await
            .unwrap();
        let found = |row: String| row.contains(&hex) || holds(row.into_bytes());
        if rows.into_iter().any(found) {
            return true;
        }
    }
    false
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let files = paths.map(|path| match path.is_dir() {
        true => files_in(&path),
        false => vec![path],
    });
    files.flatten().collect()
}

/// Takes all triggers off, as somebody can who owns the database.
pub(crate) async fn drop_triggers(dir: &Path, connection: &mut AnyConnection) {
    let list = match url_of(dir) {
        Some(_) => {
            "SELECT 'DROP TRIGGER ' || tgname || ' ON ' || CAST(CAST(tgrelid AS regclass) AS TEXT) FROM pg_trigger
             WHERE NOT tgisinternal"
        }
        None => "SELECT 'DROP TRIGGER ' || name FROM sqlite_schema WHERE type = 'trigger'",
    };
    let drop: Vec<String> = sqlx::query_scalar(list)
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    for drop in drop {
        run(connection, &drop).await;
    }
}

/// Statements that let the database refuse what is added to a table, and take it again.
pub(crate) fn refusing(dir: &Path, table: &str) -> [String; 2] {
    match url_of(dir) {
        Some(_) => [
            format!(
                "CREATE TRIGGER no_room BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION refuse('no room')"
            ),
            format!("DROP TRIGGER no_room ON {table}"),
        ],
        None => [
            format!(
                "CREATE TRIGGER no_room BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no room'); END"
            ),
            "DROP TRIGGER no_room".to_owned(),
        ],
    }
}

pub(crate) async fn open(url: &Url) -> AnyConnection {
    sqlx::any::install_default_drivers();
    let options = AnyConnectOptions::from_url(url).unwrap();
    options.connect().await.unwrap()
}

/// Copies a database that has the whole layout, which is quicker than making it.
async fn make(cluster: &Url, name: &str) {
    let steps = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    let mut files: Vec<_> = std::fs::read_dir(&steps)
        .unwrap()
        .map(|file| std::fs::read(file.unwrap().path()).unwrap())
        .collect();
    files.sort();
    let template = format!("writ_template_{}", digest(files));
    let mut admin = open(cluster).await;
    // One test process at a time.
    run(&mut admin, "SELECT pg_advisory_lock(1)").await;
    let known: Option<i32> = sqlx::query_scalar("SELECT 1 FROM pg_database WHERE datname = $1")
        .bind(&template)
        .fetch_optional(&mut admin)
        .await
        .unwrap();
    if known.is_none() {
        run(&mut admin, &format!("CREATE DATABASE {template}_begun")).await;
        let mut url = cluster.clone();
        url.set_path(&format!("{template}_begun"));
        let mut connection = open(&url).await;
        let steps = Migrator::new(steps).await.unwrap();
        steps.run(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        let rename = format!("ALTER DATABASE {template}_begun RENAME TO {template}");
        run(&mut admin, &rename).await;
    }
    run(
        &mut admin,
        &format!("CREATE DATABASE {name} TEMPLATE {template}"),
    )
    .await;
    admin.close().await.unwrap();
}

async fn run(admin: &mut AnyConnection, sql: &str) {
    let sql = sqlx::AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(admin).await.unwrap();
}

fn digest(of: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
