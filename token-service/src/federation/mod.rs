//! Sign-in at identity providers of people's own organisations (OpenID Connect Core 1.0, as a relying party).
//!
//! A browser sets out in [`start`] and comes back in [`callback`]; what the provider says there is checked in
//! [`id_token`], read by [`claims`] and tied to a user in [`account`]. [`backchannel`] hears when the provider ends it
//! again. A [`Provider`] is one entry of the configuration with what its discovery document and keys say.

mod account;
pub mod backchannel;
pub mod callback;
mod claims;
mod error;
mod fetch;
mod id_token;
mod leave;
pub mod logo;
mod logout_token;
mod provider;
pub mod start;

pub use account::user_of;
pub use error::Failure;
pub(crate) use leave::end_session_url;
pub use provider::{Provider, ProviderError};

use axum::{
    Router,
    routing::{get, post},
};

use crate::{
    app::SharedApp,
    config::federation::{Federation as Configured, LocalDirectory},
    oauth::metadata::Endpoints,
};

/// Where browsers set out to a provider and come back, and where providers say who is gone.
pub fn routes(at: Endpoints<'_>) -> Router<SharedApp> {
    Router::new()
        .route(&at.path("/oauth/sign-in/{provider}"), get(start::serve))
        .route(&at.path("/oauth/callback/{provider}"), get(callback::serve))
        .route(&at.path("/oauth/logo/{provider}"), get(logo::serve))
        .route(
            &at.path("/oauth/backchannel-logout/{provider}"),
            post(backchannel::serve),
        )
}

/// The providers of the configuration.
#[derive(Debug)]
pub struct Federation {
    providers: Vec<Provider>,
    local_directory: LocalDirectory,
}

impl Federation {
    /// Nothing is fetched yet: a provider that is down keeps nobody else from signing in.
    #[must_use]
    pub fn new(configured: &Configured) -> Self {
        Self {
            providers: configured
                .providers
                .iter()
                .cloned()
                .map(Provider::new)
                .collect(),
            local_directory: configured.local_directory,
        }
    }

    /// A provider by its id.
    #[must_use]
    pub fn provider(&self, id: &str) -> Option<&Provider> {
        self.providers.iter().find(|p| p.config().id.as_str() == id)
    }

    /// A provider by its issuer identifier.
    #[must_use]
    pub fn provider_of(&self, issuer: &str) -> Option<&Provider> {
        self.providers.iter().find(|p| p.config().issuer == issuer)
    }

    /// All of them, in the order of the configuration.
    #[must_use]
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// The provider that people with this e-mail address sign in at.
    #[must_use]
    pub fn provider_for(&self, email: &str) -> Option<&Provider> {
        let (_, domain) = email.rsplit_once('@')?;
        let domain = domain.to_ascii_lowercase();
        self.providers
            .iter()
            .find(|p| p.config().email_domains.contains(&domain))
    }

    /// The providers as id and issuer, for the store.
    #[must_use]
    pub fn named(&self) -> Vec<(&str, &str)> {
        let all = self.providers.iter().map(Provider::config);
        all.map(|p| (p.id.as_str(), p.issuer.as_str())).collect()
    }

    /// What the local directory is for.
    #[must_use]
    pub fn local_directory(&self) -> LocalDirectory {
        self.local_directory
    }
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(backchannel::serve))]
struct Api;

/// The endpoints, for the OpenAPI document.
pub(crate) fn api() -> utoipa::openapi::OpenApi {
    <Api as utoipa::OpenApi>::openapi()
}
