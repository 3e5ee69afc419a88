//! A browser with cookies that fills in forms, and follows no redirect unseen.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Client, Response, redirect::Policy};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::issuer::{Issuer, PASSWORD, PUBLIC, RESOURCE, USER};

pub(crate) const VERIFIER: &str = "a-verifier-of-more-than-forty-three-characters-0123456789";
pub(crate) const REDIRECT: &str = "http://127.0.0.1:49152/callback";

/// What an authorization request says, to be changed by a test.
#[derive(Clone)]
pub(crate) struct Request(BTreeMap<&'static str, String>);

impl Request {
    pub(crate) fn new() -> Self {
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
        Self(BTreeMap::new())
            .with("response_type", "code")
            .with("client_id", PUBLIC)
            .with("redirect_uri", REDIRECT)
            .with("resource", RESOURCE)
            .with("scope", "accounts:read")
            .with("state", "st&te=1")
            .with("code_challenge", &challenge)
            .with("code_challenge_method", "S256")
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.0.insert(name, value.to_owned());
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    pub(crate) fn query(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.0)
            .finish()
    }
}

pub(crate) struct Browser {
    http: Client,
    issuer: String,
}

/// What a page or redirect was.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) location: Option<Url>,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) html: String,
}

impl Answer {
    /// A parameter of the redirect.
    pub(crate) fn param(&self, name: &str) -> Option<String> {
        let location = self.location.as_ref()?;
        location
            .query_pairs()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.into_owned())
    }

    /// The value of a hidden field of the first form.
    pub(crate) fn field(&self, name: &str) -> String {
        let after = self.html.split(&format!("name=\"{name}\" value=\"")).nth(1);
        after
            .and_then(|rest| rest.split('"').next())
            .unwrap_or_default()
            .to_owned()
    }
}

impl Browser {
    pub(crate) fn new(issuer: &Issuer) -> Self {
        Self::at(&issuer.url)
    }

    /// At one of several services.
    pub(crate) fn at(service: &str) -> Self {
        let http = Client::builder()
            .cookie_store(true)
            .redirect(Policy::none())
            .build()
            .unwrap();
        Self {
            http,
            issuer: service.to_owned(),
        }
    }

    pub(crate) async fn get(&self, query: &str) -> Answer {
        let url = format!("{}/oauth/authorize?{query}", self.issuer);
        self.answer(self.http.get(url).send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, query: &str, form: &[(&str, &str)]) -> Answer {
        let url = format!("{}/oauth/authorize?{query}", self.issuer);
        self.answer(self.http.post(url).form(form).send().await.unwrap())
            .await
    }

    /// Goes to any URL.
    pub(crate) async fn go(&self, url: &str) -> Answer {
        self.answer(self.http.get(url).send().await.unwrap()).await
    }

    /// Sends a form to any URL.
    pub(crate) async fn send(&self, url: &str, form: &[(&str, &str)]) -> Answer {
        self.answer(self.http.post(url).form(form).send().await.unwrap())
            .await
    }

    async fn answer(&self, response: Response) -> Answer {
        let location = response
            .headers()
            .get("location")
            .map(|l| response.url().join(l.to_str().unwrap()).unwrap());
        Answer {
            status: response.status().as_u16(),
            location,
            headers: response.headers().clone(),
            html: response.text().await.unwrap(),
        }
    }

    pub(crate) async fn sign_in_as(&self, query: &str, user: &str, password: &str) -> Answer {
        let page = self.get(query).await;
        let csrf = page.field("csrf");
        let form = [
            ("csrf", csrf.as_str()),
            ("username", user),
            ("password", password),
            ("action", "sign_in"),
        ];
        self.post(query, &form).await
    }

    /// Signs in and returns the consent page.
    pub(crate) async fn consent_page(&self, query: &str) -> Answer {
        let signed_in = self.sign_in_as(query, USER, PASSWORD).await;
        assert_eq!(signed_in.status, 303, "{}", signed_in.html);
        let page = self.get(query).await;
        assert_eq!(page.status, 200);
        page
    }

    /// Presses a button of the consent page.
    pub(crate) async fn press(&self, query: &str, page: &Answer, button: &str) -> Answer {
        let shown = ["csrf", "resource", "scope"].map(|name| (name, page.field(name)));
        let mut form: Vec<_> = shown.iter().map(|(n, v)| (*n, v.as_str())).collect();
        form.push(("action", button));
        self.post(query, &form).await
    }

    /// The whole way to a code.
    pub(crate) async fn code(&self, request: &Request) -> String {
        let query = request.query();
        let page = self.consent_page(&query).await;
        let answer = self.press(&query, &page, "approve").await;
        answer
            .param("code")
            .unwrap_or_else(|| panic!("no code: {answer:?}"))
    }
}

/// A code for the public client, in a browser of its own.
pub(crate) async fn a_code(issuer: &Issuer) -> String {
    Browser::new(issuer).code(&Request::new()).await
}

/// Redeems a code as the public client, with changes.
pub(crate) async fn redeem(
    issuer: &Issuer,
    code: &str,
    changes: &[(&'static str, &str)],
) -> (u16, serde_json::Value) {
    let mut form = BTreeMap::from([
        ("grant_type", "authorization_code"),
        ("client_id", PUBLIC),
        ("code", code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
        ("resource", RESOURCE),
    ]);
    form.extend(changes.iter().copied());
    let form: Vec<(&str, &str)> = form.into_iter().collect();
    issuer.token(&form).await
}
