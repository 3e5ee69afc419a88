//! A user signs in in a browser: authorization code with PKCE (RFC 6749 section 4.1, RFC 7636), the pages
//! filled in by this script, cookies and all.

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use url::Url;

use super::{Browser, Client, token_request};

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
        self.token_in(&mut Browser::of(self.username, self.password)?)
            .await
    }

    /// The same for whoever sits before this browser.
    pub async fn token_in(&self, browser: &mut Browser) -> Result<String> {
        let verifier = format!(
            "{}{}",
            uuid::Uuid::now_v7().simple(),
            uuid::Uuid::now_v7().simple()
        );
        let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let state = uuid::Uuid::now_v7().to_string();
        let code = self.code(browser, &challenge, &state).await?;
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
    async fn code(&self, browser: &mut Browser, challenge: &str, state: &str) -> Result<String> {
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
        let landed = browser.open(start.as_str()).await?;
        self.code_in(&landed, state)
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
