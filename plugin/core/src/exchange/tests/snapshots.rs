//! Snapshots: what is put in force, what is refused, and what a new worker begins with.

use writ_policy::engine::Module;
use writ_policy::snapshot::{
    AGENTS, DATA, FORMAT, KEYS, POLICY, Policy, REVISION, REVOKED, SERVERS, SPANS, STOPS, bucket,
    bucket_name,
};

use super::*;
use crate::snapshot::parts::{Contents, Document, answer};
use crate::snapshot::signed::SnapshotKey;
use crate::snapshot::{HEAD, Head};

/// What the token service of these tests signs its snapshots with.
pub(super) fn key() -> SnapshotKey {
    SnapshotKey::of(&[5; 32])
}

/// A gateway's secret at it.
pub(super) fn secret() -> String {
    format!("secret.{}", key().thumbprint())
}

/// What workers share.
type Shared = BTreeMap<String, (Vec<u8>, u32)>;

/// How long a snapshot is good, in seconds.
const LIFE: u64 = 2 * 60 * 60;

/// The parts of what is written as one.
pub(crate) fn contents(snapshot: &Json) -> Contents {
    let mut contents = Contents::default();
    let halt = json!({
        "disabled_subjects": snapshot["disabled_subjects"],
        "stops": snapshot.get("stops").unwrap_or(&json!({})),
    });
    for (name, part) in [
        (POLICY, &snapshot["policy"]),
        (REVISION, &snapshot["revision"]),
        (KEYS, &snapshot["jwks"]),
        (STOPS, &halt),
    ] {
        contents.put(name, part).unwrap();
    }
    if let Some(spans) = snapshot.get(SPANS) {
        contents.put(SPANS, spans).unwrap();
    }
    for (kind, name) in [(DATA, "data"), (SERVERS, "servers"), (AGENTS, "agents")] {
        match &snapshot[name] {
            Json::Object(entries) => contents.put_each(kind, entries.clone()).unwrap(),
            other => contents.put(&bucket_name(kind, 0), other).unwrap(),
        }
    }
    let mut revoked: BTreeMap<u8, Vec<&Json>> = BTreeMap::new();
    for id in snapshot["revoked"].as_array().unwrap() {
        revoked
            .entry(bucket(id.as_str().unwrap()))
            .or_default()
            .push(id);
    }
    for (bucket, ids) in revoked {
        contents.put(&bucket_name(REVOKED, bucket), &ids).unwrap();
    }
    contents
}

/// The lines of an answer: its head, its manifest, its parts.
fn lines(head: &Head, snapshot: &Json) -> (Head, Vec<Vec<u8>>) {
    let contents = contents(snapshot);
    let manifest: Document = Document::of(&contents.manifest()).unwrap();
    let head = Head {
        manifest: manifest.digest,
        ..head.clone()
    };
    let parts = contents.parts().values().map(|part| part.text.clone());
    (head, [manifest.text].into_iter().chain(parts).collect())
}

/// An answer that leaves nothing out.
pub(super) fn whole(head: &Head, snapshot: &Json) -> Vec<u8> {
    let (head, documents) = lines(head, snapshot);
    signed(&head, documents.iter().map(Vec::as_slice))
}

fn signed<'a>(head: &Head, documents: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    answer(&[key().sign(HEAD, head).unwrap()], documents)
}

impl World {
    /// The head of a revision that is newer than what is in force.
    pub(super) fn next_head(&self) -> Head {
        let now = NOW + self.proxy.later_s.get();
        Head {
            format: FORMAT,
            iss: "https://issuer.example".to_owned(),
            aud: self
                .gateway
                .config
                .mode
                .service()
                .unwrap()
                .gateway_id
                .clone(),
            epoch: 0,
            revision: self.gateway.stats().snapshot_revision + 1,
            iat: now,
            exp: now + LIFE,
            manifest: String::new(),
        }
    }

    /// The token service answers a request for the snapshot.
    pub(super) fn told(&mut self, answer: &[u8]) {
        self.gateway.on_tick(&self.proxy);
        let call = self.snapshot_call();
        self.proxy.answer.replace(Some((200, answer.to_vec())));
        self.gateway.on_answer(call, &self.proxy);
    }

    /// The latest request for a snapshot.
    fn snapshot_call(&self) -> CallId {
        let calls = self.proxy.calls.borrow();
        let latest = calls
            .iter()
            .rposition(|(_, headers, _)| headers[":path"].starts_with("/gateway/v1/snapshot"));
        u32::try_from(latest.unwrap() + 1).unwrap()
    }
}

impl World {
    /// Whether a call is decided now.
    fn decides(&mut self) -> bool {
        self.proxy.replies.borrow_mut().clear();
        let caller = self.caller();
        self.request(Some(&caller), CALL);
        let refused = self
            .proxy
            .replies
            .borrow()
            .iter()
            .any(|reply| reply.status == 503);
        !refused
    }

    /// What the latest request for a snapshot says.
    fn asks(&self) -> (String, HashMap<String, String>) {
        let call = self.snapshot_call();
        let calls = self.proxy.calls.borrow();
        let (_, headers, _) = &calls[usize::try_from(call).unwrap() - 1];
        (headers[":path"].clone(), headers.clone())
    }
}

#[test]
fn what_cannot_be_used_is_refused_and_the_last_good_one_stays_in_force() {
    for change in [
        |s: &mut Json| s["policy"]["program"]["engine"] = json!("regorus-0.1.0"),
        |s: &mut Json| s["policy"]["program"]["program"] = json!("AAAA"),
        |s: &mut Json| {
            s["policy"] = json!({"source": {"modules": [{"path": "p.rego", "text": "no rego"}]}})
        },
        |s: &mut Json| s["data"] = json!([]),
        |s: &mut Json| s["data"] = json!({"writ": {"call": 1}}),
        |s: &mut Json| s["jwks"] = json!({"keys": []}),
        |s: &mut Json| s["servers"]["ledger"]["resource"] = json!("ledger"),
    ] {
        let mut broken = World::without_snapshot().with_snapshot(change);
        assert!(broken.gateway.rules.is_none());
        assert_eq!(broken.gateway.stats.snapshot_refused, 1);
        assert!(!broken.decides());

        let world = World::new();
        world.proxy.later_s.set(2);
        let mut world = world.with_snapshot(change);
        assert_eq!(world.gateway.stats.snapshot_refused, 1);
        assert!(world.decides(), "the last good one is in force");
    }
}

#[test]
fn what_is_not_for_this_filter_is_refused_and_counted() {
    let changes: [fn(&mut Head); 4] = [
        |head| head.format += 1,
        |head| head.aud = "another".to_owned(),
        |head| head.revision -= 1,
        |head| head.exp = NOW,
    ];
    for change in changes {
        let mut world = World::new().with_snapshot(|_| {});
        let mut head = world.next_head();
        head.revision -= 1;
        change(&mut head);
        let snapshot = world.snapshot();
        world.told(&whole(&head, &snapshot));
        assert_eq!(world.gateway.stats.snapshot_refused, 1, "{head:?}");
        assert!(world.decides());
    }
}

#[test]
fn one_that_has_run_out_decides_nothing_until_it_is_confirmed() {
    let mut world = World::new();
    assert!(world.decides());
    world.proxy.later_s.set(LIFE + 4);
    assert!(world.decides(), "clocks may differ by the skew");
    world.proxy.later_s.set(LIFE + 5);
    assert!(!world.decides());
    let head = lines(&world.next_head(), &world.snapshot()).0;
    world.told(&signed(&head, []));
    assert!(world.decides());
}

#[test]
fn it_waits_for_news_and_asks_for_what_is_missing_at_once() {
    let mut world = World::without_snapshot();
    world.gateway.on_tick(&world.proxy);
    let (path, headers) = world.asks();
    assert!(
        path.contains(&format!("format={FORMAT}&engine={}", engine::ENGINE)),
        "{path}"
    );
    assert!(
        path.contains(&format!("key={}", key().thumbprint())),
        "{path}"
    );
    assert_eq!(
        (headers["prefer"].as_str(), headers.get("if-none-match")),
        ("wait=0", None)
    );

    let (head, documents) = lines(&world.next_head(), &world.snapshot());
    let some = documents.iter().take(2).map(Vec::as_slice);
    world.told(&signed(&head, some));
    let (path, headers) = world.asks();
    let tag = format!("\"{}\"", head.manifest);
    assert_eq!(
        (headers["prefer"].as_str(), &headers["if-none-match"]),
        ("wait=0", &tag)
    );
    assert!(
        path.contains("&parts=") && path.contains("policy") && !world.decides(),
        "{path}"
    );

    let rest = documents.iter().skip(2).map(Vec::as_slice);
    world.told(&signed(&head, rest));
    let (path, headers) = world.asks();
    assert!(!path.contains("&parts="), "{path}");
    assert!(
        headers["prefer"] != "wait=0" && headers["if-none-match"] == tag,
        "{headers:?}"
    );
    assert!(world.decides());
}

#[test]
fn after_a_failure_it_asks_again_in_a_moment() {
    let mut world = World::new();
    let before = world.calls();
    world.proxy.answer.replace(None);
    let call = world.snapshot_call();
    world.gateway.on_answer(call, &world.proxy);
    assert_eq!(
        (world.calls(), world.gateway.stats.snapshot_errors),
        (before, 1)
    );
    world.proxy.later_s.set(1);
    world.gateway.on_tick(&world.proxy);
    assert_eq!(world.calls(), before + 1);
}

#[test]
fn a_new_worker_begins_with_what_the_others_share_and_verifies_it() {
    let shared = World::new()
        .with_snapshot(|s| s["revoked"] = json!(["x", "y"]))
        .proxy
        .shared;
    let begin = |change: &dyn Fn(&mut Shared), later_s| {
        let mut world = World::without_snapshot();
        let mut shared = shared.borrow().clone();
        change(&mut shared);
        world.proxy.shared.replace(shared);
        world.proxy.later_s.set(later_s);
        world.gateway.on_tick(&world.proxy);
        (world.gateway.rules.is_some(), world)
    };
    let (is_in_force, world) = begin(&|_| {}, 0);
    assert!(is_in_force);
    let rules = world.gateway.rules.as_ref().unwrap();
    assert!(rules.revoked.contains("x") && rules.revoked.contains("y"));
    assert!(
        world.asks().1["prefer"] != "wait=0",
        "it knows all there is"
    );

    assert!(!begin(&|_| {}, LIFE + 1).0, "it has run out");
    for name in shared.borrow().keys() {
        let damage = |shared: &mut Shared| {
            if let Some((value, _)) = shared.get_mut(name) {
                let middle = value.len() / 2;
                value[middle] ^= 1;
            }
        };
        let (is_in_force, world) = begin(&damage, 0);
        assert!(!is_in_force, "{name}");
        assert_eq!(world.asks().1["prefer"], "wait=0", "{name}");
    }
    let mut stranger = World::configured(
        br#"{"mode":"gateway","token_service":{"cluster":"writ","gateway_id":"other","secret_env":"S"}}"#,
    );
    stranger.proxy.shared.replace(shared.borrow().clone());
    stranger.gateway.on_tick(&stranger.proxy);
    assert!(stranger.gateway.rules.is_none());
}

#[test]
fn a_new_worker_does_not_begin_with_what_was_refused() {
    let broken = World::new().with_snapshot(|s| {
        s["data"]["roles"] = json!({"cfo": ["treasurer"]});
        s["jwks"] = json!({"keys": []});
    });
    assert_eq!(broken.gateway.stats.snapshot_refused, 1);
    let mut world = World::without_snapshot();
    world.proxy.shared = broken.proxy.shared;
    world.gateway.on_tick(&world.proxy);
    assert!(world.gateway.rules.is_some());
    assert_eq!(world.gateway.stats().snapshot_revision, 1);
}

#[test]
fn a_policy_in_source_is_compiled_here() {
    let modules = vec![Module {
        path: "p.rego".to_owned(),
        text: "package writ\n\ncall := {\"allow\": false, \"reason\": \"from source\"}\n"
            .to_owned(),
    }];
    let policy = Policy::Source { modules };
    let mut world = World::without_snapshot()
        .with_snapshot(|s| s["policy"] = serde_json::to_value(&policy).unwrap());
    let caller = world.caller();
    world.request(Some(&caller), CALL);
    world.answers(200, "{}");
    world.answered();
    assert!(world.reply().1.to_string().contains("from source"));
}
