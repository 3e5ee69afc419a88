//! The tokens of registration, as they come in (RFC 6750 section 2.1).

use axum::http::{HeaderMap, header};

use super::error::RegistrationError;
use crate::{
    app::App,
    audit::TryKind,
    http::Peer,
    secret::SecretHash,
    store::initial_tokens::{self, InitialToken},
};

/// The token that a request brings, as it is looked up; `None` when it brings none.
pub(super) fn presented(headers: &HeaderMap) -> Result<Option<&str>, RegistrationError> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (all.next(), all.next());
    let Some(first) = first else {
        return Ok(None);
    };
    first
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| second.is_none() && scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| Some(token.trim()))
        .ok_or(RegistrationError::InvalidToken)
}

/// The initial access token of a request; `None` when it brings none. A wrong one is counted by address.
pub(super) async fn initial(
    app: &App,
    headers: &HeaderMap,
    peer: Peer,
) -> Result<Option<InitialToken>, RegistrationError> {
    let Some(token) = presented(headers)? else {
        return Ok(None);
    };
    let mut conn = app.store.read().await?;
    let now = app.clock.now();
    match initial_tokens::find(&mut conn, &SecretHash::of(token), now).await? {
        Some(token) => Ok(Some(token)),
        None => Err(wrong(app, peer)),
    }
}

/// A wrong token, counted by address.
pub(super) fn wrong(app: &App, peer: Peer) -> RegistrationError {
    let now = app.clock.now();
    app.tries
        .note(TryKind::InvalidRegistrationToken, &peer.text(), now);
    RegistrationError::InvalidToken
}
