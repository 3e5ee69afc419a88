//! One identity provider: its configuration, and what its discovery document and keys say by now.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::{SignedDuration, Timestamp};
use openidconnect::{
    AdditionalProviderMetadata, AuthType, Client, ClientId, ClientSecret, EmptyAdditionalClaims,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl, ProviderMetadata, RedirectUrl,
    StandardErrorResponse,
    core::{
        CoreAuthDisplay, CoreAuthPrompt, CoreClaimName, CoreClaimType, CoreClientAuthMethod,
        CoreErrorResponseType, CoreGenderClaim, CoreGrantType, CoreJsonWebKey,
        CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode,
        CoreResponseType, CoreRevocableToken, CoreRevocationErrorResponse,
        CoreSubjectIdentifierType, CoreTokenIntrospectionResponse, CoreTokenResponse,
    },
};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use url::Url;

use super::fetch::Http;
use crate::{
    config::{
        federation::{ClientAuth, Provider as Config},
        is_loopback_host,
    },
    http::outbound::Outbound,
};

/// How long a discovery document is good for.
const FRESH: SignedDuration = SignedDuration::from_hours(1);
/// How long it is used when the provider does not give a new one.
const STALE: SignedDuration = SignedDuration::from_hours(24);

/// What this service wants to know beyond OpenID Connect Discovery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct More {
    /// RP-Initiated Logout section 2.1.
    pub(super) end_session_endpoint: Option<Url>,
    /// RFC 9207 section 3.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for More {}

/// A discovery document with the keys it leads to.
pub(super) type Metadata = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// This service as a client of a provider.
pub(super) type RelyingParty = Client<
    EmptyAdditionalClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    CoreTokenResponse,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Why a provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// It gives no discovery document or keys.
    #[error("its discovery document cannot be had: {0}")]
    Discovery(String),
    /// An address that it names is not safe to use.
    #[error("its discovery document names {0}, which is not https")]
    NotHttps(Url),
    /// A URL made from the configuration is none.
    #[error("it cannot be called: {0}")]
    Url(#[from] url::ParseError),
}

/// See the module.
#[derive(Debug)]
pub struct Provider {
    config: Config,
    known: ArcSwapOption<Known>,
}

#[derive(Debug)]
struct Known {
    metadata: Arc<Metadata>,
    since: Timestamp,
}

impl Provider {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            known: ArcSwapOption::empty(),
        }
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Fetches its discovery document and keys, unless they are known, and says whether that works.
    ///
    /// # Errors
    /// See [`ProviderError`].
    pub async fn check(&self, outbound: &Outbound, now: Timestamp) -> Result<(), ProviderError> {
        self.metadata(outbound, now).await.map(drop)
    }

    /// What it says about itself, fetched again when that is old.
    pub(super) async fn metadata(
        &self,
        outbound: &Outbound,
        now: Timestamp,
    ) -> Result<Arc<Metadata>, ProviderError> {
        let known = self.known.load_full();
        let age = known.as_ref().map(|k| now.duration_since(k.since));
        match (known, age) {
            (Some(known), Some(age)) if age < FRESH => Ok(Arc::clone(&known.metadata)),
            (Some(known), Some(age)) if age < STALE => match self.discover(outbound, now).await {
                Ok(metadata) => Ok(metadata),
                Err(error) => {
                    tracing::warn!(provider = %self.config.id, %error, "going on with what the provider said before");
                    Ok(Arc::clone(&known.metadata))
                }
            },
            _ => self.discover(outbound, now).await,
        }
    }

    /// What it says about itself, fetched again unless that was done within `least`: for a token of a key that is not
    /// known (OpenID Connect Core section 10.1.1).
    pub(super) async fn rotated(
        &self,
        outbound: &Outbound,
        least: SignedDuration,
        now: Timestamp,
    ) -> Result<Option<Arc<Metadata>>, ProviderError> {
        let since = self.known.load().as_ref().map(|k| k.since);
        if since.is_some_and(|since| now.duration_since(since) < least) {
            return Ok(None);
        }
        self.discover(outbound, now).await.map(Some)
    }

    async fn discover(
        &self,
        outbound: &Outbound,
        now: Timestamp,
    ) -> Result<Arc<Metadata>, ProviderError> {
        let http = Http::of(outbound);
        let issuer = IssuerUrl::new(self.config.issuer.clone())?;
        let metadata = Metadata::discover_async(issuer, &http)
            .await
            .map_err(|e| ProviderError::Discovery(whole(&e)))?;
        self.check_addresses(&metadata)?;
        let metadata = Arc::new(metadata);
        self.known.store(Some(Arc::new(Known {
            metadata: Arc::clone(&metadata),
            since: now,
        })));
        Ok(metadata)
    }

    /// Secrets and codes go to https only; a provider on this machine may use http here, as its issuer does.
    fn check_addresses(&self, metadata: &Metadata) -> Result<(), ProviderError> {
        let local = self.config.issuer.starts_with("http://");
        let addresses = [
            Some(metadata.authorization_endpoint().url()),
            metadata.token_endpoint().map(|u| u.url()),
            metadata.userinfo_endpoint().map(|u| u.url()),
            Some(metadata.jwks_uri().url()),
            metadata.additional_metadata().end_session_endpoint.as_ref(),
        ];
        for url in addresses.into_iter().flatten() {
            let safe = url.scheme() == "https"
                || (local && url.scheme() == "http" && is_loopback_host(url));
            if !safe {
                return Err(ProviderError::NotHttps(url.clone()));
            }
        }
        Ok(())
    }

    /// This service as its client, to be sent back to `callback`.
    pub(super) fn client(
        &self,
        metadata: &Metadata,
        callback: String,
    ) -> Result<RelyingParty, ProviderError> {
        let secret = |s: &secrecy::SecretString| ClientSecret::new(s.expose_secret().to_owned());
        let (secret, auth) = match &self.config.client_auth {
            ClientAuth::None => (None, AuthType::RequestBody),
            ClientAuth::Basic(s) => (Some(secret(s)), AuthType::BasicAuth),
            ClientAuth::Post(s) => (Some(secret(s)), AuthType::RequestBody),
        };
        let client_id = ClientId::new(self.config.client_id.clone());
        Ok(
            RelyingParty::from_provider_metadata(metadata.clone(), client_id, secret)
                .set_auth_type(auth)
                .set_redirect_uri(RedirectUrl::new(callback)?),
        )
    }
}

/// An error with all its causes.
pub(super) fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    crate::audit::clip(&crate::audit::printable(&text), 400)
}
