use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use writ_policy::credential::Credential;

use super::{
    super::service::{Access, Place},
    *,
};

/// How long anything local may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a service was sent, and how often it says that it is busy before.
#[derive(Debug, Default)]
struct Taken {
    busy: usize,
    requests: usize,
    ids: Vec<String>,
}

type Shared = Arc<Mutex<Taken>>;

async fn take(State(taken): State<Shared>, Json(batch): Json<EventBatch>) -> StatusCode {
    // Others come meanwhile.
    tokio::task::yield_now().await;
    let mut taken = taken.lock().unwrap();
    taken.requests += 1;
    if taken.busy > 0 {
        taken.busy -= 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    taken
        .ids
        .extend(batch.events.iter().map(|event| match event {
            Event::Rogue(rogue) => rogue.request_id.clone(),
            other => panic!("{other:?}"),
        }));
    StatusCode::NO_CONTENT
}

async fn service(busy: usize) -> (Arc<Service>, Shared) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let taken = Shared::new(Mutex::new(Taken {
        busy,
        ..Taken::default()
    }));
    let router = Router::new()
        .route("/gateway/v1/events", post(take))
        .with_state(Arc::clone(&taken));
    tokio::spawn(async move { axum::serve(listener, router).await });
    // RFC 8037 appendix A.3.
    let key = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
    let access = Access::new("guard", None, Some(key)).unwrap();
    let place = Place::Loopback(url.parse().unwrap());
    (
        Arc::new(Service::new(place, access, "ledger").unwrap()),
        taken,
    )
}

fn rogue(n: usize) -> event::Rogue {
    event::Rogue {
        server: "ledger".to_owned(),
        credential: Credential::Opaque,
        reason: String::new(),
        issuer: None,
        subject: None,
        agent: None,
        token_id: None,
        source_ip: String::new(),
        request_id: n.to_string(),
        first: String::new(),
        last: String::new(),
        count: 1,
    }
}

#[tokio::test]
async fn many_at_once_go_together_and_each_is_sent_before_its_answer() {
    let (service, taken) = service(0).await;
    let reports = Arc::new(Reports::to(service));
    let mut told = tokio::task::JoinSet::new();
    for n in 0..200 {
        let (reports, taken) = (Arc::clone(&reports), Arc::clone(&taken));
        told.spawn(async move {
            reports.tell(rogue(n)).await;
            assert!(taken.lock().unwrap().ids.contains(&n.to_string()));
        });
    }
    told.join_all().await;
    let taken = taken.lock().unwrap();
    assert_eq!(taken.ids.len(), 200);
    assert!(taken.requests <= 20, "{}", taken.requests);
}

#[tokio::test]
async fn what_could_not_be_sent_is_sent_again_and_holds_up_nobody() {
    let (service, taken) = service(2).await;
    let reports = Reports::to(service);
    let one_by_one = async {
        for n in 0..3 {
            reports.tell(rogue(n)).await;
        }
    };
    timeout(PATIENCE, one_by_one).await.unwrap();
    let all = async {
        while taken.lock().unwrap().ids.len() < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, all).await.unwrap();
    assert_eq!(taken.lock().unwrap().ids, ["0", "1", "2"]);
}

#[tokio::test]
async fn what_waits_is_sent_at_the_end() {
    let (service, taken) = service(1).await;
    let reports = Reports::to(service);
    reports.tell(rogue(0)).await;
    assert!(taken.lock().unwrap().ids.is_empty());
    reports.finish().await;
    assert_eq!(taken.lock().unwrap().ids, ["0"]);
    timeout(PATIENCE, reports.tell(rogue(1))).await.unwrap();
}
