//! Signing out at the provider that a session came from (OpenID Connect RP-Initiated Logout 1.0, as a relying party).

use url::Url;

use crate::app::App;

/// Where a browser signs out at the provider of this issuer and is sent back to `back` with `state`; `None` when the
/// provider has no such place or is out of reach: the session here has ended all the same.
pub(crate) async fn end_session_url(
    app: &App,
    issuer: &str,
    id_token: &str,
    back: &str,
    state: &str,
) -> Option<Url> {
    let provider = app.federation.provider_of(issuer)?;
    let metadata = match provider.metadata(&app.outbound, app.clock.now()).await {
        Ok(metadata) => metadata,
        Err(error) => {
            tracing::warn!(provider = %provider.config().id, %error, "somebody is signed out here only");
            return None;
        }
    };
    let mut url = metadata
        .additional_metadata()
        .end_session_endpoint
        .clone()?;
    url.query_pairs_mut()
        .append_pair("id_token_hint", id_token)
        .append_pair("client_id", &provider.config().client_id)
        .append_pair("post_logout_redirect_uri", back)
        .append_pair("state", state);
    Some(url)
}
