use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// RFC 8037 appendix A.3.
const KEY: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

fn read(json: &str) -> Result<Config, ConfigError> {
    Config::read(json.as_bytes(), |name| {
        (name == "SECRET").then(|| format!("s3:cret.{KEY}"))
    })
}

fn gateway(change: (&str, &str)) -> String {
    r#"{"mode":"gateway","token_service":{"cluster":"writ","gateway_id":"edge","secret_env":"SECRET","timeout":"500ms"},
        "limits":{"body":"64KiB"},"clock_skew":"3s","policy_headers":["X-Team"]}"#
        .replace(change.0, change.1)
}

#[test]
fn a_gateway_is_configured() {
    let config = read(&gateway(("", ""))).unwrap();
    assert_eq!((config.max_body, config.skew_s), (65536, 3));
    assert_eq!(config.policy_headers, ["x-team"]);
    let Mode::Gateway(service) = config.mode else {
        panic!("not a gateway")
    };
    assert_eq!(service.timeout, Duration::from_millis(500));
    // RFC 6749 section 2.3.1: each part is form-encoded before RFC 7617 joins them.
    let credential = format!("edge:s3%3Acret.{KEY}");
    assert_eq!(
        service.credential,
        format!("Basic {}", STANDARD.encode(credential))
    );
    assert_eq!(service.snapshot_key, KEY);
}

#[test]
fn who_signs_snapshots_is_in_the_secret_or_named() {
    let named = |secret: &'static str, key: &str| {
        let json = gateway((
            "\"timeout\"",
            &format!("\"snapshot_key\":\"{key}\",\"timeout\""),
        ));
        Config::read(json.as_bytes(), |_| Some(secret.to_owned()))
    };
    let config = named("old", KEY).unwrap();
    assert_eq!(config.mode.service().unwrap().snapshot_key, KEY);
    for (secret, key) in [("old", "short"), ("old", "")] {
        let message = named(secret, key).unwrap_err().to_string();
        assert!(
            message.contains("`token_service.snapshot_key`"),
            "{message}"
        );
    }
    let none = Config::read(gateway(("", "")).as_bytes(), |_| {
        Some("old.secret".to_owned())
    });
    assert!(
        none.unwrap_err()
            .to_string()
            .contains("`token_service.snapshot_key`")
    );
}

#[test]
fn what_is_wrong_names_its_field() {
    for (change, field, says) in [
        (
            ("\"clock_skew\"", "\"clock_slew\""),
            "clock_slew",
            "unknown field",
        ),
        (
            ("\"cluster\":\"writ\"", "\"cluster\":1"),
            "token_service.cluster",
            "expected a string",
        ),
        (
            ("\"cluster\":\"writ\"", "\"cluster\":\"\""),
            "token_service.cluster",
            "Envoy cluster",
        ),
        (("\"500ms\"", "\"500\""), "token_service.timeout", "500ms"),
        (
            ("\"500ms\"", "\"1h\""),
            "token_service.timeout",
            "10ms to 1m",
        ),
        (("\"64KiB\"", "\"1GiB\""), "limits.body", "KiB"),
        (("\"64KiB\"", "\"64MiB\""), "limits.body", "16MiB"),
        (("\"3s\"", "\"15m\""), "clock_skew", "at most 1m"),
        (
            ("\"SECRET\"", "\"MISSING\""),
            "token_service.secret_env",
            "MISSING",
        ),
        (("X-Team", "Cookie"), "policy_headers", "credential"),
        (("\"gateway\"", "\"proxy\""), "mode", "unknown variant"),
        (("\"mode\":\"gateway\",", ""), ".", "missing field `mode`"),
        (
            ("\"gateway_id\":\"edge\",", ""),
            "token_service",
            "missing field `gateway_id`",
        ),
    ] {
        let message = read(&gateway(change)).expect_err(change.1).to_string();
        assert!(
            message.contains(&format!("`{field}`")) && message.contains(says),
            "{change:?}: {message}"
        );
        assert!(!message.contains("s3:cret"));
    }
}

#[test]
fn static_mode_is_checked_too() {
    let json = |resource: &str, jwks: &str, token: &str| {
        format!(
            r#"{{"mode":"static","servers":{{"ledger":{{"path":"/mcp","resource":"{resource}"}}}},
            "issuers":{{"https://i.example":{{"jwks":{jwks}}}}},
            "policy":{{"rego":"package writ"}},"caller_token":"{token}"}}"#
        )
    };
    let jwks = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
    let good = json("https://ledger.example/mcp", jwks, "strip");
    let lines = good.replace("\"package writ\"", r#"["package writ", "call := {}"]"#);
    for (json, rego) in [(good, "package writ"), (lines, "package writ\ncall := {}")] {
        let Mode::Static(config) = read(&json).unwrap().mode else {
            panic!("not static")
        };
        assert_eq!(config.rego, rego);
    }
    for (json, field) in [
        (json("ledger", jwks, "strip"), "servers.ledger.resource"),
        (
            json("https://ledger.example/mcp", "{}", "strip"),
            "issuers.https://i.example.jwks",
        ),
        (
            json("https://ledger.example/mcp", jwks, "forward"),
            "caller_token",
        ),
    ] {
        let message = read(&json).unwrap_err().to_string();
        assert!(message.contains(field), "{message}");
    }
}

fn guard(change: (&str, &str)) -> Result<Config, ConfigError> {
    let json = r#"{"mode":"guard","server":"ledger","token_service":{"cluster":"writ","gateway_id":"door","snapshot_key":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
        "single_use":"local","local":{"entries":4096},"signature":"jwt_authn","jwt_authn":{"payload_in_metadata":"writ"},
        "upstream_token":"strip","limits":{"body":"64KiB"},"clock_skew":"1s"}"#;
    read(&json.replace(change.0, change.1))
}

#[test]
fn a_guard_is_configured() {
    let config = guard(("", "")).unwrap();
    assert_eq!((config.max_body, config.skew_s), (65536, 1));
    let Mode::Guard(found) = config.mode else {
        panic!("not a guard")
    };
    assert_eq!(found.server, "ledger");
    assert_eq!(found.service.cluster, "writ");
    assert_eq!(found.single_use, SingleUse::Local { entries: 4096 });
    assert_eq!(found.signature, Signature::JwtAuthn("writ".to_owned()));
    assert_eq!(found.upstream_token, UpstreamToken::Strip);

    let least = r#"{"mode":"guard","server":"ledger","token_service":{"cluster":"writ","gateway_id":"door","snapshot_key":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"}}"#;
    let Mode::Guard(found) = read(least).unwrap().mode else {
        panic!("not a guard")
    };
    assert_eq!(found.single_use, SingleUse::Global);
    assert_eq!(found.signature, Signature::Here);
    assert_eq!(found.upstream_token, UpstreamToken::Forward);
}

#[test]
fn what_is_wrong_with_a_guard_names_its_field() {
    for (change, field) in [
        (("\"server\":\"ledger\"", "\"server\":\"\""), "server"),
        (("\"server\":\"ledger\",", ""), "."),
        (
            ("\"cluster\":\"writ\"", "\"cluster\":\"\""),
            "token_service.cluster",
        ),
        (("\"local\",", "\"regional\","), "single_use"),
        (("\"local\",", "\"global\","), "local"),
        (("4096", "255"), "local.entries"),
        (("4096", "1048577"), "local.entries"),
        (("4096", "-1"), "local.entries"),
        (
            ("\"signature\":\"jwt_authn\"", "\"signature\":\"here\""),
            "jwt_authn",
        ),
        (
            ("\"signature\":\"jwt_authn\"", "\"signature\":\"nobody\""),
            "signature",
        ),
        (
            (
                "\"payload_in_metadata\":\"writ\"",
                "\"payload_in_metadata\":\"\"",
            ),
            "jwt_authn.payload_in_metadata",
        ),
        (
            (",\"jwt_authn\":{\"payload_in_metadata\":\"writ\"}", ""),
            "jwt_authn.payload_in_metadata",
        ),
        (("\"strip\"", "\"keep\""), "upstream_token"),
        (("\"body\"", "\"list\""), "limits.list"),
        (("\"1s\"", "\"2m\""), "clock_skew"),
        (("\"clock_skew\"", "\"policy_headers\""), "policy_headers"),
    ] {
        let message = guard(change).expect_err(change.1).to_string();
        assert!(
            message.contains(&format!("`{field}`")),
            "{change:?}: {message}"
        );
    }
}

#[test]
fn an_egress_is_configured() {
    let json = |more: &str| {
        format!(
            r#"{{"mode":"egress","token_service":{{"cluster":"writ","gateway_id":"out","secret_env":"SECRET"}}{more}}}"#
        )
    };
    for (more, unknown) in [
        ("", Unknown::Record),
        (r#","unknown":"refuse""#, Unknown::Refuse),
    ] {
        let Mode::Egress(found) = read(&json(more)).unwrap().mode else {
            panic!("not an egress")
        };
        assert_eq!(
            (found.unknown, &*found.service.gateway_id),
            (unknown, "out")
        );
    }
    for (more, field) in [
        (r#","unknown":"block""#, "unknown"),
        (r#","server":"ledger""#, "server"),
    ] {
        let message = read(&json(more)).unwrap_err().to_string();
        assert!(message.contains(&format!("`{field}`")), "{message}");
    }
}
