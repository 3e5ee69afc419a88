//! A person before headless Chromium: sign-in and consent by keyboard alone, with JavaScript off, and what a screen
//! reader is told.

use serde_json::{Value, json};
use url::Url;
use writ_tests::clients::Script;
use writ_tests::oauth::Browser;
use writ_tests::registrations::{ASSISTANT, PASSWORD, REDIRECT_URI, Registrations, SCOPES, USER};
use writ_tests::scratch::Scratch;
use writ_tests::token_service::{Options, TokenService};
use writ_tests::tools;

const RESOURCE: &str = "http://127.0.0.1:1/mcp";
/// The `code_challenge` of RFC 7636 appendix B.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn authorization_request(issuer: &str) -> Url {
    let query = [
        ("response_type", "code"),
        ("client_id", ASSISTANT),
        ("redirect_uri", REDIRECT_URI),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("state", "the-state"),
        ("resource", RESOURCE),
        ("scope", SCOPES),
    ];
    Url::parse_with_params(&format!("{issuer}/oauth/authorize"), query).unwrap()
}

async fn signed_in(scratch: &Scratch, service: &TokenService) -> Value {
    let screenshots = scratch.path().join("screenshots");
    std::fs::create_dir_all(&screenshots).unwrap();
    let told = json!({
        "chromium": tools::chromium().unwrap(),
        "profile": scratch.path().join("profile"),
        "screenshots": screenshots,
        "start": authorization_request(&service.issuer()),
        "redirect_uri": REDIRECT_URI,
        "username": USER,
        "password": PASSWORD,
    });
    let mut nobody = Browser::of("", "").unwrap();
    let script = Script::node("browser.mjs", &told).await.unwrap();
    script.outcome(&mut nobody).await.unwrap()
}

fn page<'a>(seen: &'a Value, name: &str) -> &'a Value {
    let pages = seen["pages"].as_array().unwrap();
    pages.iter().find(|page| page["name"] == name).unwrap()
}

fn assert_has(page: &Value, wanted: &[&str]) {
    let aria = page["aria"].as_str().unwrap();
    for line in wanted {
        assert!(aria.contains(line), "no {line:?} in\n{aria}");
    }
}

#[tokio::test]
async fn a_person_signs_in_and_consents_by_keyboard_without_javascript() {
    let scratch = Scratch::new("browser").unwrap();
    let mut service = TokenService::prepare(&scratch, Options::default()).unwrap();
    Registrations::make(&service, &scratch, RESOURCE).unwrap();
    service.serve().await.unwrap();

    let seen = signed_in(&scratch, &service).await;

    let landed = Url::parse(seen["landed"].as_str().unwrap()).unwrap();
    let answer: Vec<(String, String)> = landed.query_pairs().into_owned().collect();
    assert!(answer.contains(&("state".to_owned(), "the-state".to_owned())));
    assert!(answer.contains(&("iss".to_owned(), service.issuer())));
    assert!(
        answer
            .iter()
            .any(|(name, code)| name == "code" && !code.is_empty())
    );

    for page in seen["pages"].as_array().unwrap() {
        assert_eq!(page["lang"], "en", "{page}");
        assert_has(page, &["- main", "- heading"]);
    }
    let sign_in = page(&seen, "sign-in");
    assert!(sign_in["title"].as_str().unwrap().starts_with("Sign in"));
    assert_has(
        sign_in,
        &[
            "heading \"Sign in\" [level=1]",
            "textbox \"User name\"",
            "textbox \"Password\"",
            "button \"Sign in\"",
        ],
    );
    let refused = page(&seen, "sign-in-refused");
    assert_has(refused, &["- alert"]);
    assert!(
        refused["focus"].as_str().unwrap().contains("Password"),
        "after a wrong password the focus is where to try again: {refused}"
    );
    let consent = page(&seen, "consent");
    assert!(consent["title"].as_str().unwrap().contains("Assistant"));
    assert_has(
        consent,
        &[
            "heading \"Allow Assistant?\" [level=1]",
            "localhost",
            RESOURCE,
            "ledger:read",
            "button \"Allow\"",
            "button \"Cancel\"",
        ],
    );
}
