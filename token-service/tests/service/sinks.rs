//! The log, sent somewhere: at least once, in order, by one of several services, and never in the way of a mint.

use std::{
    collections::VecDeque,
    io::Read as _,
    process::Child,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use writ_token_service::{
    audit::Record,
    clock::SystemClock,
    config::{
        Config,
        remote::Credential,
        sinks::{Endpoint, Format, From, Sink, To},
    },
    log::archive,
    serve::Running,
    store::Store,
};

use crate::{
    harness::{Service, call},
    waiting::{PATIENCE, until},
};

/// A process that is gone when its test is.
pub struct Reaped(pub Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How a batch is answered.
type Judge = Box<dyn FnMut(&Request) -> Response + Send>;

/// A batch as it came.
#[derive(Clone, Debug)]
struct Request {
    path: String,
    headers: HeaderMap,
    /// As JSON, one value after the other.
    events: Vec<Value>,
}

/// Takes batches.
#[derive(Clone)]
struct Receiver {
    url: String,
    state: Arc<Mutex<Received>>,
}

struct Received {
    judge: Judge,
    requests: Vec<Request>,
    /// Events of the requests that were answered with a success.
    taken: Vec<Value>,
}

impl Receiver {
    /// One that answers as `judge` says.
    async fn start(judge: impl FnMut(&Request) -> Response + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(Received {
            judge: Box::new(judge),
            requests: Vec::new(),
            taken: Vec::new(),
        }));
        let routes = Router::new().fallback(take).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { url, state }
    }

    async fn good() -> Self {
        Self::start(|_| StatusCode::OK.into_response()).await
    }

    fn sink(&self) -> Sink {
        Sink {
            name: "siem".to_owned(),
            to: To::Http(self.endpoint("Bearer")),
            format: Format::Writ,
            from: From::Start,
            batch_records: 500,
            batch_bytes: 1_000_000,
            timeout: Duration::from_secs(10),
        }
    }

    fn endpoint(&self, scheme: &str) -> Endpoint {
        Endpoint {
            url: self.url.parse().unwrap(),
            credential: Credential::authorization(scheme, &"s3cr3t".into()).ok(),
            gzip: true,
        }
    }

    fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Where in the log what was taken is.
    fn taken(&self) -> Vec<u64> {
        let state = self.state.lock().unwrap();
        state.taken.iter().map(index).collect()
    }

    /// What was taken, once something holds of it.
    async fn until(&self, what: &str, holds: impl Fn(&[u64]) -> bool) -> Vec<u64> {
        let holds = async || Some(self.taken()).filter(|taken| holds(taken));
        until(what, holds).await
    }
}

fn index(event: &Value) -> u64 {
    let event = event.get("event").unwrap_or(event);
    event["index"].as_u64().unwrap()
}

async fn take(
    State(state): State<Arc<Mutex<Received>>>,
    uri: axum::http::Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut text = String::new();
    match headers.contains_key("content-encoding") {
        true => flate2::read::GzDecoder::new(&body[..])
            .read_to_string(&mut text)
            .unwrap(),
        false => (&body[..]).read_to_string(&mut text).unwrap(),
    };
    let events = serde_json::Deserializer::from_str(&text).into_iter();
    let request = Request {
        path: uri.path().to_owned(),
        headers,
        events: events.collect::<Result<_, _>>().unwrap(),
    };
    let mut state = state.lock().unwrap();
    let answer = (state.judge)(&request);
    if answer.status().is_success() {
        state.taken.extend(request.events.clone());
    }
    state.requests.push(request);
    answer
}

pub async fn with(sink: Sink) -> Service {
    Service::start_with(|config| config.audit.sinks = vec![sink]).await
}

pub async fn record(store: &Store, target: &str) {
    store
        .record(Record::admin(Timestamp::now(), "test", target))
        .await
        .unwrap();
}

/// What is on record of a sink, once something holds of it.
pub async fn state_when(
    store: &Store,
    holds: impl Fn(&writ_token_service::store::sinks::SinkState) -> bool,
) -> writ_token_service::store::sinks::SinkState {
    let look = async || {
        let states = store.sinks().await.unwrap();
        states.into_iter().find(|state| holds(state))
    };
    until("such state of a sink", look).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_sent_once_and_in_the_order_of_the_log() {
    let receiver = Receiver::good().await;
    let mut sink = receiver.sink();
    sink.batch_records = 3;
    let service = with(sink).await;
    for n in 0..20 {
        record(service.store(), &n.to_string()).await;
    }
    let all = service.store().last_record().await.unwrap() as usize;
    let taken = receiver
        .until("whole log", |taken| taken.len() >= all)
        .await;
    assert_eq!(taken, (0..all as u64).collect::<Vec<_>>());
    let requests = receiver.requests();
    assert!(requests.iter().all(|request| request.events.len() <= 3));
    let headers = &requests[0].headers;
    assert_eq!(headers["authorization"], "Bearer s3cr3t");
    assert_eq!(headers["content-type"], "application/x-ndjson");
    assert_eq!(headers["content-encoding"], "gzip");
    let state = state_when(service.store(), |state| state.next == all as u64).await;
    assert_eq!((state.skipped, state.last_error), (0, None));
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_no_more_bytes_than_it_may() {
    let receiver = Receiver::good().await;
    let mut sink = receiver.sink();
    sink.batch_bytes = 10_000;
    let service = with(sink).await;
    for _ in 0..30 {
        record(service.store(), &"x".repeat(2000)).await;
    }
    let all = service.store().last_record().await.unwrap() as usize;
    receiver
        .until("whole log", |taken| taken.len() >= all)
        .await;
    for request in receiver.requests() {
        let size: usize = request.events.iter().map(|e| e.to_string().len()).sum();
        assert!(size <= 10_000, "{size}");
    }
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_sink_begins_with_what_comes_from_now_on_unless_told_otherwise() {
    let receiver = Receiver::good().await;
    let mut sink = receiver.sink();
    sink.from = From::Now;
    let service = with(sink).await;
    let state = state_when(service.store(), |_| true).await;
    record(service.store(), "new").await;
    let taken = receiver
        .until("new record", |taken| !taken.is_empty())
        .await;
    assert_eq!(taken[0], state.next);
    assert!(state.next > 0);
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_sent_again_from_where_it_failed() {
    let mut answers: VecDeque<_> = [503, 401, 200, 502, 429].into();
    let receiver = Receiver::start(move |_| {
        let status = answers.pop_front().unwrap_or(200);
        StatusCode::from_u16(status).unwrap().into_response()
    })
    .await;
    let mut sink = receiver.sink();
    sink.batch_records = 4;
    let service = with(sink).await;
    let all = service.store().last_record().await.unwrap() as u64;
    let taken = receiver
        .until("whole log", |taken| taken.len() as u64 >= all)
        .await;
    assert_eq!(taken, (0..all).collect::<Vec<_>>());
    let state = state_when(service.store(), |state| state.last_error.is_some()).await;
    assert!(state.last_error.unwrap().starts_with("it answered 4"));
    assert_eq!(state.skipped, 0);
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_is_left_alone_for_as_long_as_it_asks() {
    let mut asked = None;
    let came_again = Arc::new(Mutex::new(None));
    let answers = Arc::clone(&came_again);
    let receiver = Receiver::start(move |_| match asked {
        None => {
            asked = Some(Instant::now());
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "4")]).into_response()
        }
        Some(at) => {
            answers.lock().unwrap().get_or_insert(at.elapsed());
            StatusCode::OK.into_response()
        }
    })
    .await;
    let service = with(receiver.sink()).await;
    receiver
        .until("second try", |taken| !taken.is_empty())
        .await;
    let after = came_again.lock().unwrap().unwrap();
    assert!(after >= Duration::from_secs(4), "{after:?}");
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_the_sink_never_takes_is_skipped_and_told_and_no_other_is_lost() {
    let bad = |request: &Request| request.events.iter().any(|e| e["target"] == "poison");
    let receiver = Receiver::start(move |request| match bad(request) {
        true => (StatusCode::BAD_REQUEST, "what is this?").into_response(),
        false => StatusCode::OK.into_response(),
    })
    .await;
    let service = with(receiver.sink()).await;
    for n in 0..20 {
        let target = if n == 11 || n == 12 { "poison" } else { "good" };
        record(service.store(), target).await;
    }
    let all = service.store().last_record().await.unwrap() as u64;
    let state = state_when(service.store(), |state| state.next == all).await;
    assert_eq!(state.skipped, 2);
    let said = state.last_error.unwrap();
    assert!(
        said.contains("was skipped") && said.contains("what is this?"),
        "{said}"
    );
    let (first, second) = (all - 20 + 11, all - 20 + 12);
    let rest: Vec<_> = (0..all).filter(|n| ![first, second].contains(n)).collect();
    assert_eq!(receiver.taken(), rest);
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_takes_nothing_at_all_loses_nothing() {
    let wrong = Arc::new(Mutex::new(true));
    let is_wrong = Arc::clone(&wrong);
    let receiver = Receiver::start(move |_| match *is_wrong.lock().unwrap() {
        true => StatusCode::BAD_REQUEST.into_response(),
        false => StatusCode::OK.into_response(),
    })
    .await;
    let service = with(receiver.sink()).await;
    let state = state_when(service.store(), |state| state.last_error.is_some()).await;
    assert_eq!((state.next, state.skipped), (0, 0));
    assert!(
        state
            .last_error
            .unwrap()
            .contains("none after it was taken")
    );
    *wrong.lock().unwrap() = false;
    let all = service.store().last_record().await.unwrap() as u64;
    let taken = receiver
        .until("whole log", |taken| taken.len() as u64 >= all)
        .await;
    assert_eq!(taken, (0..all).collect::<Vec<_>>());
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_hangs_slows_no_mint_and_its_lag_shows() {
    // It accepts connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver = Receiver::good().await;
    let mut sink = receiver.sink();
    sink.timeout = Duration::from_secs(1);
    let To::Http(endpoint) = &mut sink.to else {
        unreachable!()
    };
    endpoint.url = format!("http://{}/", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let service = with(sink).await;
    let (hanging, _) = listener.accept().await.unwrap();
    let begun = Instant::now();
    for _ in 0..20 {
        service.mint(&call("echo")).await;
    }
    // It is far from any time-out of the sink's.
    assert!(begun.elapsed() < PATIENCE / 3, "{:?}", begun.elapsed());
    let state = state_when(service.store(), |state| state.last_error.is_some()).await;
    assert_eq!(state.next, 0);
    let listed = crate::process::json_of(service.dir.path(), &["--json", "audit", "sinks"]);
    assert_eq!(listed["name"], "siem");
    assert!(listed["lag_records"].as_u64().unwrap() >= 20, "{listed}");
    assert!(listed["lag_seconds"].as_f64().unwrap() > 0.0, "{listed}");
    assert!(listed["last_error"].is_string(), "{listed}");
    drop(hanging);
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_archived_before_a_sink_was_there_is_told_and_passed_over() {
    let service = Service::start_with(|config| {
        config.audit.checkpoint_interval = Duration::from_millis(1);
    })
    .await;
    let store = service.store();
    service.mint(&call("echo")).await;
    let (to, now) = (tempfile::tempdir().unwrap(), Timestamp::now());
    let soon = now + Duration::from_secs(3600);
    let archived = until("archive", async || {
        archive::archive(store, to.path(), soon, &[], now)
            .await
            .unwrap()
    });
    let archived = archived.await.size;
    let receiver = Receiver::good().await;
    let mut config = Config::clone(&service.running.app.config);
    config.audit.sinks = vec![receiver.sink()];
    let second = started(config).await;
    let all = store.last_record().await.unwrap() as u64;
    let state = state_when(store, |state| state.next == all).await;
    assert_eq!(state.skipped, archived);
    assert!(state.last_error.unwrap().contains("are archived"));
    assert_eq!(receiver.taken(), (archived..all).collect::<Vec<_>>());
    second.stop().await;
    service.running.stop().await;
}

/// A second service on the database of the first.
async fn beside(service: &Service) -> Running {
    started(Config::clone(&service.running.app.config)).await
}

/// A service that listens elsewhere than the one whose configuration this was.
async fn started(mut config: Config) -> Running {
    config.public = "127.0.0.1:0".parse().unwrap();
    config.gateway =
        writ_token_service::config::GatewayListen::Loopback("127.0.0.1:0".parse().unwrap());
    Running::start(config, Arc::new(SystemClock), None)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_services_one_sends_and_the_other_takes_over() {
    let receiver = Receiver::good().await;
    let mut sink = receiver.sink();
    sink.batch_records = 2;
    let service = with(sink).await;
    let second = beside(&service).await;
    let store = second.app.store.clone();
    let mut all = 0;
    let mut taken = Vec::new();
    // Each when the last one has come, so that both services look several times.
    for n in 0..8 {
        record(&store, &n.to_string()).await;
        all = store.last_record().await.unwrap() as usize;
        taken = receiver.until("record", |taken| taken.len() >= all).await;
    }
    assert_eq!(taken, (0..all as u64).collect::<Vec<_>>());
    service.running.stop().await;
    record(&store, "after").await;
    let taken = receiver
        .until("record after the first has gone", |taken| taken.len() > all)
        .await;
    let all = store.last_record().await.unwrap() as u64;
    let taken = match taken.len() as u64 == all {
        true => taken,
        false => {
            receiver
                .until("rest", |taken| taken.len() as u64 >= all)
                .await
        }
    };
    assert_eq!(taken, (0..all).collect::<Vec<_>>());
    second.stop().await;
}

/// As Splunk documents it: `Authorization: Splunk`, one object after the other, `{"text":"Success","code":0}`.
#[tokio::test(flavor = "multi_thread")]
async fn splunk_gets_events_as_its_collector_takes_them() {
    let collector = |request: &Request| {
        let good = |e: &Value| {
            let keys: Vec<_> = e.as_object().unwrap().keys().map(String::as_str).collect();
            // What the collector's documentation names as metadata of an event; all others it refuses.
            let known = [
                "time",
                "host",
                "source",
                "sourcetype",
                "index",
                "event",
                "fields",
            ];
            keys.iter().all(|key| known.contains(key))
                && e["time"].is_f64()
                && e["fields"]
                    .as_object()
                    .unwrap()
                    .values()
                    .all(|v| v.is_string() || v.is_number())
        };
        if request.headers["authorization"] != "Splunk s3cr3t" {
            return (
                StatusCode::FORBIDDEN,
                axum::Json(json!({"text": "Invalid token", "code": 4})),
            )
                .into_response();
        }
        match request.events.iter().all(good) {
            true if request.events.iter().any(|e| e["event"]["target"] == "poison") =>
                (StatusCode::BAD_REQUEST, axum::Json(json!({"text": "Invalid data format", "code": 6, "invalid-event-number": 0}))).into_response(),
            true => axum::Json(json!({"text": "Success", "code": 0})).into_response(),
            false => (StatusCode::BAD_REQUEST, axum::Json(json!({"text": "Incorrect index", "code": 7}))).into_response(),
        }
    };
    let receiver = Receiver::start(collector).await;
    let mut sink = receiver.sink();
    sink.to = To::SplunkHec {
        endpoint: receiver.endpoint("Splunk"),
        index: Some("security".to_owned()),
    };
    let service = with(sink).await;
    record(service.store(), "poison").await;
    record(service.store(), "good").await;
    let all = service.store().last_record().await.unwrap() as u64;
    let state = state_when(service.store(), |state| state.next == all).await;
    assert_eq!(state.skipped, 1);
    let request = &receiver.requests()[0];
    assert_eq!(request.path, "/services/collector/event");
    let event = &request.events[0];
    assert_eq!(event["index"], "security");
    assert_eq!(event["sourcetype"], "writ:audit");
    assert_eq!(event["fields"]["writ_id"], event["event"]["id"]);
    assert_eq!(event["fields"]["writ_index"], 0);
    service.running.stop().await;
}

/// No event is given up for what is wrong with the token or the index.
#[tokio::test(flavor = "multi_thread")]
async fn splunk_refusing_the_index_loses_nothing() {
    let receiver = Receiver::start(|_| {
        let said = json!({"text": "Incorrect index", "code": 7, "invalid-event-number": 1});
        (StatusCode::BAD_REQUEST, axum::Json(said)).into_response()
    })
    .await;
    let mut sink = receiver.sink();
    sink.to = To::SplunkHec {
        endpoint: receiver.endpoint("Splunk"),
        index: None,
    };
    let service = with(sink).await;
    let state = state_when(service.store(), |state| state.last_error.is_some()).await;
    assert_eq!((state.next, state.skipped), (0, 0));
    assert!(state.last_error.unwrap().contains("Incorrect index"));
    service.running.stop().await;
}

/// A service that is killed after the sink has taken a batch, and before that is written down.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_and_not_written_down_when_the_service_was_killed_is_sent_again() {
    let victim: Arc<Mutex<Option<Reaped>>> = Arc::default();
    let doomed = Arc::clone(&victim);
    let receiver = Receiver::start(move |request| {
        // The records are far enough then that there are some before and behind.
        if request.events.iter().any(|e| index(e) == 5) {
            drop(doomed.lock().unwrap().take());
        }
        StatusCode::OK.into_response()
    })
    .await;
    let (dir, _) = crate::process::registered();
    for n in 0..9 {
        let token = crate::process::run(dir.path(), &["snapshot", "rotate-key"]);
        assert!(token.status.success(), "{n}: {token:?}");
    }
    let toml = format!(
        "[[audit.sinks]]\nname = \"siem\"\ntype = \"http\"\nurl = \"{}\"\nformat = \"writ\"\nfrom = \"start\"\n\
         batch_records = 2\ntimeout = \"1s\"\n",
        receiver.url
    );
    std::fs::write(dir.path().join("writ.toml"), toml).unwrap();
    let serve = || {
        let mut command = crate::process::writ(dir.path());
        command
            .arg("serve")
            .env("WRIT_POLICY__DIR", dir.path().join("policy"))
            .env("WRIT_CONFIG", dir.path().join("writ.toml"));
        Reaped(command.spawn().unwrap())
    };
    // Not before whoever is to be killed is known.
    {
        let mut victim = victim.lock().unwrap();
        *victim = Some(serve());
    }
    receiver
        .until("batch that kills", |taken| taken.contains(&5))
        .await;
    assert!(victim.lock().unwrap().is_none());
    let _second = serve();
    let store = Store::open(&crate::harness::place(&dir.path().join("data")))
        .await
        .unwrap();
    let last = store.last_record().await.unwrap() as u64 - 1;
    let taken = receiver.until("rest", |taken| taken.contains(&last)).await;
    // All, in order, and only what was under way twice.
    assert_eq!(taken, (0..=5).chain(4..=last).collect::<Vec<_>>());
}

/// OTLP: what a receiver says that it dropped must not be sent again.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_opentelemetry_receiver_drops_is_told_and_not_sent_again() {
    let mut first = true;
    let receiver = Receiver::start(move |_| {
        let partial =
            json!({"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "too old"}});
        let said = if first { partial } else { json!({}) };
        first = false;
        axum::Json(said).into_response()
    })
    .await;
    let mut sink = receiver.sink();
    let mut endpoint = receiver.endpoint("Bearer");
    endpoint.credential = Some(Credential {
        name: HeaderName::from_static("x-api-key"),
        value: HeaderValue::from_static("s3cr3t"),
    });
    sink.to = To::Otlp(endpoint);
    let service = with(sink).await;
    let state = state_when(service.store(), |state| state.last_error.is_some()).await;
    assert_eq!(state.skipped, 2);
    assert!(state.last_error.unwrap().contains("too old"));
    let requests = receiver.requests();
    assert_eq!(requests[0].path, "/v1/logs");
    assert_eq!(requests[0].headers["x-api-key"], "s3cr3t");
    assert!(requests[0].headers.get("authorization").is_none());
    let records = |request: &Request| {
        let logs = &request.events[0]["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
        logs.as_array().unwrap().len() as u64
    };
    assert_eq!(records(&requests[0]), state.next);
    assert_eq!(requests.len(), 1);
    service.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_far_behind_a_sink_is_shows_in_the_metrics() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (dir, _) = crate::process::registered();
    let toml = format!(
        "[[audit.sinks]]\nname = \"siem\"\ntype = \"http\"\nurl = \"http://{}\"\nfrom = \"start\"\ntimeout = \"1s\"\n",
        hanging.local_addr().unwrap()
    );
    std::fs::write(dir.path().join("writ.toml"), toml).unwrap();
    // An error says that it is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut child = crate::process::writ(dir.path())
        .arg("serve")
        .env("WRIT_POLICY__DIR", dir.path().join("policy"))
        .env("WRIT_CONFIG", dir.path().join("writ.toml"))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let _serving = Reaped(child);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    let public = lines.next().unwrap().unwrap();
    let url = public.replace("listening public ", "") + "/metrics";
    let shows = async || {
        let shown = reqwest::get(&url).await.unwrap().text().await.unwrap();
        let value = |name: &str| {
            let line = shown.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<f64>().ok()
        };
        // The three records of the set-up, and their age.
        let behind = value("writ_sink_lag_records{sink=\"siem\"}") >= Some(3.0)
            && value("writ_sink_lag_seconds{sink=\"siem\"}") > Some(0.0)
            && value("writ_sink_errors_total{sink=\"siem\",kind=\"failed\"}") >= Some(1.0);
        behind.then_some(())
    };
    until("metric of a sink that is behind", shows).await;
}
