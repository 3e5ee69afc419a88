use super::*;

fn read(json: &str) -> Result<Config, ConfigError> {
    Config::read(json.as_bytes(), |name| {
        (name == "SECRET").then(|| "s3:cret".to_owned())
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
    assert_eq!(service.credential, "Basic ZWRnZTpzMyUzQWNyZXQ=");
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
