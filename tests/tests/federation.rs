//! People sign in at the identity provider of their organisation: two certified ones at once, as processes of their own.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use writ_tests::idp::{CLIENT_SECRET, Idp};
use writ_tests::oauth::{Browser, SignIn, Step};
use writ_tests::ports;
use writ_tests::registrations::{ASSISTANT, PASSWORD, REDIRECT_URI, Registrations, SCOPES, USER};
use writ_tests::scratch::Scratch;
use writ_tests::token_service::{Options, TokenService};

const RESOURCE: &str = "http://127.0.0.1:1/mcp";

struct Company {
    service: TokenService,
    a: Idp,
    b: Idp,
    scratch: Scratch,
}

impl Company {
    /// Providers `a` and `b`, both of which know an alice, with more lines in the configuration of each.
    async fn start(name: &str, more: [&str; 2]) -> Self {
        let scratch = Scratch::new(name).unwrap();
        let port = ports::free().unwrap();
        let issuer = format!("http://127.0.0.1:{port}");
        let accounts = json!({
            "alice": { "preferred_username": "alice", "name": "Alice", "groups": ["staff", "eng-all"],
                       "email": "alice@a.example", "email_verified": true },
            "alice@b.example": { "preferred_username": "alice@b.example", "groups": ["staff"] },
        });
        let a = Idp::start(&scratch, "a", &issuer, accounts.clone())
            .await
            .unwrap();
        let b = Idp::start(&scratch, "b", &issuer, accounts).await.unwrap();
        let options = Options {
            config: Some(format!("{}{}", a.entry(more[0]), b.entry(more[1]))),
            env: vec![("IDP_SECRET".to_owned(), CLIENT_SECRET.to_owned())],
            public_port: Some(port),
            ..Options::default()
        };
        let mut service = TokenService::prepare(&scratch, options).unwrap();
        Registrations::make(&service, &scratch, RESOURCE).unwrap();
        service.serve().await.unwrap();
        Self {
            service,
            a,
            b,
            scratch,
        }
    }

    /// The claims of the token that the assistant gets for whoever sits before this browser.
    async fn sign_in(&self, browser: &mut Browser) -> Value {
        let issuer = self.service.issuer();
        let sign_in = SignIn {
            issuer: &issuer,
            client_id: ASSISTANT,
            client: None,
            redirect_uri: REDIRECT_URI,
            resource: RESOURCE,
            scope: SCOPES,
            username: "",
            password: "",
        };
        let token = sign_in.token_in(browser).await.unwrap();
        let payload = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    }

    fn records(&self, kind: &str) -> Vec<Value> {
        let mut records = self.service.audit().unwrap();
        records.retain(|record| record["kind"] == kind);
        records
    }
}

fn alice_at(provider: &str) -> Browser {
    Browser::of("alice", "any").unwrap().choosing(provider)
}

#[tokio::test]
async fn people_of_two_providers_are_two_people_whatever_they_are_called() {
    let groups = "[federation.provider.groups]\nmap = { \"eng-all\" = \"engineering\" }";
    let company = Company::start("federation-two", [groups, ""]).await;
    let at_a = company.sign_in(&mut alice_at("a")).await;
    let at_b = company.sign_in(&mut alice_at("b")).await;
    assert_eq!(
        (&at_a["sub"], &at_b["sub"]),
        (&json!("alice@a"), &json!("alice@b"))
    );
    assert_eq!(at_a["groups"], json!(["a:staff", "engineering"]));
    assert_eq!(at_b["groups"], json!(["b:eng-all", "b:staff"]));
    assert_eq!(
        company.sign_in(&mut alice_at("a")).await["sub"],
        "alice@a",
        "and the same the next time"
    );

    let users = company.service.cli(&["user", "list"]).unwrap();
    let from = |name: &str| users.iter().find(|u| u["name"] == name).unwrap()["providers"].clone();
    assert_eq!(
        (from("alice@a"), from("alice@b"), from(USER)),
        (json!(["a"]), json!(["b"]), json!([]))
    );
}

#[tokio::test]
async fn the_application_never_sees_which_provider_it_was() {
    let company = Company::start("federation-seen", ["", ""]).await;
    let mut browser = alice_at("a");
    company.sign_in(&mut browser).await;
    let headings: Vec<&str> = browser
        .seen()
        .iter()
        .filter_map(|step| match step {
            Step::Page { heading, .. } => Some(heading.as_str()),
            Step::Redirect(_) => None,
        })
        .collect();
    assert_eq!(headings.first(), Some(&"Sign in"), "{headings:?}");
    assert!(
        headings.last().unwrap().starts_with("Allow Assistant"),
        "{headings:?}"
    );
    let steps = browser.seen().len();
    company.sign_in(&mut browser).await;
    assert_eq!(
        browser.seen().len() - steps,
        1,
        "the session lasts: only the consent is asked for"
    );
}

#[tokio::test]
async fn a_provider_with_new_keys_is_believed() {
    let mut company = Company::start("federation-keys", ["", ""]).await;
    company.sign_in(&mut alice_at("a")).await;
    let scratch = &company.scratch;
    company.a.restart(scratch).await.unwrap();
    assert_eq!(company.sign_in(&mut alice_at("a")).await["sub"], "alice@a");
}

#[tokio::test]
async fn an_address_leads_to_its_provider() {
    let domains = [
        "email_domains = [\"a.example\"]",
        "email_domains = [\"b.example\"]",
    ];
    let company = Company::start("federation-email", domains).await;
    let claims = company
        .sign_in(&mut Browser::of("alice@b.example", "any").unwrap())
        .await;
    assert_eq!(
        claims["sub"], "alice@b.example",
        "a name of the provider's own domain stays as it is"
    );
    let record = company.records("sign_in").pop().unwrap();
    assert_eq!(record["detail"]["provider"], "b");
}

#[tokio::test]
async fn who_signs_out_at_the_provider_is_signed_out_here() {
    let company = Company::start("federation-backchannel", ["", ""]).await;
    let mut browser = alice_at("a");
    company.sign_in(&mut browser).await;
    let left = browser
        .visit(&format!("{}/session/end", company.a.url()))
        .await
        .unwrap();
    browser.say_yes(left).await.unwrap();
    let record = company
        .records("sign_out")
        .pop()
        .expect("the provider has said so");
    assert_eq!(record["subject"], "alice@a");
    assert_eq!(record["detail"]["provider"], "a");
    let steps = browser.seen().len();
    company.sign_in(&mut browser).await;
    assert!(browser.seen().len() - steps > 1, "the sign-in begins anew");
}

#[tokio::test]
async fn who_signs_out_here_is_signed_out_at_the_provider() {
    let company = Company::start("federation-logout", ["", ""]).await;
    let mut browser = alice_at("a");
    company.sign_in(&mut browser).await;
    let page = browser
        .visit(&format!("{}/oauth/logout", company.service.issuer()))
        .await
        .unwrap();
    let forward = browser.say_yes(page).await.unwrap();
    let at_the_provider = browser.say_yes(forward).await.unwrap();
    assert!(at_the_provider.url().as_str().starts_with(&company.a.url()));
    let mut back = browser.say_yes(at_the_provider).await.unwrap();
    while back.status().is_redirection() {
        back = browser.follow(&back).await.unwrap();
    }
    assert!(back.url().as_str().starts_with(&company.service.issuer()));
    assert!(back.text().await.unwrap().contains("You are signed out"));
}

#[tokio::test]
async fn with_the_provider_down_the_other_and_the_local_directory_still_let_people_in() {
    let mut company = Company::start("federation-down", ["", ""]).await;
    company.a.stop();
    let issuer = company.service.issuer();
    let answer = reqwest::get(format!("{issuer}/oauth/sign-in/a?client_id={ASSISTANT}"))
        .await
        .unwrap();
    assert_eq!(answer.status(), 503);
    let page = answer.text().await.unwrap();
    assert!(
        page.contains("Example A is out of reach") && page.contains("sign_in=local"),
        "{page}"
    );
    assert_eq!(company.sign_in(&mut alice_at("b")).await["sub"], "alice@b");
    let mut local = Browser::of(USER, PASSWORD).unwrap().choosing("local");
    assert_eq!(company.sign_in(&mut local).await["sub"], USER);
    let record = company.records("sign_in").pop().unwrap();
    assert_eq!(record["detail"]["local_directory"], "break_glass");
}

#[tokio::test]
async fn an_administrator_ties_a_name_to_a_person_beforehand_and_takes_a_provider_out() {
    let company = Company::start("federation-admin", ["", ""]).await;
    let add = [
        "user",
        "add",
        "chief",
        "--provider",
        "a",
        "--subject",
        "alice",
    ];
    company.service.cli(&add).unwrap();
    assert_eq!(company.sign_in(&mut alice_at("a")).await["sub"], "chief");
    assert!(company.service.cli(&add).is_err(), "a person is one user");
    company.service.cli(&["provider", "disable", "a"]).unwrap();
    let listed = company.service.cli(&["provider", "list"]).unwrap();
    assert_eq!(listed[0]["status"], "disabled");
    let users = company.service.cli(&["user", "list"]).unwrap();
    assert_eq!(
        users.iter().find(|u| u["name"] == "chief").unwrap()["status"],
        "disabled"
    );
    assert_eq!(company.sign_in(&mut alice_at("b")).await["sub"], "alice@b");
    drop(company.b);
}
