//! On PostgreSQL, whatever the other tests run on: lost connections, a server that is stopped, another one to move to.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use base64::Engine as _;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::task::JoinHandle;
use url::Url;
use writ_token_service::{
    audit::{Kind, Record},
    log,
    store::{Place, Store, audit::Filter, inputs::Decisions},
};

use crate::{
    database,
    harness::{Form, Service, call},
    process::writ,
    waiting::until,
};

/// How long a caller may have to wait for an answer, whatever happens to the database.
const BOUNDED: Duration = Duration::from_secs(6);

async fn on(cluster: &Url) -> Service {
    Service::start_with(|config| {
        let url = database::postgres_of(cluster, &config.data_dir);
        config.store = Some(Place::Postgres(Box::new(url)));
    })
    .await
}

/// Agents that go on calling.
struct Load {
    over: Arc<AtomicBool>,
    /// The tokens that were answered, and how many calls were not.
    told: Arc<Mutex<(Vec<String>, usize)>>,
    callers: Vec<JoinHandle<()>>,
}

impl Load {
    fn on(service: &Arc<Service>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::new(Mutex::new((Vec::new(), 0)));
        let form = Form::new(&service.caller_token(), &call("echo"));
        let callers = (0..6).map(|_| {
            let (service, form) = (Arc::clone(service), form.clone());
            let (over, told) = (Arc::clone(&over), Arc::clone(&told));
            tokio::spawn(async move {
                while !over.load(Ordering::SeqCst) {
                    let asked = Instant::now();
                    let response = service.exchange(&form).await;
                    assert!(asked.elapsed() < BOUNDED, "{:?}", asked.elapsed());
                    let status = response.status();
                    let answer: Value = response.json().await.unwrap();
                    let mut told = told.lock().unwrap();
                    match status {
                        StatusCode::OK => told.0.push(answer["jti"].as_str().unwrap().to_owned()),
                        StatusCode::SERVICE_UNAVAILABLE => told.1 += 1,
                        other => panic!("{other}: {answer}"),
                    }
                }
            })
        });
        Self {
            callers: callers.collect(),
            over,
            told,
        }
    }

    /// Waits until so many more calls were answered, or refused.
    async fn goes_on(&self, answered: usize, refused: usize) {
        let counts = || {
            let told = self.told.lock().unwrap();
            (told.0.len(), told.1)
        };
        let before = counts();
        let look = async || {
            let now = counts();
            (now.0 >= before.0 + answered && now.1 >= before.1 + refused).then_some(())
        };
        until("call more", look).await;
    }

    async fn end(self) -> Vec<String> {
        self.over.store(true, Ordering::SeqCst);
        for caller in self.callers {
            caller.await.unwrap();
        }
        let mut told = self.told.lock().unwrap();
        std::mem::take(&mut told.0)
    }
}

/// Every answered token has its record.
async fn nothing_is_lost(service: &Service, answered: Vec<String>) {
    let filter = Filter::default();
    let records = service.store().newest_records(&filter, 1_000_000).await;
    let records = records.unwrap().into_iter();
    let kept: std::collections::HashSet<String> =
        records.filter_map(|e| e.record.token_id).collect();
    assert!(!answered.is_empty());
    for token in answered {
        assert!(kept.contains(&token), "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_under_load_lose_nothing_and_are_made_again() {
    let service = Arc::new(on(&database::cluster()).await);
    let Place::Postgres(url) = service.running.app.config.place() else {
        panic!("not on PostgreSQL")
    };
    let mut admin = database::open(&url).await;
    let load = Load::on(&service);
    for _ in 0..5 {
        load.goes_on(20, 0).await;
        let cut: i64 = sqlx::query_scalar(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .fetch_one(&mut admin)
        .await
        .unwrap();
        assert!(cut > 0);
    }
    load.goes_on(20, 0).await;
    let answered = load.end().await;
    nothing_is_lost(&service, answered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_on_in_the_trail_waits_for_what_is_added_before() {
    let service = on(&database::cluster()).await;
    let Place::Postgres(url) = service.running.app.config.place() else {
        panic!("not on PostgreSQL")
    };
    // Another service's, whose commit takes its time.
    let mut slow = database::open(&url).await;
    let begun = "BEGIN; INSERT INTO audit (id, time, kind) VALUES ('slow', '', 'mint');
        INSERT INTO audit_personal (record, salt) VALUES ('slow', '00')";
    sqlx::raw_sql(begun).execute(&mut slow).await.unwrap();
    let (_, answer) = service.mint(&call("echo")).await;
    let mints = Filter {
        kind: Some(Kind::Mint),
        ..Filter::default()
    };
    let read = async || {
        let records = service.store().records_after(&mints, 0, 10).await.unwrap();
        let ids = records.into_iter().map(|e| e.record.token_id);
        ids.collect::<Vec<_>>()
    };
    assert!(read().await.is_empty());
    sqlx::raw_sql("COMMIT").execute(&mut slow).await.unwrap();
    // A test beside this one may be at work in another database, but that is nobody's here.
    let minted = answer["jti"].as_str().map(str::to_owned);
    assert_eq!(read().await, [None, minted]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_read_only_mints_nothing_and_says_so() {
    let service = Arc::new(on(&database::cluster()).await);
    let Place::Postgres(url) = service.running.app.config.place() else {
        panic!("not on PostgreSQL")
    };
    let mut admin = database::open(&url).await;
    // As after a failover to a standby: who connects from now on may only read.
    let mut switch = async |to: &str| {
        let name = url.path().trim_start_matches('/');
        let text = format!(
            "ALTER DATABASE {name} SET default_transaction_read_only = {to};
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(text))
            .execute(&mut admin)
            .await
            .unwrap();
    };
    let form = Form::new(&service.caller_token(), &call("echo"));
    let exchange = async || {
        let answer = service.exchange(&form).await;
        (answer.status(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(exchange().await.0, StatusCode::OK);
    switch("on").await;
    // The first may have been on its way to a connection that was cut.
    until("refusal that says why", async || {
        let (status, answer) = exchange().await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{answer}");
        let told = answer["error_description"].as_str().unwrap();
        told.contains("the database is read-only").then_some(())
    })
    .await;
    switch("off").await;
    until("mint", async || {
        (exchange().await.0 == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missed_of_who_began_later_and_was_given_an_earlier_number() {
    let service = on(&database::cluster()).await;
    let Place::Postgres(url) = service.running.app.config.place() else {
        panic!("not on PostgreSQL")
    };
    let add = |id: &str| {
        format!(
            "INSERT INTO audit (id, time, kind) VALUES ('{id}', '', 'mint');
             INSERT INTO audit_personal (record, salt) VALUES ('{id}', '00')"
        )
    };
    let (mut first, mut second) = (database::open(&url).await, database::open(&url).await);
    let begun = "BEGIN; SELECT CAST(pg_current_xact_id() AS TEXT)";
    sqlx::raw_sql(begun).execute(&mut first).await.unwrap();
    let earlier = format!("BEGIN; {}", add("earlier"));
    sqlx::raw_sql(sqlx::AssertSqlSafe(earlier))
        .execute(&mut second)
        .await
        .unwrap();
    let later = format!("{}; COMMIT", add("later"));
    sqlx::raw_sql(sqlx::AssertSqlSafe(later))
        .execute(&mut first)
        .await
        .unwrap();
    let mints = Filter {
        kind: Some(Kind::Mint),
        ..Filter::default()
    };
    let read = async || {
        let records = service.store().records_after(&mints, 0, 10).await.unwrap();
        let ids = records.into_iter().map(|e| e.record.id);
        ids.collect::<Vec<_>>()
    };
    assert!(read().await.is_empty());
    sqlx::raw_sql("COMMIT").execute(&mut second).await.unwrap();
    assert_eq!(read().await, ["earlier", "later"]);
}

/// What is committed is erased, though somebody who began before has not ended.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_is_erased_of_what_has_to_wait_for_others() {
    let service = on(&database::cluster()).await;
    let Place::Postgres(url) = service.running.app.config.place() else {
        panic!("not on PostgreSQL")
    };
    let store = service.store();
    let mut open = database::open(&url).await;
    let earlier = "BEGIN; INSERT INTO audit (id, time, kind) VALUES ('earlier', '', 'mint');
                   INSERT INTO audit_personal (record, salt) VALUES ('earlier', '00')";
    sqlx::raw_sql(earlier).execute(&mut open).await.unwrap();
    let mut record = Record::new(Kind::Denied, jiff::Timestamp::now());
    record.subject = Some("carol".to_owned());
    store.record(record).await.unwrap();
    let erase = log::erase::erase(store, "carol", "their wish", jiff::Timestamp::now());
    let (erased, ended) = tokio::join!(erase, async {
        let waits = "SELECT count(*) FROM audit WHERE seq > (SELECT seq FROM log_state)";
        until("a record that waits", async || {
            let mut looking = database::open(&url).await;
            let waiting: i64 = sqlx::query_scalar(waits)
                .fetch_one(&mut looking)
                .await
                .ok()?;
            (waiting > 0).then_some(())
        })
        .await;
        sqlx::raw_sql("COMMIT").execute(&mut open).await
    });
    ended.unwrap();
    assert_eq!(erased.unwrap(), 1);
    service.running.stop().await;
}

/// A cluster of its own, that can be stopped.
struct Cluster {
    script: Child,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Cluster {
    fn start() -> (Self, Url) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/postgres.sh");
        let mut script = Command::new("sh")
            .arg(script)
            .arg("--told")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(script.stdout.take().unwrap()).lines();
        let url = answers.next().expect("a cluster that starts").unwrap();
        (Self { script, answers }, url.parse().unwrap())
    }

    fn tell(&mut self, what: &str) {
        let input = self.script.stdin.as_mut().unwrap();
        writeln!(input, "{what}").unwrap();
        assert_eq!(self.answers.next().unwrap().unwrap(), what);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.script.stdin.take());
        let _ = self.script.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_server_is_stopped_callers_are_told_to_wait_and_then_it_goes_on() {
    let (mut cluster, url) = Cluster::start();
    let service = Arc::new(on(&url).await);
    let load = Load::on(&service);
    load.goes_on(20, 0).await;
    cluster.tell("stop");
    load.goes_on(0, 10).await;
    cluster.tell("start");
    load.goes_on(20, 0).await;
    let answered = load.end().await;
    nothing_is_lost(&service, answered).await;
    let Ok(service) = Arc::try_unwrap(service) else {
        panic!("somebody still calls")
    };
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_a_standby_takes_over_nothing_is_lost_and_it_goes_on() {
    let (mut cluster, url) = Cluster::start();
    cluster.tell("standby");
    let service = Arc::new(on(&url).await);
    let load = Load::on(&service);
    load.goes_on(20, 0).await;
    cluster.tell("failover");
    load.goes_on(20, 0).await;
    let answered = load.end().await;
    nothing_is_lost(&service, answered).await;
    let size = log::sequence::catch_up(service.store()).await.unwrap();
    let filter = Filter::default();
    let records = service.store().newest_records(&filter, 1_000_000);
    assert_eq!(records.await.unwrap().len() as u64, size);
}

#[test]
fn both_layouts_have_the_same_tables_and_columns() {
    let dir = tempfile::tempdir().unwrap();
    let url = database::postgres_of(&database::cluster(), dir.path());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let place = Place::Directory(dir.path().to_owned());
        Store::open(&place).await.unwrap();
        sqlx::any::install_default_drivers();
        let sqlite = format!("sqlite://{}", Place::file(dir.path()).display());
        let mut sqlite = database::open(&sqlite.parse().unwrap()).await;
        // The seq of SQLite's is a rowid.
        let ours = "SELECT m.name || '.' || c.name || ' ' || CASE c.type WHEN 'INTEGER' THEN 'bigint' WHEN 'BLOB' THEN 'bytea'
                        ELSE lower(c.type) END || CASE WHEN c.\"notnull\" = 1 OR c.pk > 0 THEN ' not null' ELSE '' END
                    FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c
                    WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' AND m.name <> '_sqlx_migrations' ORDER BY 1";
        let theirs = "SELECT table_name || '.' || column_name || ' ' || data_type
                        || CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END
                      FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
                      WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> '_sqlx_migrations'
                      ORDER BY 1";
        let mut postgres = database::open(&url).await;
        let mut of_sqlite: Vec<String> = sqlx::query_scalar(ours).fetch_all(&mut sqlite).await.unwrap();
        let mut of_postgres: Vec<String> = sqlx::query_scalar(theirs).fetch_all(&mut postgres).await.unwrap();
        of_sqlite.sort();
        of_postgres.sort();
        assert_eq!(of_sqlite, of_postgres);
        assert!(of_sqlite.len() > 100);
    });
}

/// All that a running service does with its database, with each of its connections that reads.
async fn does_everything(service: &Service) {
    let (store, now) = (service.store(), jiff::Timestamp::now());
    for _ in 0..4 {
        let (token, answer) = service.mint(&call("echo")).await;
        let told = service.introspect(&[("token", &token)]).await;
        assert_eq!(told["active"], true, "{told}");
        let outcome = serde_json::json!([{"type": "outcome", "token_id": answer["jti"], "request_id": "req-1",
            "time": "2026-11-23T18:00:00Z", "status": 200, "result": "ok", "duration_us": 1, "request_bytes": 1, "response_bytes": 1}]);
        let reported = service.report(&outcome).await;
        assert!(reported.status().is_success(), "{reported:?}");
        log::sequence::catch_up(store).await.unwrap();
        store.logged(0, 10).await.unwrap();
        let filter = Filter::default();
        store.newest_records(&filter, 10).await.unwrap();
        let all = Decisions::default();
        store.decisions_after(&all, 0, 10).await.unwrap();
        store.load_registry(Default::default(), now).await.unwrap();
        store.tell_floods(now).await.unwrap();
        store.sweep(now).await.unwrap();
        store.archives().await.unwrap();
        store.signing_keys().await.unwrap();
        store.tasks(10).await.unwrap();
        store.task("none", now).await.unwrap();
        store.sinks().await.unwrap();
        store.checkpoints().await.unwrap();
        store.pins("ledger").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_version_adds_to_every_table_while_a_service_runs_on() {
    let service = on(&database::cluster()).await;
    let Place::Postgres(url) = service.running.app.config.place() else {
        panic!("not on PostgreSQL")
    };
    does_everything(&service).await;
    let mut newer = database::open(&url).await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::TEXT FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'",
    )
    .fetch_all(&mut newer)
    .await
    .unwrap();
    for table in tables {
        let add = format!("ALTER TABLE {table} ADD COLUMN of_later TEXT");
        sqlx::raw_sql(sqlx::AssertSqlSafe(add))
            .execute(&mut newer)
            .await
            .unwrap();
    }
    does_everything(&service).await;
}

/// The text of every row of an installation's registry and trail, as its commands print them.
fn told(command: &mut dyn FnMut() -> Command) -> Vec<String> {
    let lists: [&[&str]; 6] = [
        &["server", "list"],
        &["agent", "list"],
        &["gateway", "list"],
        &["user", "list"],
        &["keys", "list"],
        &["snapshot", "key"],
    ];
    let output = lists.map(|arguments| {
        let output = command().arg("--json").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    });
    output.into()
}

/// Makes leaves of all records, and signs a checkpoint of them: how many they are.
async fn sequence_and_sign(place: &Place) -> u64 {
    let store = Store::open(place).await.unwrap();
    let key = log::keep::key(&store, &None, "https://writ.test").await;
    let size = log::sequence::catch_up(&store).await.unwrap();
    let now = jiff::Timestamp::now();
    let signed = log::keep::sign(&store, &key.unwrap(), size, now).await;
    signed.unwrap();
    store.close().await;
    size
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_moves_from_sqlite_with_all_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let (source, data) = (dir.path(), dir.path().join("data"));
    let on_sqlite = || {
        let mut command = writ(source);
        command.env_remove("WRIT_STORE_URL");
        command
    };
    let url = database::postgres_of(&database::cluster(), &dir.path().join("new"));
    let on_postgres = || {
        let mut command = writ(source);
        command.env("WRIT_STORE_URL", url.as_str());
        command
    };
    let success = |command: &mut Command| {
        let output = command.output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{told}");
        String::from_utf8(output.stdout).unwrap()
    };
    let refusal = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let registered: [&[&str]; 3] = [
        &[
            "server",
            "add",
            "ledger",
            "--resource",
            "https://ledger.test/mcp",
            "--audience",
            "urn:ledger",
            "--enforcement",
            "introspect",
        ],
        &[
            "agent",
            "add",
            "assistant",
            "--name",
            "Assistant",
            "--auth",
            "none",
            "--redirect-uri",
            "http://127.0.0.1/cb",
        ],
        &["gateway", "add", "edge", "--server", "ledger"],
    ];
    for arguments in registered {
        success(on_sqlite().args(arguments));
    }
    for n in 0..40 {
        let switch = if n % 2 == 0 { "disable" } else { "enable" };
        success(on_sqlite().args(["agent", switch, "assistant"]));
    }
    let sequenced = sequence_and_sign(&Place::Directory(data.clone())).await;
    let before = told(&mut || on_sqlite());
    let trail = success(on_sqlite().args(["audit", "list", "--json", "--limit", "1000"]));

    let nowhere = refusal(on_sqlite().args(["migrate", "sqlite-to-postgres"]));
    assert!(nowhere.contains("store.url"), "{nowhere}");
    let mut holder = database::open(
        &format!("sqlite://{}", data.join("writ.db").display())
            .parse()
            .unwrap(),
    )
    .await;
    sqlx::query("SELECT count(*) FROM audit")
        .fetch_all(&mut holder)
        .await
        .unwrap();
    let in_use = refusal(on_postgres().args(["migrate", "sqlite-to-postgres"]));
    assert!(in_use.contains("is in use"), "{in_use}");
    sqlx::Connection::close(holder).await.unwrap();

    let copied = success(on_postgres().args(["migrate", "sqlite-to-postgres"]));
    assert!(copied.contains("is copied to postgres://"), "{copied}");
    assert_eq!(told(&mut || on_postgres()), before);
    let moved = success(on_postgres().args(["audit", "list", "--json", "--limit", "1000"]));
    let (last, all) = moved
        .trim_end()
        .rsplit_once('\n')
        .map(|(all, last)| (last, all))
        .unwrap();
    assert_eq!(all, trail.trim_end());
    assert!(last.contains("sqlite-to-postgres"), "{last}");

    let verified = success(on_postgres().args(["audit", "verify", "--json"]));
    let verified: Value = serde_json::from_str(&verified).unwrap();
    assert_eq!(verified["intact"]["checkpoint"], sequenced, "{verified}");

    let again = refusal(on_postgres().args(["migrate", "sqlite-to-postgres"]));
    assert!(again.contains("not empty"), "{again}");
    // It goes on there.
    success(on_postgres().args(["agent", "disable", "assistant"]));
}

/// Lets a cluster speak TLS at a port of `localhost`, with a certificate for that name; the path of the authority's.
async fn speak_tls(cluster: &mut Cluster, url: &Url, dir: &Path) -> (u16, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut admin = database::open(url).await;
    for (file, text) in [
        ("server.crt", made.cert.pem()),
        ("server.key", made.signing_key.serialize_pem()),
    ] {
        let encoded = base64::engine::general_purpose::STANDARD.encode(text);
        let keep = format!(
            "COPY (SELECT '{encoded}') TO PROGRAM 'base64 -d | install -m 600 /dev/stdin {file}'"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(keep))
            .execute(&mut admin)
            .await
            .unwrap();
    }
    for setting in [
        "ssl = on".to_owned(),
        "listen_addresses = '127.0.0.1'".to_owned(),
        format!("port = {port}"),
    ] {
        let set = format!("ALTER SYSTEM SET {setting}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(set))
            .execute(&mut admin)
            .await
            .unwrap();
    }
    sqlx::Connection::close(admin).await.unwrap();
    cluster.tell("stop");
    cluster.tell("start");
    let authority = dir.join("authority.pem");
    std::fs::write(&authority, made.cert.pem()).unwrap();
    (port, authority)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_verified_by_its_name_and_authority() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let (mut cluster, url) = Cluster::start();
    let (port, authority) = speak_tls(&mut cluster, &url, dir.path()).await;
    let open = async |host: &str, more: &str| {
        let url = format!("postgres://writ@{host}:{port}/postgres?sslmode=verify-full{more}");
        let place = Place::Postgres(Box::new(url.parse().unwrap()));
        Store::open(&place).await.map(drop)
    };
    let known = format!("&sslrootcert={}", authority.display());
    open("localhost", &known).await.unwrap();
    let stranger = open("localhost", "").await.unwrap_err().to_string();
    assert!(stranger.contains("certificate"), "{stranger}");
    let other_name = open("127.0.0.1", &known).await.unwrap_err().to_string();
    assert!(other_name.contains("certificate"), "{other_name}");
}
