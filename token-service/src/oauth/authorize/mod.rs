//! `/oauth/authorize` (OAuth 2.1 section 4.1.1): a checked request, a signed-in user, their consent, a code.
//!
//! GET shows what is to be done next; POST does it and leads back to GET, or on to the client. The request travels in
//! the query each time and is checked each time, so nothing is kept for people who never come back.

mod consent;
mod prompt;
mod request;
mod response;
mod sign_in;
mod ways;

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use jiff::SignedDuration;

use self::{
    prompt::Prompt,
    request::{AuthorizationRequest, Refused, Source},
    response::AuthorizationError,
    ways::Ways,
};
pub(crate) use self::{sign_in::SESSION, ways::with_local};
use super::{OAuthError, metadata::Endpoints, params::Params};
use crate::{
    app::{App, SharedApp},
    http::Peer,
    pages::{
        self, Problem,
        session::{Browser, Transport},
    },
    secret::SecretHash,
    store::{
        StoreError,
        oauth::{self, Session},
        pushed,
    },
};

/// How long somebody may take over a page, where their request is kept here.
const AT_A_PAGE: SignedDuration = SignedDuration::from_mins(30);

/// `GET /oauth/authorize`: the sign-in page, or the consent page for who is signed in.
pub async fn ask(
    State(app): State<SharedApp>,
    peer: Peer,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    match show(&app, &query, &headers, peer).await {
        Ok(response) => response,
        Err(refused) => refused.answer(&app).await,
    }
}

async fn show(
    app: &App,
    query: &str,
    headers: &HeaderMap,
    peer: Peer,
) -> Result<Response, Refused> {
    let request = AuthorizationRequest::check(app, query).await?;
    let visit = Visit::of(app, query, headers);
    let (prompt, now) = (&request.prompt, app.clock.now());
    let told = |error| Err(Refused::Redirect(Box::new(request.reply.clone()), error));
    let session = visit.session(app).await?;
    let digest = visit.request_digest();
    let Some(session) = session.filter(|s| prompt.accepts(s, &digest, now)) else {
        if prompt.is_silent() {
            return told(AuthorizationError::LoginRequired);
        }
        stay(app, &request).await?;
        let mut ways = Ways::of(app, &visit).await?;
        if let Some(email) = ways.email.as_mut() {
            prompt.hint().clone_into(email);
        }
        let page = sign_in::page(&visit, &request, &ways, prompt.hint(), None);
        return Ok(page);
    };
    if !prompt.asks_consent() && consent::is_given(app, &request, &session).await? {
        return consent::give(app, &visit, &request, peer).await;
    }
    if prompt.is_silent() {
        return told(AuthorizationError::ConsentRequired);
    }
    stay(app, &request).await?;
    Ok(consent::page(&visit, &request, &session))
}

/// What the authorization request of this query asks of the sign-in.
pub(crate) async fn prompt_of(app: &App, query: &str) -> Prompt {
    match AuthorizationRequest::check(app, query).await {
        Ok(request) => request.prompt,
        Err(_) => Prompt::strictest(),
    }
}

/// Keeps a pushed request for as long as somebody may take over a page.
async fn stay(app: &App, request: &AuthorizationRequest) -> Result<(), Refused> {
    let Some(reference) = request.reply.pushed() else {
        return Ok(());
    };
    let now = app.clock.now();
    let until = now.checked_add(AT_A_PAGE).unwrap_or(now);
    let mut tx = app.store.write().await?;
    pushed::keep(tx.conn(), reference, until).await?;
    tx.commit().await?;
    Ok(())
}

/// Checks the parameters of a request that a client pushes (RFC 9126 section 2.1).
///
/// # Errors
/// What the authorization endpoint would tell the user or the client.
pub(super) async fn check_pushed(app: &App, params: &Params) -> Result<(), OAuthError> {
    match AuthorizationRequest::read(app, params, Source::Client).await {
        Ok(_) => Ok(()),
        Err(Refused::Redirect(_, error)) => Err(error.direct()),
        Err(Refused::Page(told)) => Err(OAuthError::InvalidRequest(told.into())),
        Err(Refused::Failed(error)) => Err(error),
        Err(Refused::Form) => Err(OAuthError::ServerError),
    }
}

/// `POST /oauth/authorize`: what the user did on one of the pages.
pub async fn answer(
    State(app): State<SharedApp>,
    peer: Peer,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let query = query.unwrap_or_default();
    if query.is_empty() {
        // A client may send its request as a form (OpenID Connect Core section 3.1.2.1). The browser's cookie does not come
        // with one from elsewhere; with the GET that follows it does.
        let here = Endpoints::of(&app.config.issuer).path("/oauth/authorize");
        return see_other(&format!("{here}?{}", String::from_utf8_lossy(&body)));
    }
    let done = async {
        let request = AuthorizationRequest::check(&app, &query).await?;
        let form = Params::form(&headers, &body).map_err(|_| Refused::Form)?;
        let visit = Visit::of(&app, &query, &headers);
        if !visit.known || !visit.browser.has_sent(form.get("csrf")) {
            return Err(Refused::Form);
        }
        match form.get("action") {
            Some("sign_in") => sign_in::sign_in(&app, peer, &visit, &request, &form).await,
            Some("email") => ways::by_email(&app, &visit, &request, &form).await,
            Some("sign_out") => sign_in::sign_out(&app, &visit, peer).await,
            Some("approve") => consent::approve(&app, &visit, &request, &form, peer).await,
            Some("deny") => Err(Refused::Redirect(
                Box::new(request.reply.clone()),
                AuthorizationError::AccessDenied,
            )),
            _ => Err(Refused::Form),
        }
    };
    match done.await {
        Ok(response) => response,
        Err(refused) => refused.answer(&app).await,
    }
}

async fn use_up(app: &App, reference: &SecretHash) -> Result<(), StoreError> {
    let mut tx = app.store.write().await?;
    pushed::use_up(tx.conn(), reference).await?;
    tx.commit().await
}

/// One request of a browser for one authorization request.
struct Visit {
    browser: Browser,
    /// Whether the browser had its cookie already; if not, it gets one with the page.
    known: bool,
    transport: Transport,
    /// Where this authorization request is: what forms are sent to.
    here: String,
}

impl Visit {
    fn of(app: &App, query: &str, headers: &HeaderMap) -> Self {
        let transport = Transport::of(&app.config.issuer);
        let browser = Browser::of(headers, transport);
        Self {
            known: browser.is_some(),
            browser: browser.unwrap_or_default(),
            transport,
            here: format!(
                "{}?{query}",
                Endpoints::of(&app.config.issuer).path("/oauth/authorize")
            ),
        }
    }

    /// The query of the authorization request.
    fn query(&self) -> &str {
        self.here.split_once('?').map_or("", |(_, query)| query)
    }

    /// What a session's user is remembered to have signed in for.
    fn request_digest(&self) -> [u8; 32] {
        oauth::request_digest(self.query())
    }

    /// The session of this browser's user.
    async fn session(&self, app: &App) -> Result<Option<Session>, StoreError> {
        if !self.known {
            return Ok(None);
        }
        let mut conn = app.store.read().await?;
        oauth::session(&mut conn, &self.browser.session(), app.clock.now()).await
    }

    /// A page, with the browser's cookie when it has none yet.
    fn page(&self, response: Response) -> Response {
        if self.known {
            response
        } else {
            with_cookie(response, &self.browser, self.transport)
        }
    }

    /// Back to GET, with a cookie of a new value: whatever knew the old one is shut out.
    fn reload(&self, browser: &Browser) -> Response {
        with_cookie(see_other(&self.here), browser, self.transport)
    }
}

/// An answer that gives the browser its cookie.
pub(crate) fn with_cookie(
    mut response: Response,
    browser: &Browser,
    transport: Transport,
) -> Response {
    if let Some(cookie) = browser.set_cookie(transport) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// After a form: the browser goes on with GET (RFC 9700 section 4.12 rules out 307).
pub(crate) fn see_other(location: &str) -> Response {
    match HeaderValue::try_from(location) {
        Ok(location) => (
            StatusCode::SEE_OTHER,
            [
                (header::LOCATION, location),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
                (
                    header::REFERRER_POLICY,
                    HeaderValue::from_static("no-referrer"),
                ),
            ],
        )
            .into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

impl Refused {
    async fn answer(self, app: &App) -> Response {
        match self {
            Self::Redirect(reply, error) => {
                if let Some(reference) = reply.pushed()
                    && let Err(error) = use_up(app, reference).await
                {
                    return Box::pin(Self::from(error).answer(app)).await;
                }
                see_other(&reply.error(&app.config.issuer, &error))
            }
            Self::Page(explanation) => pages::problem(
                StatusCode::BAD_REQUEST,
                &Problem {
                    heading: "This request cannot be answered",
                    explanation: &explanation,
                    advice: "You were not sent back to the application, because it is not certain which one it is. Tell its maker what this page says.",
                },
            ),
            Self::Form => pages::problem(
                StatusCode::FORBIDDEN,
                &Problem {
                    heading: "This form is no longer valid",
                    explanation: "The form was not sent from a page that this browser was shown, or the browser does not keep cookies.",
                    advice: "Nothing was changed. Go back to the application and start again.",
                },
            ),
            Self::Failed(error) => {
                let (status, heading) = match error {
                    OAuthError::TemporarilyUnavailable(_) => {
                        (StatusCode::SERVICE_UNAVAILABLE, "The service is busy")
                    }
                    _ => (
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "Something went wrong here",
                    ),
                };
                let advice = "Nothing was changed. Try again in a moment; if it stays like this, tell your administrator.";
                pages::problem(
                    status,
                    &Problem {
                        heading,
                        explanation: &error.to_string(),
                        advice,
                    },
                )
            }
        }
    }
}
