//! Why a sign-in at a provider came to nothing, and the page that says so.

use axum::{http::StatusCode, response::Response};

use super::{Federation, Provider, ProviderError, claims::TooManyGroups, id_token::IdTokenError};
use crate::{
    app::App,
    audit::{clip, printable},
    config::federation::LocalDirectory,
    oauth::metadata::Endpoints,
    pages::{self, FormTarget, SignInProblem},
    store::StoreError,
};

/// The longest reason that is kept.
const MAX_REASON: usize = 400;

/// Why a sign-in at a provider came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration names no such provider.
    #[error("There is no such place to sign in here.")]
    UnknownProvider,
    /// An administrator has switched it off.
    #[error("Signing in there is switched off.")]
    SwitchedOff,
    /// No sign-in of this browser is on its way: a replay, another browser's, too late, or made up (RFC 6749 section
    /// 10.12).
    #[error(
        "No sign-in of this browser is on its way: it has taken too long, was finished already, or was started in another browser."
    )]
    NotOnItsWay,
    /// The provider cannot be reached, or makes no sense.
    #[error("It cannot be reached at the moment.")]
    Provider(#[from] ProviderError),
    /// The user said no there, or the provider did (RFC 6749 section 4.1.2.1).
    #[error("{0}")]
    Declined(&'static str),
    /// RFC 9207: the answer is another provider's, or does not say whose it is.
    #[error("The answer that came back is not from where you were sent.")]
    MixedUp,
    /// The answer has neither a code nor an error.
    #[error("The answer that came back is incomplete.")]
    Incomplete,
    /// The code was not exchanged for tokens.
    #[error("It does not confirm that you have signed in.")]
    Code(String),
    /// The ID token is not good.
    #[error("What it says about you cannot be verified.")]
    IdToken(#[from] IdTokenError),
    /// The userinfo endpoint did not answer, or for somebody else.
    #[error("It does not say what is needed to know about you.")]
    UserInfo(String),
    /// The account is in too many groups.
    #[error("Your account there has more groups than can be taken over.")]
    Groups(#[from] TooManyGroups),
    /// The provider has ended the sign-in meanwhile.
    #[error("It has signed you out again meanwhile.")]
    Ended,
    /// The user is switched off here.
    #[error("Your account here is switched off.")]
    Disabled,
    /// The authorization request is too long to be kept.
    #[error("The application's request is too long.")]
    TooLong,
    /// The store failed.
    #[error("{}", told(.0))]
    Store(#[from] StoreError),
}

impl Failure {
    /// What is the matter, for the log and the audit trail.
    pub(super) fn reason(&self) -> String {
        let reason = match self {
            Self::Provider(e) => e.to_string(),
            Self::Code(e) => format!("the provider did not exchange the code: {e}"),
            Self::IdToken(e) => format!("the ID token is not good: {e}"),
            Self::UserInfo(e) => format!("the userinfo endpoint did not answer as it should: {e}"),
            Self::Groups(e) => e.to_string(),
            Self::Store(e) => e.to_string(),
            other => other.to_string(),
        };
        // Some of it is quoted from the provider.
        clip(&printable(&reason), MAX_REASON)
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownProvider => StatusCode::NOT_FOUND,
            Self::NotOnItsWay | Self::SwitchedOff | Self::Disabled => StatusCode::FORBIDDEN,
            Self::Provider(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(error) if error.passes() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Store(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn advice(&self, federation: &Federation) -> &'static str {
        match self {
            Self::UnknownProvider | Self::NotOnItsWay | Self::TooLong => {
                "Nobody was signed in. Go back to the application and start again."
            }
            Self::Provider(_) if federation.local_directory() != LocalDirectory::Closed => {
                "Try again in a moment. If it is urgent and you have an account of this service's own, sign in with that."
            }
            Self::Provider(_) | Self::Store(_) => "Nobody was signed in. Try again in a moment.",
            Self::Declined(_) | Self::Ended => "Nobody was signed in. You can try again.",
            Self::Disabled | Self::SwitchedOff => "Ask your administrator why.",
            _ => {
                "Nobody was signed in. Try again; if it happens again, tell your administrator when you saw this."
            }
        }
    }

    /// The page; with ways on, where it is known what the user was about to do.
    pub(crate) fn page(
        &self,
        app: &App,
        provider: Option<&Provider>,
        query: Option<&str>,
    ) -> Response {
        let name = provider.map(|p| p.config().name.as_str());
        if let Some(provider) = provider {
            tracing::info!(provider = %provider.config().id, reason = self.reason(), "a sign-in failed");
        }
        let heading = match (name, self) {
            (Some(name), Self::Provider(_)) => format!("{name} is out of reach"),
            (Some(name), _) => format!("You are not signed in with {name}"),
            (None, _) => "You are not signed in".to_owned(),
        };
        let back = query.map(|query| {
            format!(
                "{}?{query}",
                Endpoints::of(&app.config.issuer).path("/oauth/authorize")
            )
        });
        let local = match app.federation.local_directory() {
            LocalDirectory::BreakGlass => back.as_deref().map(crate::oauth::authorize::with_local),
            LocalDirectory::Offered | LocalDirectory::Closed => None,
        };
        let page = SignInProblem {
            heading: &heading,
            explanation: &self.to_string(),
            advice: self.advice(&app.federation),
            back: back.as_deref(),
            local: local.as_deref(),
        };
        pages::render(self.status(), &page, &FormTarget::default())
    }
}

/// What people are told of a fault of ours; the log has the rest.
fn told(error: &StoreError) -> &'static str {
    if error.passes() {
        "The service is busy."
    } else {
        "Something went wrong here."
    }
}
