//! The user's consent. It is asked for each time, unless the user agreed to all of it before and the client is certain to
//! be the same: one that authenticates, or that is reached at its own https address. Who is on the user's own computer
//! without a credential may be anybody.

use axum::{http::StatusCode, response::Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Refused, Visit, request::AuthorizationRequest, see_other};
use crate::{
    app::App,
    audit::{Kind, Record, Verdict, printable},
    clock::unix,
    http::Peer,
    oauth::{openid::IdentityScope, params::Params},
    pages::{self, Consent, Maker},
    registry::{AuthMethod, Grant, Origin},
    secret::{self, SecretHash},
    store::{
        consents, grants,
        oauth::{self, CodeGrant, Session},
        pushed,
    },
};

/// OAuth 2.1 section 4.1.2: a code is redeemed at once or not at all.
const CODE_LIFE: SignedDuration = SignedDuration::from_secs(60);

/// The consent page.
pub(super) fn page(visit: &Visit, request: &AuthorizationRequest, session: &Session) -> Response {
    let (wanted, agent) = (&request.wanted, &request.agent);
    let scopes: Vec<&str> = wanted
        .target
        .iter()
        .flat_map(|target| target.scope.words())
        .collect();
    let identity: Vec<&str> = wanted
        .identity
        .iter()
        .filter(|scope| **scope != IdentityScope::OfflineAccess)
        .map(|scope| scope.explained())
        .collect();
    let redirect = request.reply.redirect();
    let document = agent.id.document();
    let page = Consent {
        client_name: &printable(&agent.name),
        client_id: agent.id.as_str(),
        maker: match agent.origin {
            Origin::Admin => Maker::Registered,
            Origin::Dynamic => Maker::Unknown,
            Origin::MetadataDocument => document
                .as_ref()
                .and_then(|url| url.host_str())
                .map_or(Maker::Unknown, Maker::Site),
        },
        server: wanted
            .target
            .as_ref()
            .map(|target| (target.server.id.as_str(), target.server.resource.as_str())),
        redirect_host: &redirect.host(),
        on_this_computer: redirect.is_on_this_computer(),
        scopes: &scopes,
        identity: &identity,
        offline: agent.grants.contains(&Grant::RefreshToken),
        scope: &agreed(request),
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

/// Whether the user has agreed to all of this before, and that can be relied on.
pub(super) async fn is_given(
    app: &App,
    request: &AuthorizationRequest,
    session: &Session,
) -> Result<bool, Refused> {
    if !is_certain(request) {
        return Ok(false);
    }
    let host = request.reply.redirect().host();
    let scope = agreed(request);
    let consent = consent(request, session, &host, &scope);
    Ok(consents::covers(&mut *app.store.read().await?, &consent).await?)
}

/// Gives the client a code for what the page showed, or leads back when the page is no longer right.
pub(super) async fn approve(
    app: &App,
    visit: &Visit,
    request: &AuthorizationRequest,
    form: &Params,
    peer: Peer,
) -> Result<Response, Refused> {
    let shown = (form.get("resource"), form.get("scope").unwrap_or_default());
    if shown != (request.wanted.resource(), agreed(request).as_str()) {
        // The server or the client has changed since the page was shown.
        return Ok(see_other(&visit.here));
    }
    give(app, visit, request, peer).await
}

/// Gives the client a code, or leads back to sign-in when the session has ended meanwhile.
pub(super) async fn give(
    app: &App,
    visit: &Visit,
    request: &AuthorizationRequest,
    peer: Peer,
) -> Result<Response, Refused> {
    let now = app.clock.now();
    let code = secret::generate();
    let cookie = visit.browser.session();
    let mut tx = app.store.write().await?;
    let session = oauth::session(tx.conn(), &cookie, now).await?;
    let digest = visit.request_digest();
    let Some(session) = session.filter(|s| request.prompt.accepts(s, &digest, now)) else {
        return Ok(see_other(&visit.here));
    };
    if let Some(reference) = request.reply.pushed()
        && !pushed::use_up(tx.conn(), reference).await?
    {
        return Err(Refused::Page(
            "The request has been answered already.".to_owned(),
        ));
    }
    let host = request.reply.redirect().host();
    let scope = request.wanted.scope();
    if is_certain(request) {
        let agreed = agreed(request);
        let consent = consent(request, &session, &host, &agreed);
        consents::remember(tx.conn(), &consent, now).await?;
    }
    // A client that wants a fresh sign-in next time gets another.
    oauth::set_signed_in_for(tx.conn(), &cookie, None).await?;
    let mut record = Record::new(Kind::Consent, now);
    record.subject = Some(session.user.clone());
    record.agent = Some(request.agent.id.to_string());
    record.server = request
        .wanted
        .target
        .as_ref()
        .map(|target| target.server.id.to_string());
    record.decision = Some(Verdict::Allow);
    record.source_ip = Some(peer.text());
    record.detail = Some(json!({ "scope": scope, "redirect_host": host }));
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
    let hash = SecretHash::of(&code);
    oauth::add_code(tx.conn(), &hash, &grant, now, expires, keep_until).await?;
    tx.audit(&record).await?;
    tx.commit().await?;
    Ok(see_other(&request.reply.code(&app.config.issuer, &code)))
}

/// Whether whoever gets the answer is the client itself (RFC 8252 section 8.6).
fn is_certain(request: &AuthorizationRequest) -> bool {
    request.agent.auth != AuthMethod::None || !request.reply.redirect().is_on_this_computer()
}

/// What the user agrees to: what is asked for, and that it goes on while they are away where the client may.
fn agreed(request: &AuthorizationRequest) -> String {
    let lasting = IdentityScope::OfflineAccess;
    let more = request.agent.grants.contains(&Grant::RefreshToken)
        && !request.wanted.identity.contains(&lasting);
    let words = request.wanted.words();
    let words: Vec<&str> = words.chain(more.then(|| lasting.word())).collect();
    words.join(" ")
}

fn consent<'a>(
    request: &'a AuthorizationRequest,
    session: &'a Session,
    redirect_host: &'a str,
    scope: &'a str,
) -> consents::Consent<'a> {
    consents::Consent {
        user: &session.user,
        client_id: request.agent.id.as_str(),
        redirect_host,
        resource: request.wanted.resource().unwrap_or_default(),
        scope,
    }
}

fn after(start: Timestamp, life: SignedDuration) -> Timestamp {
    start.checked_add(life).unwrap_or(start)
}
