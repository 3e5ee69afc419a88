//! A browser sets out to sign in at a provider (OpenID Connect Core section 3.1.2.1).
//!
//! Nonce and PKCE verifier are derived from the browser's cookie and the state, so that only this browser can finish
//! what it began, and nothing that is kept or sent can.

use axum::{
    extract::{Path, RawQuery, State},
    http::HeaderMap,
    response::Response,
};
use openidconnect::{
    CsrfToken, LoginHint, Nonce, PkceCodeChallenge, PkceCodeVerifier, Scope,
    core::{CoreAuthPrompt, CoreAuthenticationFlow},
};
use url::Url;

use super::{Failure, Provider};
use crate::{
    app::{App, SharedApp},
    oauth::{
        authorize::{self, see_other, with_cookie},
        metadata::Endpoints,
    },
    pages::session::{Browser, Transport},
    secret::{self, SecretHash},
    store::{providers, sign_ins},
};

/// What a request line carries; nobody comes back to a longer request.
const MAX_QUERY: usize = 8 * 1024;

/// `GET /oauth/sign-in/{provider}`, with the query of the authorization request to come back to.
pub async fn serve(
    State(app): State<SharedApp>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(provider) = app.federation.provider(&id) else {
        return Failure::UnknownProvider.page(&app, None, None);
    };
    let query = query.unwrap_or_default();
    let transport = Transport::of(&app.config.issuer);
    let known = Browser::of(&headers, transport);
    let browser = known.as_ref().map_or_else(Browser::new, Browser::same);
    match set_out(&app, provider, &browser, &query, None).await {
        Ok(there) if known.is_some() => see_other(there.as_str()),
        Ok(there) => with_cookie(see_other(there.as_str()), &browser, transport),
        Err(failure) => failure.page(&app, Some(provider), Some(&query)),
    }
}

/// Remembers that `browser` sets out, and returns where it goes.
pub(crate) async fn set_out(
    app: &App,
    provider: &Provider,
    browser: &Browser,
    query: &str,
    login_hint: Option<&str>,
) -> Result<Url, Failure> {
    if query.len() > MAX_QUERY {
        return Err(Failure::TooLong);
    }
    let config = provider.config();
    let now = app.clock.now();
    if !providers::is_on(&mut *app.store.read().await?, &config.issuer).await? {
        return Err(Failure::SwitchedOff);
    }
    let prompt = authorize::prompt_of(app, query).await;
    let metadata = provider.metadata(&app.outbound, now).await?;
    let client = provider.client(&metadata, callback_url(app, provider))?;
    let state = secret::generate();
    let proof = Proof::of(browser, &state);
    let sent = CsrfToken::new(state.to_string());
    let mut request = client
        .authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            || sent,
            || proof.nonce,
        )
        .add_scopes(config.scopes.iter().cloned().map(Scope::new))
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(
            &proof.verifier,
        ));
    if let Some(hint) = login_hint {
        request = request.set_login_hint(LoginHint::new(hint.to_owned()));
    }
    // Who has a session at the provider comes back at once: what the client asks of the sign-in, it is to hear too.
    if let Some(age) = config.max_age.into_iter().chain(prompt.max_age()).min() {
        request = request.set_max_age(age);
    }
    if prompt.asks_login() {
        request = request.add_prompt(CoreAuthPrompt::Login);
    }
    if prompt.asks_account() {
        request = request.add_prompt(CoreAuthPrompt::SelectAccount);
    }
    let (there, _, _) = request.url();

    let mut tx = app.store.write().await?;
    sign_ins::set_out(
        tx.conn(),
        &SecretHash::of(&state),
        &browser.session(),
        &config.issuer,
        query,
        now,
    )
    .await?;
    tx.commit().await?;
    Ok(there)
}

/// What the provider's answer is checked with.
pub(super) struct Proof {
    /// Comes back in the ID token.
    pub(super) nonce: Nonce,
    /// Goes with the code (RFC 7636).
    pub(super) verifier: PkceCodeVerifier,
}

impl Proof {
    pub(super) fn of(browser: &Browser, state: &str) -> Self {
        Self {
            nonce: Nonce::new(browser.derived("nonce", state)),
            verifier: PkceCodeVerifier::new(browser.derived("code verifier", state)),
        }
    }
}

/// Where a provider sends browsers back to: another address for each, so that no provider's answer passes for another's
/// (RFC 9700 section 4.4.2.2).
pub(super) fn callback_url(app: &App, provider: &Provider) -> String {
    let path = format!("/oauth/callback/{}", provider.config().id);
    Endpoints::of(&app.config.issuer).url(&path)
}
