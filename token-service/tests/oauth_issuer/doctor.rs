//! What the doctor says about a running issuer, its keys, its database and the providers it signs people in with.

use std::sync::Arc;

use writ_policy::stops::Lockdown;
use writ_token_service::{
    audit::{Kind, Record},
    clock::{Clock, SystemClock},
    config::Config,
    doctor::{self, Finding, Level},
    store::{Place, Store},
};

use crate::{federation::corp, issuer::Issuer};

async fn examined(config: &Config) -> Vec<Finding> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    doctor::examine(config, None, &clock).await
}

/// Checks and levels of what is not as it should be.
fn wrong(found: &[Finding]) -> Vec<(&'static str, Level)> {
    let wrong = found.iter().filter(|one| one.level != Level::Ok);
    wrong.map(|one| (one.check, one.level)).collect()
}

const IN_CLEAR: (&str, Level) = ("keys", Level::Warning);

#[tokio::test]
async fn a_running_service_is_as_it_should_be() {
    let issuer = Issuer::start().await;
    let found = examined(&issuer.running.app.config).await;
    let servers = ("servers", Level::Warning);
    let unless = |found: &[Finding]| {
        let mut wrong = wrong(found);
        wrong.retain(|one| *one != servers && *one != ("disk", Level::Warning));
        wrong
    };
    let in_one_place = ("audit log", Level::Warning);
    assert_eq!(unless(&found), [IN_CLEAR, in_one_place], "{found:#?}");
    for check in ["configuration", "database", "keys", "issuer", "clock"] {
        assert!(found.iter().any(|one| one.check == check), "{check}");
    }
    let app = &issuer.running.app;
    let is_file = matches!(app.config.place(), Place::Directory(_));
    assert_eq!(found.iter().any(|one| one.check == "disk"), is_file);
    let (nobody, now) = (Lockdown::default(), app.clock.now());
    app.store.lock_down(Some(&nobody), None, now).await.unwrap();
    let found = examined(&app.config).await;
    assert!(wrong(&found).contains(&("lockdown", Level::Warning)));
}

#[tokio::test]
async fn an_issuer_that_is_not_there_or_somebody_else_is_a_problem() {
    let (issuer, other) = (Issuer::start().await, Issuer::start().await);
    let mut config = issuer.running.app.config.clone();
    config.issuer = "http://127.0.0.1:1".to_owned();
    assert!(wrong(&examined(&config).await).contains(&("issuer", Level::Problem)));
    config.issuer = other.url.replace("127.0.0.1", "localhost");
    let found = examined(&config).await;
    let told = found
        .iter()
        .find(|one| one.level == Level::Problem)
        .unwrap();
    assert!(told.found.contains(&other.url), "{told:?}");
    assert!(told.fix.as_deref().unwrap().contains("to the character"));
}

#[tokio::test]
async fn a_configuration_that_the_service_does_not_run_with_is_noticed() {
    let issuer = Issuer::start().await;
    let mut config = issuer.running.app.config.clone();
    let text = writ_token_service::keys::EncryptionKey::generate();
    issuer.running.app.store.empty_log().await.unwrap();
    config.store = Some(match config.place() {
        Place::Directory(dir) => Place::Directory(dir.join("elsewhere")),
        Place::Postgres(mut url) => {
            url.set_path("nowhere");
            Place::Postgres(url)
        }
    });
    assert!(wrong(&examined(&config).await).contains(&("database", Level::Problem)));

    let key = writ_token_service::keys::EncryptionKey::parse(&text, "the key").unwrap();
    let store = &issuer.running.app.store;
    let now = jiff::Timestamp::now();
    writ_token_service::keys::reseal(store, &None, &key, now)
        .await
        .unwrap();
    let config = &issuer.running.app.config;
    assert!(wrong(&examined(config).await).contains(&("keys", Level::Problem)));
    let mut config = config.clone();
    config.keys.sealing = Some(key);
    assert!(
        !wrong(&examined(&config).await)
            .iter()
            .any(|one| one.0 == "keys")
    );
}

#[tokio::test]
async fn a_log_that_does_not_go_on_or_is_in_one_place_is_noticed() {
    let issuer = Issuer::start().await;
    let mut config = issuer.running.app.config.clone();
    let log = |found: &[Finding]| -> Vec<Level> {
        let of = found.iter().filter(|one| one.check == "audit log");
        of.map(|one| one.level).collect()
    };
    let found = examined(&config).await;
    assert_eq!(log(&found), [Level::Ok, Level::Warning], "{found:#?}");
    let kept = tempfile::tempdir().unwrap();
    config.audit.checkpoint_dir = Some(kept.path().to_owned());
    assert_eq!(log(&examined(&config).await), [Level::Ok, Level::Ok]);

    // Nobody makes leaves of this one.
    let left = tempfile::tempdir().unwrap();
    config.store = Some(Place::Directory(left.path().to_owned()));
    let store = Store::open(&config.place()).await.unwrap();
    let minute_ago = jiff::Timestamp::now() - std::time::Duration::from_secs(60);
    store
        .record(Record::new(Kind::Mint, minute_ago))
        .await
        .unwrap();
    store.close().await;
    assert_eq!(log(&examined(&config).await), [Level::Problem, Level::Ok]);
}

#[tokio::test]
async fn a_provider_is_looked_for_where_the_configuration_says() {
    let (idp, issuer) = corp().await;
    let config = &issuer.running.app.config;
    let found = examined(config).await;
    let providers = |found: &[Finding]| -> Vec<Level> {
        let of = found.iter().filter(|one| one.check == "providers");
        of.map(|one| one.level).collect()
    };
    assert_eq!(providers(&found), [Level::Ok], "{found:#?}");
    idp.go_down();
    assert_eq!(providers(&examined(config).await), [Level::Problem]);
    let mut config = config.clone();
    config.federation.providers[0].issuer = issuer.url.clone();
    let found = examined(&config).await;
    assert_eq!(
        providers(&found),
        [Level::Ok],
        "we are a provider too: {found:#?}"
    );
}
