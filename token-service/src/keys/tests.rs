use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{DecodingKey, Validation};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::signing::SigningKey;
use super::{
    Algorithm, EncryptionKey, KeyError, Keys, Rotation, State, reseal, revoke, rotate, shared,
};
use crate::clock::{Clock, tests::Moved};
use crate::config::Config;
use crate::private_file::PrivateFileError;
use crate::store::audit::Filter;
use crate::store::{Place, Store};
use crate::test_database;

const DAY: Duration = Duration::from_secs(86_400);

/// A data directory, and what a service on it would be configured with.
struct Home {
    _dir: TempDir,
    config: Config,
    clock: Arc<Moved>,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::load(None, []).unwrap();
        config.data_dir = dir.path().join("data");
        config.store = Some(Place::of_test(&config.data_dir));
        Self {
            _dir: dir,
            config,
            clock: Arc::default(),
        }
    }

    fn encrypted_with(mut self, text: &str) -> Self {
        self.config.keys.sealing = Some(EncryptionKey::parse(text, "the test's key").unwrap());
        self
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn pass(&self, time: Duration) {
        self.clock.pass(i64::try_from(time.as_secs()).unwrap());
    }

    async fn store(&self) -> Store {
        Store::open(&self.config.place()).await.unwrap()
    }

    async fn open(&self, store: &Store) -> Result<Keys, KeyError> {
        Keys::open(
            store,
            &self.config,
            Arc::clone(&self.clock) as Arc<dyn Clock>,
        )
        .await
    }

    async fn states(&self, store: &Store, alg: Algorithm) -> Vec<State> {
        let rows = store.signing_keys().await.unwrap();
        let of = rows.iter().filter(|row| row.alg == alg);
        let mut states: Vec<_> = of.map(|row| row.term.state(self.now())).collect();
        states.sort_by_key(|state| state.as_str());
        states
    }

    /// What another process does on this data directory.
    async fn rotate(&self, store: &Store, rotation: Rotation) -> String {
        let settings = (&self.config.keys.schedule, &self.config.keys.sealing);
        rotate(store, settings, Algorithm::EdDsa, rotation, self.now())
            .await
            .unwrap()
            .0
    }
}

/// Verifies with a library that shares no code with the one that signs.
fn verified(token: &str, jwks: &Value) -> Option<(jsonwebtoken::Header, Value)> {
    let header = jsonwebtoken::decode_header(token).unwrap();
    let jwk = jwks["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|k| k["kid"].as_str() == header.kid.as_deref())?;
    let jwk: Jwk = serde_json::from_value(jwk.clone()).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.validate_aud = false;
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    let claims = jsonwebtoken::decode::<Value>(token, &key, &validation).ok()?;
    Some((header, claims.claims))
}

fn kids(jwks: &Value) -> Vec<&str> {
    let keys = jwks["keys"].as_array().unwrap();
    keys.iter().map(|k| k["kid"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_algorithm_signs_tokens_that_an_independent_library_verifies() {
    let mut home = Home::new();
    let store = home.store().await;
    for algorithm in Algorithm::ALL {
        home.config.tokens.signing_alg = algorithm;
        let keys = home.open(&store).await.unwrap();
        let claims = json!({"iss": "https://issuer.test", "aud": "x", "exp": 4_000_000_000_u64});
        let (header, read) = verified(&keys.sign(&claims).unwrap(), &keys.jwks()).unwrap();
        assert_eq!(read, claims);
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(format!("{:?}", header.alg), algorithm.name());
        assert_eq!(header.kid, keys.kid().ok());
    }
}

#[tokio::test]
async fn a_key_of_each_algorithm_is_published_without_its_private_part() {
    let home = Home::new();
    let keys = home.open(&home.store().await).await.unwrap();
    let jwks = keys.jwks();
    let published = jwks["keys"].as_array().unwrap();
    let algorithms: Vec<_> = published
        .iter()
        .map(|k| k["alg"].as_str().unwrap())
        .collect();
    assert_eq!(algorithms, ["EdDSA", "ES256", "RS256"]);
    for key in published {
        for private in ["d", "p", "q", "dp", "dq", "qi"] {
            assert!(key.get(private).is_none(), "{key}");
        }
        assert_eq!(key["use"], "sig");
    }
}

#[tokio::test]
async fn the_kid_is_the_thumbprint_of_rfc_7638() {
    let home = Home::new();
    let keys = home.open(&home.store().await).await.unwrap();
    for key in keys.jwks()["keys"].as_array().unwrap() {
        let jwk: Jwk = serde_json::from_value(key.clone()).unwrap();
        let thumbprint = jwk.thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256);
        assert_eq!(key["kid"], thumbprint.unwrap());
    }
}

#[tokio::test]
async fn keys_are_made_once_whoever_opens_them() {
    let home = Home::new();
    let (one, two) = (home.store().await, home.store().await);
    let (first, second) = tokio::join!(home.open(&one), home.open(&two));
    let (first, second) = (first.unwrap(), second.unwrap());
    let third = home.open(&one).await.unwrap();
    assert_eq!(first.jwks(), third.jwks());
    second.reload(&two).await.unwrap();
    assert_eq!(second.jwks(), third.jwks());
}

#[tokio::test]
async fn a_key_signs_until_its_successor_does_and_goes_when_what_it_signed_is_dead() {
    let home = Home::new();
    let store = home.store().await;
    let keys = home.open(&store).await.unwrap();
    let old = keys.kid().unwrap();
    let schedule = home.config.keys.schedule;
    let tend = async || {
        keys.tend(&store).await.unwrap();
        keys.reload(&store).await.unwrap()
    };

    home.pass(schedule.rotate_every - schedule.announce_ahead - DAY);
    assert!(!tend().await, "nothing is due yet");
    home.pass(DAY);
    assert!(tend().await);
    assert!(!tend().await, "it is announced once");
    assert_eq!(keys.kid().unwrap(), old, "announced, and not yet signing");
    let announced = kids(&keys.jwks()).len();
    assert_eq!(announced, 6, "each algorithm has its next key");

    home.pass(schedule.announce_ahead - Duration::from_secs(1));
    let last = keys.sign(&json!({"exp": 0})).unwrap();
    home.pass(Duration::from_secs(1));
    assert_ne!(keys.kid().unwrap(), old, "without anybody doing anything");
    let first = keys.sign(&json!({"exp": 0})).unwrap();

    home.pass(home.config.tokens.longest_life());
    tend().await;
    assert!(
        verified(&last, &keys.jwks()).is_some(),
        "the old one's last token is alive"
    );
    home.pass(schedule.overlap);
    assert!(tend().await);
    assert!(verified(&last, &keys.jwks()).is_none(), "its key is gone");
    assert!(verified(&first, &keys.jwks()).is_some());
    assert_eq!(home.states(&store, Algorithm::EdDsa).await, [State::Active]);
}

#[tokio::test]
async fn a_key_outlives_tokens_of_a_longer_life_that_was_configured_before() {
    let mut home = Home::new();
    home.config.keys.schedule.overlap = Duration::from_secs(4000);
    let store = home.store().await;
    home.open(&store).await.unwrap();
    home.config.keys.schedule.overlap = Duration::from_secs(1000);
    let keys = home.open(&store).await.unwrap();
    home.rotate(&store, Rotation::Immediate).await;
    home.pass(Duration::from_secs(3999));
    keys.tend(&store).await.unwrap();
    assert_eq!(
        home.states(&store, Algorithm::EdDsa).await,
        [State::Active, State::Retiring]
    );
    home.pass(Duration::from_secs(1));
    keys.tend(&store).await.unwrap();
    assert_eq!(home.states(&store, Algorithm::EdDsa).await, [State::Active]);
}

#[tokio::test]
async fn a_rotation_by_command_is_announced_first_and_can_be_hurried() {
    let home = Home::new();
    let store = home.store().await;
    let keys = home.open(&store).await.unwrap();
    let old = keys.kid().unwrap();
    let next = home.rotate(&store, Rotation::Announced).await;
    keys.reload(&store).await.unwrap();
    assert_eq!(keys.kid().unwrap(), old);
    let settings = (&home.config.keys.schedule, &home.config.keys.sealing);
    let again = rotate(
        &store,
        settings,
        Algorithm::EdDsa,
        Rotation::Announced,
        home.now(),
    )
    .await;
    assert!(matches!(again, Err(KeyError::Announced { kid, .. }) if kid == next));
    assert_eq!(home.rotate(&store, Rotation::Immediate).await, next);
    keys.reload(&store).await.unwrap();
    assert_eq!(keys.kid().unwrap(), next);
    assert!(kids(&keys.jwks()).contains(&old.as_str()));
}

#[tokio::test]
async fn a_revoked_key_is_gone_at_once_and_another_signs() {
    let home = Home::new();
    let store = home.store().await;
    let keys = home.open(&store).await.unwrap();
    let (kid, token) = (keys.kid().unwrap(), keys.sign(&json!({})).unwrap());
    let settings = (&home.config.keys.schedule, &home.config.keys.sealing);
    revoke(&store, settings, &kid, home.now()).await.unwrap();
    keys.reload(&store).await.unwrap();
    assert!(verified(&token, &keys.jwks()).is_none());
    assert!(verified(&keys.sign(&json!({})).unwrap(), &keys.jwks()).is_some());
    let again = revoke(&store, settings, &kid, home.now())
        .await
        .unwrap_err();
    assert!(again.to_string().contains("writ keys list"), "{again}");
}

#[tokio::test]
async fn what_happens_to_a_key_is_on_record() {
    let home = Home::new();
    let store = home.store().await;
    let keys = home.open(&store).await.unwrap();
    let kid = keys.kid().unwrap();
    let settings = (&home.config.keys.schedule, &home.config.keys.sealing);
    revoke(&store, settings, &kid, home.now()).await.unwrap();
    let records = store.newest_records(&Filter::default(), 10).await.unwrap();
    let on_record = |method: &str| {
        let of = records
            .iter()
            .filter(|e| e.record.method.as_deref() == Some(method));
        of.filter_map(|e| e.record.target.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(on_record("keys revoke"), std::slice::from_ref(&kid));
    let announced = on_record("keys announce");
    assert_eq!(announced.len(), 4, "three at first, and the successor");
    assert!(announced.contains(&kid));
}

#[tokio::test]
async fn a_key_file_from_before_is_taken_over_and_removed() {
    let home = Home::new();
    let directory = home.config.keys_dir();
    fs::create_dir_all(&directory).unwrap();
    let before = SigningKey::generate(Algorithm::Es256).unwrap();
    let file = directory.join("es256.pem");
    fs::write(&file, &*before.to_pem().unwrap()).unwrap();
    let store = home.store().await;

    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let exposed = home.open(&store).await.unwrap_err();
    let is_exposed = matches!(exposed, KeyError::File(PrivateFileError::Exposed { .. }));
    assert!(is_exposed, "{exposed}");
    assert!(exposed.to_string().contains("es256.pem"), "{exposed}");

    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let keys = home.open(&store).await.unwrap();
    assert!(kids(&keys.jwks()).contains(&before.kid()));
    assert_eq!(home.states(&store, Algorithm::Es256).await, [State::Active]);
    assert!(!file.exists());
}

#[tokio::test]
async fn a_damaged_key_file_stops_the_start_instead_of_being_replaced() {
    let home = Home::new();
    let directory = home.config.keys_dir();
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("eddsa.pem");
    fs::write(&file, "-----BEGIN PRIVATE KEY-----\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let error = home.open(&home.store().await).await.unwrap_err();
    assert!(matches!(error, KeyError::Malformed { .. }), "{error}");
    assert!(file.exists());
}

#[tokio::test]
async fn a_wrong_or_missing_encryption_key_stops_the_start_and_says_which() {
    let home = Home::new().encrypted_with(&EncryptionKey::generate());
    let store = home.store().await;
    home.open(&store).await.unwrap();
    let mut wrong = home.encrypted_with(&EncryptionKey::generate());
    let error = wrong.open(&store).await.unwrap_err();
    assert!(matches!(error, KeyError::WrongKey { .. }), "{error}");
    assert!(error.to_string().starts_with("the test's key"), "{error}");
    wrong.config.keys.sealing = None;
    let error = wrong.open(&store).await.unwrap_err();
    assert!(
        error.to_string().contains("keys.encryption_key_file"),
        "{error}"
    );
}

/// Everything that lies in a directory.
#[tokio::test]
async fn with_an_encryption_key_no_private_key_lies_on_the_disk_in_clear() {
    let home = Home::new();
    let store = home.store().await;
    home.open(&store).await.unwrap();
    let pems: Vec<String> = store
        .signing_keys()
        .await
        .unwrap()
        .iter()
        .map(|row| {
            super::open_private(row, &None)
                .unwrap()
                .to_pem()
                .unwrap()
                .to_string()
        })
        .collect();
    let data_dir = home.config.data_dir.clone();
    let lies = async |text: &str| test_database::keeps(&data_dir, text.as_bytes()).await;
    // The second line of each PEM: base64 of the key itself.
    let secrets: Vec<&str> = pems.iter().map(|pem| pem.lines().nth(1).unwrap()).collect();
    for secret in &secrets {
        assert!(lies(secret).await, "the test sees what is there");
    }

    let home = home.encrypted_with(&EncryptionKey::generate());
    home.open(&store).await.unwrap();
    for secret in secrets {
        assert!(!lies(secret).await);
    }
    assert!(!lies("PRIVATE KEY").await);

    home.rotate(&store, Rotation::Immediate).await;
    store.close().await;
    assert!(!lies("PRIVATE KEY").await);
}

#[tokio::test]
async fn keys_can_be_encrypted_anew_while_a_service_runs() {
    let home = Home::new().encrypted_with(&EncryptionKey::generate());
    let store = home.store().await;
    let running = home.open(&store).await.unwrap();
    let text = EncryptionKey::generate();
    let to = EncryptionKey::parse(&text, "the new key").unwrap();
    let count = reseal(&store, &home.config.keys.sealing, &to, home.now()).await;
    assert_eq!(count.unwrap(), 3);
    running.reload(&store).await.unwrap();
    assert!(running.sign(&json!({})).is_ok());
    assert!(
        home.open(&store).await.is_err(),
        "the old one opens nothing"
    );
    let home = home.encrypted_with(&text);
    assert_eq!(home.open(&store).await.unwrap().jwks(), running.jwks());
}

#[tokio::test]
async fn a_key_that_processes_share_is_kept_as_signing_keys_are() {
    let home = Home::new();
    let store = home.store().await;
    home.open(&store).await.unwrap();
    let ask = async |store: &Store, home: &Home, purpose| {
        shared(store, &home.config.keys.sealing, purpose).await
    };
    let key = ask(&store, &home, "one").await.unwrap();
    assert_eq!(ask(&store, &home, "one").await.unwrap(), key);
    assert_ne!(ask(&store, &home, "two").await.unwrap(), key);
    let lies = async |home: &Home| test_database::keeps(&home.config.data_dir, &key).await;
    assert!(lies(&home).await, "the test sees what is there");

    let text = EncryptionKey::generate();
    let home = home.encrypted_with(&text);
    home.open(&store).await.unwrap();
    for purpose in ["one", "two"] {
        ask(&store, &home, purpose).await.unwrap();
    }
    assert_eq!(ask(&store, &home, "one").await.unwrap(), key);
    assert!(!lies(&home).await);

    let next = EncryptionKey::generate();
    let to = EncryptionKey::parse(&next, "the new key").unwrap();
    reseal(&store, &home.config.keys.sealing, &to, home.now())
        .await
        .unwrap();
    let refused = ask(&store, &home, "one").await;
    assert!(
        matches!(refused, Err(KeyError::WrongKey { .. })),
        "{refused:?}"
    );
    let home = home.encrypted_with(&next);
    assert_eq!(ask(&store, &home, "one").await.unwrap(), key);
}
