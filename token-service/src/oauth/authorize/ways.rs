//! The ways to sign in: providers to choose from, the provider that an e-mail address leads to, the local directory.

use axum::{http::StatusCode, response::Response};

use super::{Refused, Visit, request::AuthorizationRequest, sign_in};
use crate::{
    app::App,
    config::federation::LocalDirectory,
    federation::{Provider, start},
    oauth::{metadata::Endpoints, params::Params},
    pages::{self, FormTarget, Forward, ProviderButton},
    store::{StoreError, providers},
};

/// A parameter of ours in the query of an authorization request: the user wants the local directory.
const LOCAL: &str = "sign_in=local";

/// The ways to sign in that a page offers.
pub(super) struct Ways<'a> {
    pub(super) providers: Vec<ProviderButton<'a>>,
    pub(super) email: Option<String>,
    pub(super) password: bool,
    pub(super) local: Option<String>,
}

impl<'a> Ways<'a> {
    /// Those that are open, for this visit.
    pub(super) async fn of(app: &'a App, visit: &Visit) -> Result<Self, StoreError> {
        let wants_local = visit.query().split('&').any(|pair| pair == LOCAL);
        let directory = app.federation.local_directory();
        let open: Vec<&Provider> = match app.federation.providers() {
            [] => Vec::new(),
            all => {
                let known = providers::list(&mut *app.store.read().await?).await?;
                let is_on = |p: &&Provider| {
                    known.iter().any(|k| {
                        k.issuer == p.config().issuer
                            && k.status == crate::registry::Status::Approved
                    })
                };
                all.iter().filter(is_on).collect()
            }
        };
        let by_email = |p: &&Provider| !p.config().email_domains.is_empty();
        let break_glass = directory == LocalDirectory::BreakGlass;
        Ok(Self {
            providers: open
                .iter()
                .filter(|p| !by_email(p))
                .map(|p| button(app, p, visit.query()))
                .collect(),
            email: open.iter().any(by_email).then(String::new),
            password: directory == LocalDirectory::Offered || (break_glass && wants_local),
            local: (break_glass && !wants_local).then(|| with_local(&visit.here)),
        })
    }
}

fn button<'a>(app: &App, provider: &'a Provider, query: &str) -> ProviderButton<'a> {
    let at = Endpoints::of(&app.config.issuer);
    let config = provider.config();
    ProviderButton {
        name: &config.name,
        initial: config.name.chars().next().unwrap_or_default(),
        logo: config
            .logo
            .as_ref()
            .map(|_| at.path(&format!("/oauth/logo/{}", config.id))),
        href: at.path(&format!("/oauth/sign-in/{}?{query}", config.id)),
    }
}

/// The same authorization request, at the local directory's form.
pub(crate) fn with_local(here: &str) -> String {
    if here.split(['?', '&']).any(|pair| pair == LOCAL) {
        return here.to_owned();
    }
    format!("{here}&{LOCAL}")
}

/// Leads on to the provider that the user's e-mail address belongs to.
pub(super) async fn by_email(
    app: &App,
    visit: &Visit,
    request: &AuthorizationRequest,
    form: &Params,
) -> Result<Response, Refused> {
    let email = form.get("email").map(str::trim).unwrap_or_default();
    let Some(provider) = app.federation.provider_for(email) else {
        let mut ways = Ways::of(app, visit).await?;
        ways.email = Some(email.to_owned());
        let told =
            "Nobody signs in here with an address like this one. Check it, or choose another way.";
        return Ok(sign_in::page(visit, request, &ways, "", Some(told)));
    };
    match start::set_out(app, provider, &visit.browser, visit.query(), Some(email)).await {
        Ok(there) => {
            let page = Forward {
                heading: &format!("Signing in with {}", provider.config().name),
                location: there.as_str(),
            };
            Ok(pages::render(StatusCode::OK, &page, &FormTarget::default()))
        }
        Err(failure) => Ok(failure.page(app, Some(provider), Some(visit.query()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_directory_is_asked_for_once() {
        let once = with_local("/oauth/authorize?client_id=a");
        assert_eq!(once, "/oauth/authorize?client_id=a&sign_in=local");
        assert_eq!(with_local(&once), once);
    }
}
