//! The user's consent, asked for each time: a client gets a code for nothing that its user did not just see.

use axum::{http::StatusCode, response::Response};
use jiff::{SignedDuration, Timestamp};

use super::{Refused, Visit, request::AuthorizationRequest, see_other};
use crate::{
    app::App,
    audit::printable,
    clock::unix,
    oauth::params::Params,
    pages::{self, Consent},
    secret::{self, SecretHash},
    store::{
        grants,
        oauth::{self, CodeGrant, Session},
    },
};

/// OAuth 2.1 section 4.1.2: a code is redeemed at once or not at all.
const CODE_LIFE: SignedDuration = SignedDuration::from_secs(60);

/// The consent page.
pub(super) fn page(visit: &Visit, request: &AuthorizationRequest, session: &Session) -> Response {
    let wanted = &request.wanted;
    let server = wanted.target.as_ref().map(|target| &target.server);
    let scopes: Vec<&str> = wanted
        .target
        .iter()
        .flat_map(|target| target.scope.words())
        .collect();
    let redirect = request.reply.redirect();
    let page = Consent {
        client_name: &printable(&request.agent.name),
        client_id: request.agent.id.as_str(),
        server: server.map_or("", |server| server.id.as_str()),
        resource: wanted.resource().unwrap_or_default(),
        redirect_host: &redirect.host(),
        on_this_computer: redirect.is_on_this_computer(),
        scopes: &scopes,
        scope: &wanted.scope(),
        user_name: &session.user,
        action: &visit.here,
        csrf: &visit.browser.csrf(),
    };
    visit.page(pages::render(
        StatusCode::OK,
        &page,
        &pages::FormTarget::redirect(redirect.url()),
    ))
}

/// Gives the client a code for what the page showed, or leads back to sign-in when the session has ended meanwhile.
pub(super) async fn approve(
    app: &App,
    visit: &Visit,
    request: &AuthorizationRequest,
    form: &Params,
) -> Result<Response, Refused> {
    let now = app.clock.now();
    let scope = request.wanted.scope();
    if form.get("scope").unwrap_or_default() != scope {
        // The server's scopes have changed since the page was shown.
        return Ok(see_other(&visit.here));
    }
    let code = secret::generate();
    let mut tx = app.store.write().await?;
    let Some(session) = oauth::session(tx.conn(), &visit.browser.session(), now).await? else {
        return Ok(see_other(&visit.here));
    };
    let grant = CodeGrant {
        client_id: request.agent.id.to_string(),
        user: session.user,
        redirect_uri: request.reply.redirect().as_str().to_owned(),
        resource: request.wanted.resource().map(str::to_owned),
        scope,
        code_challenge: request.challenge.as_str().to_owned(),
        nonce: request.nonce.clone(),
        auth_time: unix(session.since),
        session_id: session.id,
    };
    let expires = after(now, CODE_LIFE);
    let keep_until = grants::dead_by(expires);
    oauth::add_code(
        tx.conn(),
        &SecretHash::of(&code),
        &grant,
        now,
        expires,
        keep_until,
    )
    .await?;
    tx.commit().await?;
    Ok(see_other(&request.reply.code(&app.config.issuer, &code)))
}

fn after(start: Timestamp, life: SignedDuration) -> Timestamp {
    start.checked_add(life).unwrap_or(start)
}
