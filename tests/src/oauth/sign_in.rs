//! A user signs in in a browser: authorization code with PKCE (RFC 6749 section 4.1, RFC 7636), the pages
//! filled in by this script, cookies and all.

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client as Http, Response};
use sha2::{Digest, Sha256};
use url::Url;

use super::forms::Form;
use super::{Client, token_request};

/// More pages than any sign-in has.
const MAX_PAGES: usize = 10;

/// What a sign-in needs to know.
#[derive(Clone, Debug)]
pub struct SignIn<'a> {
    /// The issuer.
    pub issuer: &'a str,
    /// The agent that asks.
    pub client_id: &'a str,
    /// The agent's credentials at the token endpoint; absent for a public client.
    pub client: Option<Client<'a>>,
    /// Where the browser is sent at the end.
    pub redirect_uri: &'a str,
    /// The server the token is for.
    pub resource: &'a str,
    /// Scopes, space separated.
    pub scope: &'a str,
    /// The user.
    pub username: &'a str,
    /// Their password.
    pub password: &'a str,
}

impl SignIn<'_> {
    /// Goes through the whole flow and returns the agent's access token.
    pub async fn token(&self) -> Result<String> {
        let verifier = format!(
            "{}{}",
            uuid::Uuid::now_v7().simple(),
            uuid::Uuid::now_v7().simple()
        );
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let state = uuid::Uuid::now_v7().to_string();
        let code = self.code(&challenge, &state).await?;
        let mut form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code),
            ("redirect_uri", self.redirect_uri.to_owned()),
            ("code_verifier", verifier),
            ("resource", self.resource.to_owned()),
        ];
        if !matches!(self.client, Some(Client::Secret { .. })) {
            form.push(("client_id", self.client_id.to_owned()));
        }
        token_request(self.issuer, self.client.as_ref(), form).await
    }

    /// The browser's part: from the authorization request to the code in the last redirect.
    async fn code(&self, challenge: &str, state: &str) -> Result<String> {
        let browser = Http::builder()
            .cookie_store(true)
            .redirect(Policy::none())
            .build()?;
        let mut start = Url::parse(&format!("{}/oauth/authorize", self.issuer))?;
        start.query_pairs_mut().extend_pairs([
            ("response_type", "code"),
            ("client_id", self.client_id),
            ("redirect_uri", self.redirect_uri),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
            ("state", state),
            ("resource", self.resource),
            ("scope", self.scope),
        ]);
        let mut answer = browser.get(start).send().await?;
        for _ in 0..MAX_PAGES {
            if answer.status().is_redirection() {
                let next = redirect_target(&answer)?;
                if next.as_str().starts_with(self.redirect_uri) {
                    return self.code_in(&next, state);
                }
                answer = browser.get(next).send().await?;
            } else if answer.status().is_success() {
                answer = self.submit(&browser, answer).await?;
            } else {
                let (status, page) = (answer.status(), answer.text().await?);
                bail!("the sign-in ended with {status}: {page}");
            }
        }
        bail!("the sign-in did not end after {MAX_PAGES} pages")
    }

    /// Fills in whatever the page asks for and presses its affirmative button.
    async fn submit(&self, browser: &Http, page: Response) -> Result<Response> {
        let address = page.url().clone();
        let html = page.text().await?;
        let mut form = Form::first(&html).with_context(|| format!("at {address}: {html}"))?;
        form.fill("username", self.username);
        form.fill("password", self.password);
        let yes = ["sign_in", "approve"];
        let pressed = form
            .buttons
            .iter()
            .find(|(_, value)| yes.contains(&value.as_str()))
            .cloned();
        form.fields.extend(pressed);
        let action = address.join(&form.action)?;
        Ok(browser
            .post(action)
            // A browser sends these with a form, and a careful server looks at them.
            .header("Origin", address.origin().ascii_serialization())
            .header("Sec-Fetch-Site", "same-origin")
            .form(&form.fields)
            .send()
            .await?)
    }

    fn code_in(&self, last: &Url, state: &str) -> Result<String> {
        let parameter = |wanted: &str| {
            last.query_pairs()
                .find(|(name, _)| name == wanted)
                .map(|(_, value)| value.into_owned())
        };
        if let Some(error) = parameter("error") {
            bail!(
                "the sign-in was refused: {error} {}",
                parameter("error_description").unwrap_or_default()
            );
        }
        ensure!(
            parameter("state").as_deref() == Some(state),
            "the state came back changed"
        );
        // RFC 9207: the answer says whose it is, so that no other issuer's can be slipped in.
        ensure!(
            parameter("iss").as_deref() == Some(self.issuer),
            "the answer names another issuer"
        );
        parameter("code").context("the last redirect has no code")
    }
}

fn redirect_target(answer: &Response) -> Result<Url> {
    let location = answer
        .headers()
        .get(LOCATION)
        .context("a redirect without Location")?
        .to_str()?;
    Ok(answer.url().join(location)?)
}
