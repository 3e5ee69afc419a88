//! The log as real receivers have it: rsyslog over TLS, a NATS server with JetStream, and the official definitions of OTLP.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use writ_token_service::{
    config::{
        Config,
        sinks::{Address, Endpoint, Format, From, NatsTo, Sink, To},
    },
    http::trust::Identity,
};

use crate::{
    harness::{Service, call, python},
    mtls::{Authority, write},
    sinks::{Reaped, record, state_when, with},
    waiting::until,
};

fn sink(to: To) -> Sink {
    Sink {
        name: "received".to_owned(),
        to,
        format: Format::Ocsf,
        from: From::Start,
        batch_records: 500,
        batch_bytes: 1_000_000,
        timeout: Duration::from_secs(5),
    }
}

/// A program of the machine's; where there is none, the test says how to get it.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = directories
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("there is no {name}: run `make deps`"))
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn address(port: u16) -> Address {
    Address {
        text: format!("127.0.0.1:{port}"),
        server: "127.0.0.1".try_into().unwrap(),
    }
}

async fn listens(port: u16) {
    let connect = async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok();
    until(&format!("listener on {port}"), connect).await;
}

/// An rsyslog that wants a certificate, and writes what it gets to a file.
async fn rsyslog(dir: &Path, authority: &Authority, port: u16) -> Reaped {
    let own = authority.sign(&["127.0.0.1"]);
    let files = [
        ("ca.pem", &authority.pem),
        ("cert.pem", &own.pem),
        ("key.pem", &own.key),
    ];
    let [ca, cert, key] = files.map(|(name, pem)| write(dir, name, pem));
    let work = dir.display();
    let config = format!(
        r#"global(workDirectory="{work}" maxMessageSize="64k" defaultNetstreamDriver="gtls"
       defaultNetstreamDriverCAFile="{}" defaultNetstreamDriverCertFile="{}" defaultNetstreamDriverKeyFile="{}")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="x509/certvalid")
input(type="imtcp" address="127.0.0.1" port="{port}")
template(name="line" type="list") {{
  property(name="pri") constant(value=" ") property(name="timereported" dateFormat="rfc3339") constant(value=" ")
  property(name="app-name") constant(value=" ") property(name="msgid") constant(value=" ")
  property(name="structured-data") constant(value="\t") property(name="msg") constant(value="\n")
}}
action(type="omfile" file="{work}/received" template="line")
"#,
        ca.display(),
        cert.display(),
        key.display()
    );
    let config = write(dir, "rsyslog.conf", &config);
    let child = Command::new(program("rsyslogd"))
        .args(["-n", "-f"])
        .arg(config)
        .arg("-i")
        .arg(dir.join("rsyslog.pid"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    listens(port).await;
    Reaped(child)
}

fn identity(authority: &Authority) -> Identity {
    let ours = authority.sign(&["writ.example"]);
    Identity {
        certificates: ours.pem.into_bytes(),
        key: ours.key.into_bytes().into(),
    }
}

/// Lines of what rsyslog has, once there are so many.
async fn received(dir: &Path, many: usize) -> Vec<String> {
    let look = async || {
        let text = std::fs::read_to_string(dir.join("received")).unwrap_or_default();
        // What comes after the last newline is still being written.
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        let lines: Vec<String> = whole.lines().map(str::to_owned).collect();
        Some(lines).filter(|lines| lines.len() >= many)
    };
    until(&format!("file of {many} lines"), look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rsyslog_has_every_record_over_tls() {
    let (authority, dir, port) = (Authority::new(), tempfile::tempdir().unwrap(), free_port());
    let receiver = rsyslog(dir.path(), &authority, port).await;
    let to = To::Syslog {
        address: address(port),
        identity: Some(identity(&authority)),
    };
    let trusting = |config: &mut Config| {
        config.outbound.authorities = authority.pem.clone().into_bytes();
        config.audit.sinks = vec![sink(to)];
    };
    let service = Service::start_with(trusting).await;
    record(service.store(), "a \"quoted\" ]name\n of two lines").await;
    service.mint(&call("echo")).await;
    let all = service.store().last_record().await.unwrap() as usize;
    let lines = received(dir.path(), all).await;
    assert_eq!(lines.len(), all);
    for (n, line) in lines.iter().enumerate() {
        let (head, json) = line.split_once('\t').unwrap();
        let event: Value = serde_json::from_str(json).unwrap();
        assert_eq!(event["metadata"]["sequence"], n, "{line}");
        let words: Vec<_> = head.split(' ').collect();
        // Log audit, informational: 13 * 8 + 6.
        assert_eq!(words[0], "110");
        assert_eq!(
            words[1],
            event["metadata"]["original_time"].as_str().unwrap()
        );
        let kind = event["metadata"]["event_code"].as_str().unwrap();
        assert_eq!((words[2], words[3]), ("writ", kind));
        let id = event["metadata"]["uid"].as_str().unwrap();
        let log = event["metadata"]["log_name"].as_str().unwrap();
        let data = format!("[writ@32473 id=\"{id}\" log=\"{log}\" index=\"{n}\"]");
        assert_eq!(words[4..].join(" "), data);
    }
    // What comes while it is away gets there when it is back.
    drop(receiver);
    record(service.store(), "meanwhile").await;
    let failed = state_when(service.store(), |state| state.last_error.is_some()).await;
    assert_eq!(failed.next as usize, all);
    let _again = rsyslog(dir.path(), &authority, port).await;
    let lines = received(dir.path(), all + 1).await;
    assert!(lines[all].contains("meanwhile"), "{}", lines[all]);
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_whose_certificate_nobody_vouches_for_gets_nothing() {
    let (authority, dir, port) = (Authority::new(), tempfile::tempdir().unwrap(), free_port());
    let _receiver = rsyslog(dir.path(), &authority, port).await;
    let to = To::Syslog {
        address: address(port),
        identity: Some(identity(&authority)),
    };
    let service = with(sink(to)).await;
    let state = state_when(service.store(), |state| state.last_error.is_some()).await;
    assert_eq!(state.next, 0);
    let problem = state.last_error.unwrap();
    assert!(problem.contains("invalid peer certificate"), "{problem}");
    assert!(!dir.path().join("received").exists());
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_nats_has_every_record_once_though_it_is_sent_twice() {
    let (authority, dir, port) = (Authority::new(), tempfile::tempdir().unwrap(), free_port());
    let own = authority.sign(&["127.0.0.1"]);
    let child = Command::new(program("nats-server"))
        .args([
            "-a",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-js",
            "--auth",
            "s3cr3t",
            "--tls",
            "-sd",
        ])
        .arg(dir.path())
        .arg("--tlscert")
        .arg(write(dir.path(), "cert.pem", &own.pem))
        .arg("--tlskey")
        .arg(write(dir.path(), "key.pem", &own.key))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _server = Reaped(child);
    listens(port).await;
    let ca = write(dir.path(), "ca.pem", &authority.pem);
    let to = NatsTo {
        address: address(port),
        tls: true,
        token: Some("s3cr3t".into()),
        subject: "writ.audit".to_owned(),
    };
    let trusting = |config: &mut Config| {
        config.outbound.authorities = authority.pem.clone().into_bytes();
        config.audit.sinks = vec![sink(To::Nats(to))];
    };
    let service = Service::start_with(trusting).await;
    // Nobody takes the subject yet: that is told, and nothing is lost.
    let state = state_when(service.store(), |state| state.last_error.is_some()).await;
    assert!(
        state
            .last_error
            .unwrap()
            .contains("no stream takes the subject")
    );
    let client = async_nats::ConnectOptions::with_token("s3cr3t".to_owned())
        .add_root_certificates(ca)
        .require_tls(true)
        .connect(format!("127.0.0.1:{port}"))
        .await
        .unwrap();
    let jetstream = async_nats::jetstream::new(client);
    let stream = jetstream.create_stream(async_nats::jetstream::stream::Config {
        name: "AUDIT".to_owned(),
        subjects: vec!["writ.>".to_owned()],
        ..Default::default()
    });
    let mut stream = stream.await.unwrap();
    let all = service.store().last_record().await.unwrap() as u64;
    state_when(service.store(), |state| state.next == all).await;
    assert_eq!(stream.info().await.unwrap().state.messages, all);
    let records = service.store().records_from_leaf(0, 1000).await.unwrap();
    for (n, entry) in records.iter().enumerate() {
        let message = stream.get_raw_message(n as u64 + 1).await.unwrap();
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(event["metadata"]["uid"], entry.record.id.as_str());
        let id = message.headers.get("Nats-Msg-Id").unwrap();
        assert_eq!(id.as_str(), entry.record.id);
    }
    // As if the service had been killed before it wrote down what was sent.
    let config = Config::clone(&service.running.app.config);
    service.running.stop().await;
    let store = writ_token_service::store::Store::open(&config.place())
        .await
        .unwrap();
    let mut tx = store.write().await.unwrap();
    sqlx::query("UPDATE sinks SET next_leaf = 0")
        .execute(tx.conn())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let again = writ_token_service::serve::Running::start(
        config,
        std::sync::Arc::new(writ_token_service::clock::SystemClock),
        None,
    );
    let again = again.await.unwrap();
    record(&store, "new").await;
    let all = store.last_record().await.unwrap() as u64;
    state_when(&store, |state| state.next == all).await;
    assert_eq!(stream.info().await.unwrap().state.messages, all);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opentelemetry_logs_are_what_the_official_definitions_say() {
    let mut child = python("otlp.py").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let _receiver = Reaped(child);
    let port = lines.next().unwrap().unwrap();
    let endpoint = Endpoint {
        url: format!("http://127.0.0.1:{port}").parse().unwrap(),
        credential: None,
        gzip: true,
    };
    let service = with(sink(To::Otlp(endpoint))).await;
    service.mint(&call("echo")).await;
    let all = service.store().last_record().await.unwrap() as u64;
    let state = state_when(service.store(), |state| state.next == all).await;
    assert_eq!(state.last_error, None);
    let mut records: Vec<Value> = Vec::new();
    while records.len() < all as usize {
        let said: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!(said["path"], "/v1/logs");
        let resource = &said["logs"]["resourceLogs"][0];
        assert_eq!(
            resource["resource"]["attributes"][0]["value"]["stringValue"],
            "writ"
        );
        let logs = resource["scopeLogs"][0]["logRecords"].as_array().unwrap();
        records.extend(logs.clone());
    }
    let attribute = |record: &Value, name: &str| {
        let all = record["attributes"].as_array().unwrap();
        let found = all.iter().find(|one| one["key"] == name);
        found.map(|one| one["value"]["stringValue"].clone())
    };
    for (n, record) in records.iter().enumerate() {
        let all = record["attributes"].as_array().unwrap();
        let index = all
            .iter()
            .find(|one| one["key"] == "writ.log.index")
            .unwrap();
        assert_eq!(index["value"]["intValue"], n.to_string());
    }
    let mint = records
        .iter()
        .find(|one| one["eventName"] == "writ.mint")
        .unwrap();
    assert_eq!(attribute(mint, "mcp.method.name").unwrap(), "tools/call");
    assert_eq!(
        attribute(mint, "gen_ai.operation.name").unwrap(),
        "execute_tool"
    );
    assert_eq!(attribute(mint, "gen_ai.tool.name").unwrap(), "echo");
    assert_eq!(attribute(mint, "gen_ai.agent.id").unwrap(), "assistant");
    assert_eq!(attribute(mint, "user.id").unwrap(), "alice");
    assert_eq!(attribute(mint, "client.address").unwrap(), "192.0.2.7");
    assert_eq!(mint["severityNumber"], "SEVERITY_NUMBER_INFO");
    let body = mint["body"]["kvlistValue"]["values"].as_array().unwrap();
    assert!(
        body.iter()
            .any(|one| one["key"] == "class_uid" && one["value"]["intValue"] == "6003")
    );
    service.running.stop().await;
}
