//! What a person sees: sign-in, consent, and what went wrong. Server-rendered, without a line of JavaScript.
//!
//! A page is a template plus the headers that keep it from being framed, cached or made to load anything. The cookie
//! and the token that protect its forms are in [`session`]; who may try how often is in [`throttle`].

mod headers;
pub mod session;
pub mod throttle;

use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse as _, Response},
};

pub use headers::FormTarget;

/// The stylesheet, inline in every page and allowed there by its digest.
pub(crate) const STYLE: &str = include_str!("../../templates/writ.css");

/// The sign-in page.
#[derive(Debug, Template)]
#[template(path = "sign_in.html")]
pub struct SignIn<'a> {
    /// The application the user comes from.
    pub client_name: &'a str,
    /// Where the form goes: this authorization request.
    pub action: &'a str,
    /// The form's proof that it is ours.
    pub csrf: &'a str,
    /// What was typed before.
    pub user_name: &'a str,
    /// Why it did not work.
    pub problem: Option<&'a str>,
    /// Providers to be chosen from.
    pub providers: &'a [ProviderButton<'a>],
    /// Whether the e-mail address is asked for, to choose the provider by; what was typed before.
    pub email: Option<&'a str>,
    /// Whether a password of the local directory is asked for.
    pub password: bool,
    /// Where the local directory is, when it is not on this page.
    pub local: Option<&'a str>,
}

/// A provider on the sign-in page.
#[derive(Debug)]
pub struct ProviderButton<'a> {
    /// What people know it by.
    pub name: &'a str,
    /// The first letter of that.
    pub initial: char,
    /// Where its picture is.
    pub logo: Option<String>,
    /// Where the sign-in there begins.
    pub href: String,
}

/// Asks whether to sign out.
#[derive(Debug, Template)]
#[template(path = "sign_out.html")]
pub struct SignOut<'a> {
    /// Who is signed in.
    pub user_name: &'a str,
    /// The application that asks.
    pub client_name: Option<String>,
    /// Where the form goes.
    pub action: &'a str,
    /// The form's proof that it is ours.
    pub csrf: &'a str,
    /// The request once more, for the form: the application …
    pub client_id: Option<&'a str>,
    /// … where it wants the browser afterwards …
    pub redirect_uri: Option<&'a str>,
    /// … and what it wants to see again there.
    pub state: Option<&'a str>,
}

/// A page that leads on to another site. Browsers apply `form-action` to every redirect that follows a form, and which
/// those are at somebody else's site nobody knows; what follows a page is not bound by it.
#[derive(Debug, Template)]
#[template(path = "forward.html")]
pub struct Forward<'a> {
    /// What happens, in a few words.
    pub heading: &'a str,
    /// Where it leads.
    pub location: &'a str,
}

/// A sign-in at a provider that came to nothing.
#[derive(Debug, Template)]
#[template(path = "sign_in_problem.html")]
pub struct SignInProblem<'a> {
    /// What happened, in a few words.
    pub heading: &'a str,
    /// What happened, in a sentence.
    pub explanation: &'a str,
    /// What to do.
    pub advice: &'a str,
    /// Back to the sign-in page.
    pub back: Option<&'a str>,
    /// The local directory, where it is for emergencies.
    pub local: Option<&'a str>,
}

/// Who vouches for an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker<'a> {
    /// An administrator, who has registered it.
    Registered,
    /// The site that its metadata document is at.
    Site(&'a str),
    /// Nobody: it has registered itself.
    Unknown,
}

/// The consent page.
#[derive(Debug, Template)]
#[template(path = "consent.html")]
pub struct Consent<'a> {
    /// The application that asks.
    pub client_name: &'a str,
    /// Its registered id.
    pub client_id: &'a str,
    /// Who vouches for it.
    pub maker: Maker<'a>,
    /// The server's id in the registry and its resource identifier; none where only the user's identity is asked for.
    pub server: Option<(&'a str, &'a str)>,
    /// Where the answer goes, as people read it.
    pub redirect_host: &'a str,
    /// Whether that is the user's own computer.
    pub on_this_computer: bool,
    /// What is asked for.
    pub scopes: &'a [&'a str],
    /// What of the user's identity is asked for, as ends of a sentence.
    pub identity: &'a [&'a str],
    /// Whether it may go on while the user is away.
    pub offline: bool,
    /// The same, as the form says back that it was shown.
    pub scope: &'a str,
    /// Who is signed in.
    pub user_name: &'a str,
    /// Where the form goes: this authorization request.
    pub action: &'a str,
    /// The form's proof that it is ours.
    pub csrf: &'a str,
}

/// A page that says what went wrong where there is nowhere to send the user back to.
#[derive(Debug, Template)]
#[template(path = "problem.html")]
pub struct Problem<'a> {
    /// What happened, in a few words.
    pub heading: &'a str,
    /// What happened, in a sentence.
    pub explanation: &'a str,
    /// What to do.
    pub advice: &'a str,
}

/// Renders a page whose forms go to this service and may end up at `target`.
pub fn render(status: StatusCode, page: &impl Template, target: &FormTarget) -> Response {
    match page.render() {
        Ok(html) => (status, headers::of_page(target), Html(html)).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Renders a [`Problem`].
pub fn problem(status: StatusCode, page: &Problem<'_>) -> Response {
    render(status, page, &FormTarget::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_name_cannot_add_markup() {
        let page = SignIn {
            client_name: "<script>alert(1)</script>",
            action: "/oauth/authorize?state=\"><script>",
            csrf: "c",
            user_name: "\" onfocus=\"x",
            problem: None,
            providers: &[],
            email: None,
            password: true,
            local: None,
        };
        let html = page.render().unwrap();
        assert!(!html.contains("<script"), "{html}");
        assert!(!html.contains("\" onfocus"), "{html}");
    }

    #[test]
    fn the_stylesheet_cannot_end_its_element_early_or_load_anything() {
        assert!(!STYLE.contains('<'));
        assert!(!STYLE.contains("url("));
        assert!(!STYLE.contains("@import"));
    }
}
