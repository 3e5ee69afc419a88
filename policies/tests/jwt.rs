//! Signatures of tokens, on the filter's bytecode and in the interpreter alike: tokens, keys and certificates that another
//! implementation made (pyca/cryptography, `jwt.json`), an example of the standards, and the vectors of the Wycheproof project.
#![cfg(feature = "authoring")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use serde_json::{Value as Json, json};
use writ_policy::Value;
use writ_policy::authoring::check::check;
use writ_policy::authoring::testing::{Outcome, Suite};
use writ_policy::decision::{Decision, DenialCause};
use writ_policy::engine::{Data, Evaluator, Module, compile};

/// While the tokens of `jwt.json` are good.
const WHEN: i64 = 1_795_000_000;

fn fixture() -> Json {
    serde_json::from_str(include_str!("jwt.json")).unwrap()
}

fn module(text: String) -> Module {
    Module {
        path: "p.rego".to_owned(),
        text,
    }
}

fn decide(rule: &str, data: &Data, input: &str) -> Decision {
    let policy = format!("package writ\ncall := {{\"allow\": true}} if {{ {rule} }}\n");
    let program = compile(&[module(policy)]).unwrap();
    let mut evaluator = Evaluator::new(&program, data).unwrap();
    evaluator.call_with(Value::from_json_str(input).unwrap())
}

/// Whether a body holds, with `data`; both agree on it.
fn holds(rule: &str, data: &Json) -> bool {
    let data = Data::from_json(&data.to_string()).unwrap();
    let decision = decide(rule, &data, "{}");
    let decided = match &decision {
        Decision::Allow { .. } => true,
        Decision::Deny {
            cause: DenialCause::Undefined,
            ..
        } => false,
        Decision::Deny { reason, .. } => panic!("{rule}: {reason}"),
    };
    let tests = format!("package t\ntest_it if {{ {rule} }}\n");
    let mut suite = Suite::new(&[], &[module(tests)], &data, false).unwrap();
    let test = suite.tests()[0].clone();
    let interpreted = suite.run(&test);
    assert_eq!(
        interpreted == Outcome::Pass,
        decided,
        "{rule}: {interpreted:?}"
    );
    decided
}

/// `Some(verified)`; `None` where it has no answer.
fn verified(algorithm: &str, token: &str, key: &str) -> Option<bool> {
    let data = json!({"token": token, "key": key});
    let call = format!(
        "io.jwt.verify_{}(data.token, data.key)",
        algorithm.to_lowercase()
    );
    match (
        holds(&call, &data),
        holds(&format!("{call} == false"), &data),
    ) {
        (true, false) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
        (true, true) => panic!("{call} is both"),
    }
}

fn kind(algorithm: &str) -> &'static str {
    match algorithm {
        "ES256" => "EC",
        "EdDSA" => "OKP",
        _ => "RSA",
    }
}

#[test]
fn every_algorithm_takes_its_own_signatures_and_no_others() {
    let fixture = fixture();
    let tokens = fixture["tokens"].as_object().unwrap();
    assert_eq!(tokens.len(), 11);
    for (algorithm, token) in tokens {
        let token = token.as_str().unwrap();
        let tampered = token.replacen("eyJpc3MiO", "eyJpc3NiO", 1);
        assert_ne!(tampered, token);
        if algorithm.starts_with("HS") {
            let secret = fixture["secret"].as_str().unwrap();
            assert_eq!(
                verified(algorithm, token, secret),
                Some(true),
                "{algorithm}"
            );
            assert_eq!(verified(algorithm, token, "another"), Some(false));
            assert_eq!(verified(algorithm, &tampered, secret), Some(false));
            continue;
        }
        let keys = fixture["keys"][kind(algorithm)].as_object().unwrap();
        for (form, key) in keys {
            let key = key.as_str().unwrap();
            assert_eq!(
                verified(algorithm, token, key),
                Some(true),
                "{algorithm} {form}"
            );
            assert_eq!(verified(algorithm, &tampered, key), Some(false));
            // The public key is no secret (RFC 8725 section 2.1), and another algorithm is another token.
            assert_eq!(verified("HS256", token, key), Some(false));
            for other in tokens
                .keys()
                .filter(|other| *other != algorithm && !other.starts_with("HS"))
            {
                assert_eq!(
                    verified(other, token, key),
                    Some(false),
                    "{algorithm} {other}"
                );
            }
        }
        let other = if kind(algorithm) == "RSA" {
            "EC"
        } else {
            "RSA"
        };
        let other = fixture["keys"][other]["jwk"].as_str().unwrap();
        assert_eq!(
            verified(algorithm, token, other),
            Some(false),
            "{algorithm}"
        );
    }
}

#[test]
fn of_a_set_the_key_counts_that_the_token_names() {
    let fixture = fixture();
    let key = |text: &Json, id: Option<&str>, algorithm: Option<&str>| {
        let mut key: Json = serde_json::from_str(text.as_str().unwrap()).unwrap();
        if let Some(id) = id {
            key["kid"] = id.into();
        }
        if let Some(algorithm) = algorithm {
            key["alg"] = algorithm.into();
        }
        key
    };
    let (right, wrong) = (&fixture["keys"]["RSA"]["jwk"], &fixture["other_rsa"]);
    let p384 = key(&fixture["p384"], Some("two"), None);
    let named = fixture["kid"].as_str().unwrap();
    let unnamed = fixture["tokens"]["RS256"].as_str().unwrap();
    for (token, keys, expected) in [
        (
            named,
            vec![key(wrong, Some("one"), None), key(right, Some("two"), None)],
            true,
        ),
        (
            named,
            vec![key(right, Some("one"), None), key(wrong, Some("two"), None)],
            false,
        ),
        // No key of that name: any.
        (
            named,
            vec![key(wrong, Some("one"), None), key(right, None, None)],
            true,
        ),
        (
            unnamed,
            vec![key(wrong, Some("one"), None), key(right, Some("two"), None)],
            true,
        ),
        (unnamed, vec![key(right, None, Some("RS256"))], true),
        (unnamed, vec![key(right, None, Some("PS256"))], false),
        // Of a kind that is not known.
        (named, vec![p384, key(right, Some("one"), None)], false),
        (
            unnamed,
            vec![json!({"kty": "AKP"}), key(right, None, None)],
            true,
        ),
        (unnamed, vec![], false),
    ] {
        let set = json!({"keys": keys}).to_string();
        assert_eq!(verified("RS256", token, &set), Some(expected), "{set}");
    }
}

#[test]
fn what_is_no_key_or_no_token_has_no_answer() {
    let fixture = fixture();
    let token = fixture["tokens"]["RS256"].as_str().unwrap();
    let pem = fixture["keys"]["RSA"]["pem"].as_str().unwrap();
    let certificate = fixture["keys"]["RSA"]["certificate"].as_str().unwrap();
    let short = fixture["short_rsa"].as_str().unwrap();
    for key in [
        "",
        "no key",
        "{}",
        r#"{"keys": {}}"#,
        r#"{"kty": "RSA"}"#,
        r#"{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}"#,
        r#"{"kty": "OKP", "crv": "Ed25519", "x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}"#,
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        &pem.replace("PUBLIC KEY", "PRIVATE KEY"),
        &format!("{pem}{pem}"),
        &certificate[..certificate.len() / 2],
        short,
    ] {
        assert_eq!(verified("RS256", token, key), None, "{key}");
    }
    for token in ["", "a.b", "a.b.c", "e30.e30", "W10.e30.AA"] {
        assert_eq!(verified("RS256", token, pem), None, "{token}");
    }
    // A private key is no public key, and a certificate cut anywhere is none: nothing panics.
    let mut private: Json =
        serde_json::from_str(fixture["keys"]["RSA"]["jwk"].as_str().unwrap()).unwrap();
    private["d"] = "AA".into();
    assert_eq!(verified("RS256", token, &private.to_string()), Some(false));
}

#[test]
fn the_example_of_the_standard_is_signed() {
    // RFC 8037, appendices A.2 to A.4.
    let key = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let input = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature =
        "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert_eq!(
        verified("EdDSA", &format!("{input}.{signature}"), key),
        Some(true)
    );
}

/// What `io.jwt.decode_verify` says of a token under constraints: whether it is good; `None` where it has no answer.
fn good(token: &Json, constraints: Json) -> Option<bool> {
    let data = json!({"token": token, "constraints": constraints});
    let call = "io.jwt.decode_verify(data.token, data.constraints)";
    let valid = holds(
        &format!("[good, header, claims] := {call}; good; header.alg; claims.sub == \"alice\""),
        &data,
    );
    let invalid = holds(&format!("{call} == [false, {{}}, {{}}]"), &data);
    assert!(!(valid && invalid));
    (valid || invalid).then_some(valid)
}

#[test]
fn a_token_is_good_when_it_meets_every_constraint() {
    let fixture = fixture();
    let rsa = &fixture["keys"]["RSA"]["jwk"];
    let now = |seconds: i64| json!(seconds * 1_000_000_000);
    let with = |changes: Json| {
        let mut all =
            json!({"cert": rsa, "aud": "ledger", "iss": "https://idp.example", "time": now(WHEN)});
        for (name, value) in changes.as_object().unwrap() {
            match value {
                Json::Null => drop(all.as_object_mut().unwrap().remove(name)),
                value => all[name] = value.clone(),
            }
        }
        all
    };
    let token = &fixture["tokens"]["RS256"];
    for (changes, expected) in [
        (json!({}), Some(true)),
        (json!({"alg": "RS256"}), Some(true)),
        (json!({"alg": "PS256"}), Some(false)),
        (json!({"iss": "https://other.example"}), Some(false)),
        (json!({"iss": null}), Some(true)),
        (json!({"aud": "crm"}), Some(true)),
        (json!({"aud": "payroll"}), Some(false)),
        // A token for somebody is for nobody where no audience is wanted.
        (json!({"aud": null}), Some(false)),
        // It ends with this second, and begins with that.
        (json!({"time": now(1_800_000_000)}), Some(false)),
        (json!({"time": now(1_799_999_999)}), Some(true)),
        (json!({"time": now(1_790_000_000)}), Some(true)),
        (json!({"time": now(1_789_999_999)}), Some(false)),
        (json!({"cert": fixture["other_rsa"]}), Some(false)),
        (
            json!({"cert": null, "secret": fixture["secret"]}),
            Some(false),
        ),
        (json!({"secret": "both"}), None),
        (json!({"cert": null}), None),
        (json!({"cert": "no key"}), None),
        (json!({"time": -1}), None),
        (json!({"time": "now"}), None),
        (json!({"iss": 7}), None),
        (json!({"issuer": "x"}), None),
    ] {
        assert_eq!(good(token, with(changes.clone())), expected, "{changes}");
    }
    for (name, expected) in [
        ("HS256", true),
        ("HS384", true),
        ("HS512", true),
        ("RS256", false),
    ] {
        let constraints = with(json!({"cert": null, "secret": fixture["secret"]}));
        assert_eq!(
            good(&fixture["tokens"][name], constraints),
            Some(expected),
            "{name}"
        );
    }
    for (name, expected) in [
        ("RS512", true),
        ("PS384", true),
        ("ES256", false),
        ("HS256", false),
    ] {
        assert_eq!(
            good(&fixture["tokens"][name], with(json!({}))),
            Some(expected),
            "{name}"
        );
    }
    for (kind, name) in [("EC", "ES256"), ("OKP", "EdDSA")] {
        let constraints = with(json!({"cert": fixture["keys"][kind]["certificate"]}));
        assert_eq!(
            good(&fixture["tokens"][name], constraints),
            Some(true),
            "{name}"
        );
    }
    for (name, changes, expected) in [
        ("unbound", json!({"aud": null, "iss": null}), Some(true)),
        ("unbound", json!({"iss": null}), Some(false)),
        ("unbound", json!({"aud": null}), Some(false)),
        ("text", json!({"aud": null, "iss": null}), None),
        ("crit", json!({}), Some(false)),
        ("nested_by_key", json!({}), Some(true)),
        ("nested", json!({}), Some(false)),
        ("es384", json!({"cert": fixture["p384"]}), Some(false)),
    ] {
        assert_eq!(good(&fixture[name], with(changes)), expected, "{name}");
    }
}

#[test]
fn without_a_time_it_is_that_of_the_request() {
    let fixture = fixture();
    let data = json!({"token": fixture["tokens"]["RS256"], "key": fixture["keys"]["RSA"]["jwk"]});
    let data = Data::from_json(&data.to_string()).unwrap();
    let rule =
        r#"[true, _, _] = io.jwt.decode_verify(data.token, {"cert": data.key, "aud": "crm"})"#;
    let at = |time: &str| decide(rule, &data, &json!({"request": {"time": time}}).to_string());
    assert!(matches!(at("2026-11-23T10:00:00Z"), Decision::Allow { .. }));
    assert!(matches!(at("2027-11-23T10:00:00Z"), Decision::Deny { .. }));
    assert!(matches!(at("2026-01-23T10:00:00Z"), Decision::Deny { .. }));
    assert!(matches!(decide(rule, &data, "{}"), Decision::Deny { .. }));
}

#[test]
fn a_decision_checks_so_many_signatures_and_no_more() {
    let fixture = fixture();
    let (token, key) = (&fixture["tokens"]["EdDSA"], &fixture["keys"]["OKP"]["jwk"]);
    let ask = |count: u64, keys: usize| {
        let key: Json = serde_json::from_str(key.as_str().unwrap()).unwrap();
        let other = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
        let mut set = vec![other; keys - 1];
        set.push(key);
        let data = json!({"token": token, "key": json!({"keys": set}).to_string()});
        let data = Data::from_json(&data.to_string()).unwrap();
        let rule = format!(
            "every n in numbers.range(1, {count}) {{ n > 0; io.jwt.verify_eddsa(data.token, data.key) }}"
        );
        decide(&rule, &data, "{}")
    };
    assert!(matches!(ask(16, 1), Decision::Allow { .. }));
    assert!(matches!(ask(1, 16), Decision::Allow { .. }));
    for (count, keys) in [(17, 1), (1, 17), (9, 2)] {
        let Decision::Deny {
            cause: DenialCause::Limit,
            reason,
            ..
        } = ask(count, keys)
        else {
            panic!("{count} times {keys} are not refused");
        };
        assert!(reason.contains("more than 16 signatures"), "{reason}");
    }
}

#[test]
fn what_the_filter_lacks_of_it_is_named_with_its_place() {
    let policy = "package writ\n\nvisible := {\"allow\": true}\n\ncall := {\"allow\": true} if io.jwt.verify_es384(input.x, data.key)\n";
    let findings = check(
        &[module(policy.to_owned())],
        &[],
        &Data::from_json("{}").unwrap(),
    );
    let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        told.len() == 1
            && told[0].contains("p.rego:5:28")
            && told[0].contains("io.jwt.verify_es384"),
        "{told:?}"
    );
}

#[test]
fn the_vectors_of_wycheproof_are_told_apart() {
    let Some(folder) = std::env::var_os("WRIT_WYCHEPROOF") else {
        #[allow(
            clippy::print_stderr,
            reason = "whoever reads the tests' output has to know"
        )]
        {
            eprintln!(
                "did not run: WRIT_WYCHEPROOF does not name the folder of the Wycheproof vectors"
            );
        }
        return;
    };
    let text =
        std::fs::read_to_string(Path::new(&folder).join("json_web_signature_test.json")).unwrap();
    let document: Json = serde_json::from_str(&text).unwrap();
    let (mut good, mut bad) = (0, 0);
    for group in document["testGroups"].as_array().unwrap() {
        let jwk = &group["public"];
        let (Some(algorithm), Some(_)) = (jwk["alg"].as_str(), jwk["kty"].as_str()) else {
            continue;
        };
        if algorithm == "ES521" {
            continue;
        }
        for test in group["tests"].as_array().unwrap() {
            let Some(token) = test["jws"].as_str() else {
                continue;
            };
            // One comes with a key for another algorithm than its own, which is nothing to go by.
            let named = format!(
                "json.unmarshal(base64url.decode(split(data.token, \".\")[0])).alg == \"{algorithm}\""
            );
            let valid = test["result"] == "valid" && holds(&named, &json!({"token": token}));
            let verified = verified(algorithm, token, &jwk.to_string());
            assert_eq!(
                verified == Some(true),
                valid,
                "{} {}",
                test["tcId"],
                test["comment"]
            );
            if valid { good += 1 } else { bad += 1 }
        }
    }
    assert!(good > 10 && bad > 250, "{good} good and {bad} bad ones");
}
