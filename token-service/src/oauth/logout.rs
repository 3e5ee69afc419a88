//! Signing out, when a client sends the browser here for it (OpenID Connect RP-Initiated Logout 1.0).
//!
//! A client that shows an ID token of the user who is signed in is believed; otherwise the user is asked. A session that
//! came from an identity provider is ended there too, and the browser comes back here before it goes on to the client.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use jiff::Timestamp;
use serde_json::Value;
use url::Url;

use super::{
    OAuthError,
    authorize::{see_other, with_cookie},
    jws::{Jws, keys_of},
    metadata::Endpoints,
    params::Params,
};
use crate::{
    app::{App, SharedApp},
    audit::{Kind, Record, printable},
    federation::end_session_url,
    http::Peer,
    pages::{
        self, FormTarget, Forward, Problem, SignOut,
        session::{Browser, Transport},
    },
    registry::{Agent, Status},
    secret::{self, SecretHash},
    store::{StoreError, oauth, sign_ins},
};

/// What fits a `state`.
const MAX_STATE: usize = 1024;

/// Why nobody is signed out.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("{0}")]
    Request(&'static str),
    #[error("The form was not sent from a page that this browser was shown.")]
    Form,
    #[error("{0}")]
    Store(OAuthError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

impl Refused {
    fn page(&self) -> Response {
        let status = match self {
            Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Form => StatusCode::FORBIDDEN,
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        pages::problem(
            status,
            &Problem {
                heading: "You are not signed out",
                explanation: &self.to_string(),
                advice: "Nothing was changed. Tell the maker of the application what this page says.",
            },
        )
    }
}

/// `GET /oauth/logout`.
pub async fn by_query(
    State(app): State<SharedApp>,
    RawQuery(query): RawQuery,
    peer: Peer,
    headers: HeaderMap,
) -> Response {
    let params = Params::parse(query.unwrap_or_default().as_bytes());
    let asked = async {
        ask(
            &app,
            &params.map_err(|_| Refused::Request(MALFORMED))?,
            peer,
            &headers,
        )
        .await
    };
    asked.await.unwrap_or_else(|refused| refused.page())
}

/// `POST /oauth/logout`: the same, from a form of the client's.
pub async fn by_form(
    State(app): State<SharedApp>,
    peer: Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let params = Params::form(&headers, &body);
    let asked = async {
        ask(
            &app,
            &params.map_err(|_| Refused::Request(MALFORMED))?,
            peer,
            &headers,
        )
        .await
    };
    asked.await.unwrap_or_else(|refused| refused.page())
}

const MALFORMED: &str = "The application's request is malformed.";

async fn ask(
    app: &App,
    params: &Params,
    peer: Peer,
    headers: &HeaderMap,
) -> Result<Response, Refused> {
    let request = LogoutRequest::check(app, params).await?;
    let transport = Transport::of(&app.config.issuer);
    let Some(browser) = Browser::of(headers, transport) else {
        return Ok(request.go_on(app));
    };
    let mut conn = app.store.read().await?;
    let session = oauth::session(&mut conn, &browser.session(), app.clock.now()).await?;
    let Some(user) = session.map(|session| session.user) else {
        return Ok(request.go_on(app));
    };
    drop(conn);
    if request.user.as_ref() == Some(&user) {
        let there = end(app, &browser, &user, &request, peer).await?;
        return Ok(with_cookie(see_other(&there), &Browser::new(), transport));
    }
    let page = SignOut {
        user_name: &user,
        client_name: request.client.as_ref().map(|c| printable(&c.name)),
        action: &Endpoints::of(&app.config.issuer).path("/oauth/logout/confirm"),
        csrf: &browser.csrf(),
        client_id: request.client.as_ref().map(|c| c.id.as_str()),
        redirect_uri: params.get("post_logout_redirect_uri"),
        state: params.get("state"),
    };
    Ok(pages::render(StatusCode::OK, &page, &FormTarget::default()))
}

/// `POST /oauth/logout/confirm`: the user says yes.
pub async fn confirm(
    State(app): State<SharedApp>,
    peer: Peer,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let confirmed = async {
        let params = Params::form(&headers, &body).map_err(|_| Refused::Form)?;
        let transport = Transport::of(&app.config.issuer);
        let browser = Browser::of(&headers, transport).ok_or(Refused::Form)?;
        if !browser.has_sent(params.get("csrf")) {
            return Err(Refused::Form);
        }
        let request = LogoutRequest::check(&app, &params).await?;
        let session = oauth::session(
            &mut *app.store.read().await?,
            &browser.session(),
            app.clock.now(),
        )
        .await?;
        let there = match session {
            Some(session) => end(&app, &browser, &session.user, &request, peer).await?,
            None => request.location(&app),
        };
        let page = Forward {
            heading: "You are signed out",
            location: &there,
        };
        let page = pages::render(StatusCode::OK, &page, &FormTarget::default());
        Ok(with_cookie(page, &Browser::new(), transport))
    };
    confirmed
        .await
        .unwrap_or_else(|refused: Refused| refused.page())
}

/// `GET /oauth/logout/done`: back from a provider, or nowhere else to go.
pub async fn done(State(app): State<SharedApp>, RawQuery(query): RawQuery) -> Response {
    let state = Params::parse(query.unwrap_or_default().as_bytes())
        .ok()
        .and_then(|params| params.get("state").map(SecretHash::of));
    let Some(state) = state else {
        return signed_out();
    };
    let taken = async {
        let mut tx = app.store.write().await?;
        let location = sign_ins::has_left(tx.conn(), &state, app.clock.now()).await?;
        tx.commit().await?;
        Ok::<_, StoreError>(location)
    };
    match taken.await {
        Ok(Some(location)) => see_other(&location),
        Ok(None) => signed_out(),
        Err(error) => Refused::from(error).page(),
    }
}

fn signed_out() -> Response {
    pages::problem(
        StatusCode::OK,
        &Problem {
            heading: "You are signed out",
            explanation: "This browser is no longer signed in here.",
            advice: "Applications that you have allowed to act for you keep that permission until it runs out.",
        },
    )
}

/// What a client asks for, checked.
struct LogoutRequest {
    /// The user whose ID token it shows.
    user: Option<String>,
    client: Option<Arc<Agent>>,
    /// Where the browser goes on to, `state` included.
    redirect: Option<String>,
}

impl LogoutRequest {
    async fn check(app: &App, params: &Params) -> Result<Self, Refused> {
        let hint = params
            .get("id_token_hint")
            .and_then(|hint| Hint::verify(app, hint));
        let client_id = match (params.get("client_id"), &hint) {
            (Some(named), Some(hint)) if named != hint.client_id => {
                return Err(Refused::Request(
                    "The ID token that the application shows is another application's.",
                ));
            }
            (Some(named), _) => Some(named),
            (None, Some(hint)) => Some(hint.client_id.as_str()),
            (None, None) => None,
        };
        let registry = app.current_registry().await?;
        let client = client_id
            .and_then(|id| registry.agent(id))
            .filter(|client| client.status == Status::Approved)
            .map(Arc::clone);
        let redirect = match params.get("post_logout_redirect_uri") {
            None => None,
            Some(uri) => {
                let registered = client.as_ref().is_some_and(|c| {
                    c.metadata
                        .post_logout_redirect_uris
                        .iter()
                        .any(|r| r == uri)
                });
                if !registered {
                    let told = "The address that you should be sent to afterwards is not registered for this application.";
                    return Err(Refused::Request(told));
                }
                Some(with_state(uri, params.get("state"))?)
            }
        };
        Ok(Self {
            user: hint.map(|hint| hint.user),
            client,
            redirect,
        })
    }

    /// Where the browser goes on to.
    fn location(&self, app: &App) -> String {
        self.redirect
            .clone()
            .unwrap_or_else(|| Endpoints::of(&app.config.issuer).path("/oauth/logout/done"))
    }

    fn go_on(&self, app: &App) -> Response {
        see_other(&self.location(app))
    }
}

fn with_state(uri: &str, state: Option<&str>) -> Result<String, Refused> {
    let malformed = Refused::Request(MALFORMED);
    let mut url = match Url::parse(uri) {
        Ok(url) => url,
        Err(_) => return Err(malformed),
    };
    match state {
        None => return Ok(uri.to_owned()),
        Some(state) if state.len() > MAX_STATE => return Err(malformed),
        Some(state) => url.query_pairs_mut().append_pair("state", state),
    };
    Ok(url.into())
}

/// An ID token of ours, however old (RP-Initiated Logout section 4).
struct Hint {
    user: String,
    client_id: String,
}

impl Hint {
    fn verify(app: &App, token: &str) -> Option<Self> {
        let token = Jws::read(token).ok()?;
        let issued = Timestamp::from_second(token.claim("iat")?.as_i64()?).ok()?;
        let is_ours = matches!(token.typ(), None | Some("JWT"))
            && token.text("iss") == Some(app.config.issuer.as_str())
            // As of when it was issued: it may have expired since.
            && token.verifies_with(keys_of(&app.keys.jwks()), issued);
        let client_id = match token.claim("aud")? {
            Value::String(aud) => aud.clone(),
            _ => return None,
        };
        is_ours.then_some(())?;
        Some(Self {
            user: token.text("sub")?.to_owned(),
            client_id,
        })
    }
}

/// Ends the session, and says where the browser goes to next: to its provider, or straight on.
async fn end(
    app: &App,
    browser: &Browser,
    user: &str,
    request: &LogoutRequest,
    peer: Peer,
) -> Result<String, Refused> {
    let now = app.clock.now();
    let mut tx = app.store.write().await?;
    let upstream = oauth::session_upstream(tx.conn(), &browser.session()).await?;
    oauth::end_session(tx.conn(), &browser.session()).await?;
    let mut record = Record::new(Kind::SignOut, now);
    record.subject = Some(user.to_owned());
    record.agent = request.client.as_ref().map(|c| c.id.to_string());
    record.source_ip = Some(peer.text());
    tx.audit(&record).await?;
    tx.commit().await?;

    let location = request.location(app);
    let Some((issuer, id_token)) = upstream else {
        return Ok(location);
    };
    let state = secret::generate();
    let back = Endpoints::of(&app.config.issuer).url("/oauth/logout/done");
    let Some(there) = end_session_url(app, &issuer, &id_token, &back, &state).await else {
        return Ok(location);
    };
    let mut tx = app.store.write().await?;
    sign_ins::set_out_to_leave(tx.conn(), &SecretHash::of(&state), &location, now).await?;
    tx.commit().await?;
    Ok(there.into())
}
