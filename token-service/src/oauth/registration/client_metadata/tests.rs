use serde_json::json;

use super::*;

fn check(members: Value) -> Result<CheckedClient, MetadataError> {
    let Value::Object(members) = members else {
        panic!("an object")
    };
    CheckedClient::check(members, Source::Request)
}

fn with(changes: Value) -> Result<CheckedClient, MetadataError> {
    let mut members =
        json!({"redirect_uris": ["http://127.0.0.1/cb"], "token_endpoint_auth_method": "none"});
    let map = members.as_object_mut().unwrap();
    map.extend(changes.as_object().unwrap().clone());
    map.retain(|_, value| !value.is_null());
    check(members)
}

fn agent(checked: CheckedClient) -> Agent {
    let mut agent = Agent::new("a".parse().unwrap(), "", AuthMethod::None);
    checked.apply(&mut agent);
    agent
}

#[test]
fn what_is_left_out_has_the_default_of_rfc_7591() {
    let agent = agent(check(json!({"redirect_uris": ["https://app.test/cb"]})).unwrap());
    let said = serde_json::to_value(Registered::of(&agent)).unwrap();
    assert_eq!(said["token_endpoint_auth_method"], "client_secret_basic");
    assert_eq!(said["grant_types"], json!(["authorization_code"]));
    assert_eq!(said["response_types"], json!(["code"]));
    assert_eq!(said["application_type"], "web");
    assert_eq!(said["scope"], Value::Null);
}

#[test]
fn what_is_not_known_is_ignored() {
    let members =
        json!({"default_max_age": 60, "subject_type": "pairwise", "client_name#de": "Notizbuch"});
    assert!(with(members).is_ok());
}

#[test]
fn answers_of_web_applications_go_over_https() {
    let type_of = |given: Value, uri: &str| {
        with(json!({"application_type": given, "redirect_uris": [uri]}))
            .map(|c| agent(c).metadata.application_type)
    };
    assert_eq!(
        type_of(json!("native"), "com.example.app:/cb").unwrap(),
        ApplicationType::Native
    );
    assert_eq!(
        type_of(json!("native"), "https://app.test/cb").unwrap(),
        ApplicationType::Native
    );
    assert_eq!(
        type_of(Value::Null, "http://localhost:3000/cb").unwrap(),
        ApplicationType::Native
    );
    assert_eq!(
        type_of(Value::Null, "https://app.test/cb").unwrap(),
        ApplicationType::Web
    );
    for uri in ["http://127.0.0.1/cb", "com.example.app:/cb"] {
        let refused = type_of(json!("web"), uri);
        assert!(
            matches!(refused, Err(MetadataError::RedirectUri(_))),
            "{uri}"
        );
    }
    assert!(type_of(json!("desktop"), "https://app.test/cb").is_err());
}

#[test]
fn what_does_not_fit_together_is_refused() {
    for (changes, field) in [
        (json!({"grant_types": ["password"]}), "grant_types"),
        (json!({"grant_types": ["refresh_token"]}), "grant_types"),
        (json!({"grant_types": []}), "grant_types"),
        (
            json!({"grant_types": ["client_credentials"]}),
            "grant_types",
        ),
        (json!({"response_types": ["token"]}), "response_types"),
        (
            json!({"response_types": ["code", "id_token"]}),
            "response_types",
        ),
        (json!({"response_types": []}), "response_types"),
        (
            json!({"grant_types": ["client_credentials"], "token_endpoint_auth_method": "client_secret_basic", "response_types": ["code"]}),
            "response_types",
        ),
        (
            json!({"token_endpoint_auth_method": "tls_client_auth"}),
            "token_endpoint_auth_method",
        ),
        (
            json!({"token_endpoint_auth_method": "private_key_jwt"}),
            "jwks",
        ),
        (json!({"jwks_uri": "https://app.test/keys"}), "jwks"),
        (
            json!({"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://a.test/k", "jwks": {"keys": []}}),
            "jwks",
        ),
        (
            json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [{"kty": "oct", "k": "AA"}]}}),
            "jwks",
        ),
        (
            json!({"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "http://a.test/k"}),
            "jwks_uri",
        ),
        (json!({"logo_uri": "data:image/png,x"}), "logo_uri"),
        (json!({"tos_uri": "https://u:p@a.test"}), "tos_uri"),
        (json!({"policy_uri": "a"}), "policy_uri"),
        (json!({"client_name": "a\u{202e}b"}), "client_name"),
        (json!({"client_name": " "}), "client_name"),
        (json!({"client_name": "x".repeat(129)}), "client_name"),
        (json!({"contacts": vec!["a@b"; 17]}), "contacts"),
        (json!({"scope": "two  words"}), "scope"),
        (json!({"default_resource": "wiki"}), "default_resource"),
        (json!({"redirect_uris": "https://app.test/cb"}), "metadata"),
        (json!({"dpop_bound_access_tokens": "yes"}), "metadata"),
    ] {
        let error = with(changes.clone()).unwrap_err().to_string();
        assert!(error.starts_with(field), "{changes}: {error}");
    }
    let many = vec!["https://app.test/cb"; 17];
    let refused = with(json!({"redirect_uris": many}));
    assert!(matches!(refused, Err(MetadataError::RedirectUri(_))));
    let logout = with(json!({"post_logout_redirect_uris": ["http://evil.test/"]}));
    assert!(matches!(logout, Err(MetadataError::RedirectUri(_))));
}

#[test]
fn policies_get_redirect_uris_taken_apart() {
    let redirects = |uri: &str| {
        let all = Redirect::all(&Agent {
            redirect_uris: vec![RedirectUri::parse(uri).unwrap()],
            ..Agent::new("app".parse().unwrap(), "App", AuthMethod::None)
        });
        let one = all.into_iter().next().unwrap();
        (one.scheme, one.host, one.loopback)
    };
    let host = |name: &str| Some(name.to_owned());
    assert_eq!(
        redirects("https://app.test/cb"),
        ("https".into(), host("app.test"), false)
    );
    assert_eq!(
        redirects("http://[::1]:1/cb"),
        ("http".into(), host("[::1]"), true)
    );
    assert_eq!(redirects("com.app:/cb"), ("com.app".into(), None, false));
    assert_eq!(
        redirects("com.app://localhost/cb"),
        ("com.app".into(), host("localhost"), false)
    );
}
