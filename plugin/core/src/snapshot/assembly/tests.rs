use serde_json::{Value as Json, json};

use super::*;
use crate::exchange::tests::snapshots::contents;
use crate::snapshot::parts::{Contents, Document, answer};
use crate::snapshot::signed::SnapshotKey;

const NOW: u64 = 1_795_000_000;

fn key() -> SnapshotKey {
    SnapshotKey::of(&[5; 32])
}

fn snapshot(change: impl FnOnce(&mut Json)) -> Contents {
    let mut snapshot = json!({
        "revision": "p1", "policy": {"source": {"modules": []}}, "data": {}, "jwks": {}, "servers": {},
        "agents": {"robot": {"status": "approved"}, "chat": {"status": "approved"}},
        "disabled_subjects": [], "revoked": ["a", "b", "c"],
    });
    change(&mut snapshot);
    contents(&snapshot)
}

fn manifest(contents: &Contents) -> Document {
    Document::of(&contents.manifest()).unwrap()
}

fn head(revision: u64, contents: &Contents) -> Head {
    Head {
        format: FORMAT,
        iss: "https://issuer.example".to_owned(),
        aud: "edge".to_owned(),
        epoch: 0,
        revision,
        iat: NOW,
        exp: NOW + 60,
        manifest: manifest(contents).digest,
    }
}

fn signed(head: &Head) -> String {
    key().sign(HEAD, head).unwrap()
}

fn whole(head: &Head, contents: &Contents) -> Vec<u8> {
    let manifest = manifest(contents).text;
    let parts = contents.parts().values().map(|part| part.text.as_slice());
    answer(
        &[signed(head)],
        [manifest.as_slice()].into_iter().chain(parts),
    )
}

fn assembly() -> Assembly<String> {
    Assembly::new("edge", key().thumbprint())
}

fn read(_: &Head, name: &str, _: &[u8]) -> Result<String, String> {
    Ok(name.to_owned())
}

fn holding(contents: &Contents) -> Assembly<String> {
    let mut assembly = assembly();
    let taken = assembly.take(&whole(&head(7, contents), contents), NOW, read);
    assert_eq!(taken.unwrap(), Taken::Whole);
    assembly.accept();
    assembly
}

#[test]
fn a_revision_comes_in_as_many_answers_as_it_takes() {
    let contents = snapshot(|_| {});
    let (head, mut assembly) = (head(7, &contents), assembly());
    let first = answer(&[signed(&head)], [manifest(&contents).text.as_slice()]);
    assert_eq!(assembly.take(&first, NOW, read).unwrap(), Taken::Some);
    assert_eq!(assembly.known(), Some(head.manifest.as_str()));
    let names: Vec<String> = assembly.missing().map(str::to_owned).collect();
    assert_eq!(names, contents.parts().keys().cloned().collect::<Vec<_>>());
    for (left, name) in names.iter().enumerate().rev() {
        let part = contents.parts()[name].text.as_slice();
        let taken = assembly.take(&answer(&[signed(&head)], [part]), NOW, read);
        let whole = if left == 0 { Taken::Whole } else { Taken::Some };
        assert_eq!(taken.unwrap(), whole, "{name}");
    }
    assert!(assembly.held().is_none());
    assembly.accept();
    assert_eq!(assembly.held().unwrap().parts.len(), names.len());
}

#[test]
fn only_what_has_changed_comes_again() {
    let mut assembly = holding(&snapshot(|_| {}));
    let next = snapshot(|s| s["revoked"] = json!(["a", "b", "d"]));
    let answer = answer(
        &[signed(&head(8, &next))],
        [manifest(&next).text.as_slice()],
    );
    assert_eq!(assembly.take(&answer, NOW, read).unwrap(), Taken::Some);
    let missing: Vec<&str> = assembly.missing().collect();
    let part_of_d =
        writ_policy::snapshot::bucket_name("revoked/", writ_policy::snapshot::bucket("d"));
    assert_eq!(missing, [part_of_d.as_str()]);
}

#[test]
fn what_came_already_is_kept_when_the_head_moves_on() {
    let mut assembly = assembly();
    let first = snapshot(|_| {});
    let policy = first.parts()["policy"].text.as_slice();
    let begun = answer(
        &[signed(&head(7, &first))],
        [manifest(&first).text.as_slice(), policy],
    );
    assert_eq!(assembly.take(&begun, NOW, read).unwrap(), Taken::Some);
    let next = snapshot(|s| s["revoked"] = json!([]));
    let moved = answer(
        &[signed(&head(8, &next))],
        [manifest(&next).text.as_slice()],
    );
    assert_eq!(assembly.take(&moved, NOW, read).unwrap(), Taken::Some);
    assert!(assembly.missing().all(|name| name != "policy"));
}

#[test]
fn an_unchanged_one_is_good_for_longer_and_no_older_answer_is_taken() {
    let contents = snapshot(|_| {});
    let mut assembly = holding(&contents);
    let later = Head {
        iat: NOW + 10,
        exp: NOW + 70,
        ..head(9, &contents)
    };
    let unchanged = answer(&[signed(&later)], []);
    assert_eq!(
        assembly.take(&unchanged, NOW, read).unwrap(),
        Taken::Unchanged
    );
    assert_eq!(assembly.held().unwrap().head, later);
    let of = |epoch, revision, iat| Head {
        epoch,
        revision,
        iat,
        ..later.clone()
    };
    for old in [of(0, 8, NOW + 20), of(0, 9, NOW + 9)] {
        let refused = assembly.take(&answer(&[signed(&old)], []), NOW, read);
        assert!(matches!(refused, Err(Refused::Older { .. })), "{refused:?}");
    }
    let restored = of(1, 1, NOW + 11);
    assert_eq!(
        assembly
            .take(&answer(&[signed(&restored)], []), NOW, read)
            .unwrap(),
        Taken::Unchanged
    );
}

#[test]
fn what_is_not_meant_for_it_now_is_refused() {
    let contents = snapshot(|_| {});
    let good = head(8, &contents);
    type IsIt = fn(&Refused) -> bool;
    let cases: [(Head, IsIt); 3] = [
        (
            Head {
                format: FORMAT + 1,
                ..good.clone()
            },
            |e| matches!(e, Refused::Format(4)),
        ),
        (
            Head {
                aud: "other".to_owned(),
                ..good.clone()
            },
            |e| matches!(e, Refused::Audience(_)),
        ),
        (
            Head {
                exp: NOW,
                ..good.clone()
            },
            |e| matches!(e, Refused::Expired(_)),
        ),
    ];
    for (head, is_it) in cases {
        let mut assembly = holding(&contents);
        let refused = assembly
            .take(&whole(&head, &contents), NOW, read)
            .unwrap_err();
        assert!(is_it(&refused), "{refused}");
        assert_eq!(assembly.held().unwrap().head.revision, 7);
    }
}

#[test]
fn nothing_that_was_changed_or_cut_off_is_put_together() {
    let contents = snapshot(|_| {});
    let good = whole(&head(7, &contents), &contents);
    for length in (0..good.len()).step_by(9) {
        let mut assembly = assembly();
        let taken = assembly.take(&good[..length], NOW, read);
        assert!(
            !matches!(taken, Ok(Taken::Whole)),
            "the first {length} bytes"
        );
    }
    for position in (0..good.len()).step_by(9) {
        let mut changed = good.clone();
        changed[position] ^= 1;
        let mut assembly = assembly();
        let taken = assembly.take(&changed, NOW, read);
        assert!(!matches!(taken, Ok(Taken::Whole)), "byte {position}");
    }
    let stranger = SnapshotKey::of(&[6; 32])
        .sign(HEAD, &head(7, &contents))
        .unwrap();
    let refused = assembly().take(&answer(&[stranger], []), NOW, read);
    assert!(
        matches!(refused, Err(Refused::Signed(SignedError::Stranger { .. }))),
        "{refused:?}"
    );
}

#[test]
fn a_part_that_cannot_be_used_leaves_what_is_held() {
    let mut assembly = holding(&snapshot(|_| {}));
    let next = snapshot(|s| s["data"] = json!({"a": 1}));
    let refused = assembly.take(&whole(&head(8, &next), &next), NOW, |_, name, _| {
        Err(format!("no {name}"))
    });
    assert!(refused.unwrap_err().to_string().starts_with("no data/"));
    assert!(assembly.staged().is_none());
    assert_eq!(assembly.held().unwrap().head.revision, 7);
}

#[test]
fn a_new_key_counts_once_the_one_before_has_introduced_it() {
    let contents = snapshot(|_| {});
    let (second, third) = (SnapshotKey::of(&[6; 32]), SnapshotKey::of(&[7; 32]));
    let introduce = |by: &SnapshotKey, next: &SnapshotKey| {
        let introduces = next.thumbprint().to_owned();
        by.sign(INTRODUCTION, &Introduction { introduces }).unwrap()
    };
    let head = head(8, &contents);
    let by_third = third.sign(HEAD, &head).unwrap();
    let (one, two) = (introduce(&key(), &second), introduce(&second, &third));
    for unintroduced in [
        vec![by_third.clone()],
        vec![two.clone(), by_third.clone()],
        vec![one.clone(), by_third.clone()],
    ] {
        let mut assembly = holding(&contents);
        let refused = assembly.take(&answer(&unintroduced, []), NOW, read);
        assert!(
            matches!(refused, Err(Refused::Signed(SignedError::Stranger { .. }))),
            "{refused:?}"
        );
        assert_eq!(assembly.trusted(), key().thumbprint());
    }
    let mut assembly = holding(&contents);
    let introduced = answer(&[one, two, by_third], []);
    assert_eq!(
        assembly.take(&introduced, NOW, read).unwrap(),
        Taken::Unchanged
    );
    assert_eq!(assembly.trusted(), third.thumbprint());
    // What follows without introductions vouches for itself to whoever begins where this one began.
    let later = third
        .sign(
            HEAD,
            &Head {
                iat: NOW + 1,
                ..head.clone()
            },
        )
        .unwrap();
    assembly.take(&answer(&[later], []), NOW, read).unwrap();
    let mut beginner = super::Assembly::<String>::new("edge", key().thumbprint());
    let held = assembly.held().unwrap().signed.clone();
    assert_eq!(
        beginner.take(held.as_bytes(), NOW, read).unwrap(),
        Taken::Some
    );
    assert_eq!(beginner.trusted(), third.thumbprint());
    // The one before is of no use any more.
    let by_first = answer(
        &[signed(&Head {
            revision: 9,
            ..head
        })],
        [],
    );
    assembly.take(&by_first, NOW, read).unwrap_err();
}
