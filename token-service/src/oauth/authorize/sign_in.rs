//! Signing in with the local directory, and out.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use jiff::SignedDuration;
use serde_json::json;
use zeroize::Zeroizing;

use super::{Refused, Visit, request::AuthorizationRequest, ways::Ways};
use crate::{
    app::App,
    audit::{Kind, Record, TryKind, Verdict, printable},
    config::federation::LocalDirectory,
    http::Peer,
    oauth::{
        params::Params,
        password::{self, PasswordCheck},
    },
    pages::{self, SignIn, session::Browser},
    rates::NotCounted,
    store::{StoreError, oauth, users},
};

/// A working day; the user is asked again after it.
pub(crate) const SESSION: SignedDuration = SignedDuration::from_hours(8);
/// The same for an unknown name and a wrong password, so that it does not tell which names exist.
const WRONG: &str = "User name or password is wrong.";

/// The sign-in page.
pub(super) fn page(
    visit: &Visit,
    request: &AuthorizationRequest,
    ways: &Ways<'_>,
    user_name: &str,
    problem: Option<&str>,
) -> Response {
    let page = SignIn {
        client_name: &printable(&request.agent.name),
        action: &visit.here,
        csrf: &visit.browser.csrf(),
        user_name,
        problem,
        providers: &ways.providers,
        email: ways.email.as_deref(),
        password: ways.password,
        local: ways.local.as_deref(),
    };
    // Signed in already in another tab, the browser is led on to the client from here.
    visit.page(pages::render(
        StatusCode::OK,
        &page,
        &pages::FormTarget::redirect(request.reply.redirect().url()),
    ))
}

/// Checks name and password and starts a session under a new cookie.
pub(super) async fn sign_in(
    app: &App,
    peer: Peer,
    visit: &Visit,
    request: &AuthorizationRequest,
    form: &Params,
) -> Result<Response, Refused> {
    let ways = Ways::of(app, visit).await?;
    let directory = app.federation.local_directory();
    if directory == LocalDirectory::Closed {
        return Err(Refused::Form);
    }
    let now = app.clock.now();
    let name = form.get("username").map(str::trim).unwrap_or_default();
    let password = Zeroizing::new(form.get("password").unwrap_or_default().to_owned());
    // A text that cannot be a name has nobody's password; what was typed is not kept, it may be one.
    let name = name.parse::<users::UserName>().ok();
    let tried = name.as_ref().map_or("", users::UserName::as_str);
    match app.passwords.begin(peer, tried).await {
        Ok(()) => {}
        Err(NotCounted::TooMany(wait)) => {
            app.tries.note(TryKind::InvalidPassword, &peer.text(), now);
            return Ok(too_many(visit, request, &ways, tried, wait.retry_after_s));
        }
        Err(NotCounted::Away) => return Err(StoreError::Busy.into()),
    }
    let stored = match &name {
        Some(name) => users::active_password(&mut *app.store.read().await?, name.as_str()).await?,
        None => None,
    };
    let (PasswordCheck::Right, Some(name)) = (password::check(stored, password).await, &name)
    else {
        app.tries.note(TryKind::InvalidPassword, &peer.text(), now);
        return Ok(page(visit, request, &ways, tried, Some(WRONG)));
    };

    let browser = Browser::new();
    let expires = now.checked_add(SESSION).unwrap_or(now);
    let mut record = Record::new(Kind::SignIn, now);
    record.subject = Some(name.to_string());
    record.agent = Some(request.agent.id.to_string());
    record.decision = Some(Verdict::Allow);
    record.source_ip = Some(peer.text());
    if directory == LocalDirectory::BreakGlass {
        record.detail = Some(json!({ "local_directory": "break_glass" }));
    }
    let mut tx = app.store.write().await?;
    oauth::end_session(tx.conn(), &visit.browser.session()).await?;
    oauth::start_session(
        tx.conn(),
        &browser.session(),
        name.as_str(),
        None,
        now,
        expires,
    )
    .await?;
    let digest = visit.request_digest();
    oauth::set_signed_in_for(tx.conn(), &browser.session(), Some(&digest)).await?;
    tx.audit(&record).await?;
    tx.commit().await?;
    app.passwords
        .succeeded(&app.store, peer, name.as_str())
        .await;
    Ok(visit.reload(&browser))
}

/// Ends the session.
pub(super) async fn sign_out(app: &App, visit: &Visit, peer: Peer) -> Result<Response, Refused> {
    let now = app.clock.now();
    let cookie = visit.browser.session();
    let mut tx = app.store.write().await?;
    if let Some(session) = oauth::session(tx.conn(), &cookie, now).await? {
        oauth::end_session(tx.conn(), &cookie).await?;
        let mut record = Record::new(Kind::SignOut, now);
        record.subject = Some(session.user);
        record.source_ip = Some(peer.text());
        tx.audit(&record).await?;
    }
    tx.commit().await?;
    Ok(visit.reload(&Browser::new()))
}

fn too_many(
    visit: &Visit,
    request: &AuthorizationRequest,
    ways: &Ways<'_>,
    tried: &str,
    retry_after_s: u64,
) -> Response {
    let minutes = retry_after_s.div_ceil(60);
    let unit = if minutes == 1 { "minute" } else { "minutes" };
    let problem = format!("Too many tries. Wait {minutes} {unit}, then try again.");
    let mut response = page(visit, request, ways, tried, Some(&problem));
    *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
    response
}
