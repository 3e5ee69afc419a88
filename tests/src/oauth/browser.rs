//! A person's browser, as far as signing in needs one: cookies, redirects, and forms filled in as that person would.

use anyhow::{Context, Result, bail};
use reqwest::header::LOCATION;
use reqwest::redirect::Policy;
use reqwest::{Client as Http, Response};
use url::Url;

use super::forms::{Form, links};

/// More pages and redirects than any sign-in has.
const MAX_STEPS: usize = 30;

/// See the module. Sessions last as long as it does.
#[derive(Clone, Debug)]
pub struct Browser {
    http: Http,
    username: String,
    password: String,
    provider: Option<String>,
    application: Vec<String>,
    seen: Vec<Step>,
}

/// One thing a person sees in the address bar on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A page, by its address and heading.
    Page {
        /// Its address, without the query.
        address: String,
        /// Its first heading.
        heading: String,
    },
    /// A redirect that the browser followed, without the query.
    Redirect(String),
}

impl Browser {
    /// A new browser with this person before it.
    pub fn of(username: &str, password: &str) -> Result<Self> {
        Ok(Self {
            http: Http::builder()
                .cookie_store(true)
                .redirect(Policy::none())
                .build()?,
            username: username.to_owned(),
            password: password.to_owned(),
            provider: None,
            application: Vec::new(),
            seen: Vec::new(),
        })
    }

    /// The person signs in at this identity provider, or with a `local` account; at the first that is offered otherwise.
    pub fn choosing(mut self, provider: &str) -> Self {
        self.provider = Some(provider.to_owned());
        self
    }

    /// Opens a page.
    pub async fn visit(&self, address: &str) -> Result<Response> {
        Ok(self.http.get(address).send().await?)
    }

    /// Goes where a redirect leads.
    pub async fn follow(&self, answer: &Response) -> Result<Response> {
        Ok(self.http.get(redirect_target(answer)?).send().await?)
    }

    /// What was seen on the way, so far.
    pub fn seen(&self) -> &[Step] {
        &self.seen
    }

    /// Opens a page that an application has sent the person to, and goes on, saying yes to whatever is asked, until
    /// a redirect leads back to the application; answers where.
    ///
    /// The application is at the `redirect_uri` or `post_logout_redirect_uri` of the first address; a pushed request
    /// names none, and then it is wherever the issuer's own answer (RFC 9207) goes.
    pub async fn open(&mut self, start: &str) -> Result<Url> {
        let start = Url::parse(start)?;
        self.application = start
            .query_pairs()
            .filter(|(name, _)| name.ends_with("redirect_uri"))
            .map(|(_, value)| value.into_owned())
            .collect();
        let pages = start.origin();
        let mut answer = self.http.get(start).send().await?;
        for _ in 0..MAX_STEPS {
            if answer.status().is_redirection() {
                let next = redirect_target(&answer)?;
                if self.is_the_applications(&next, &pages) {
                    return Ok(next);
                }
                self.seen.push(Step::Redirect(plain(&next)));
                answer = self.http.get(next).send().await?;
            } else if answer.status().is_success() {
                answer = self.say_yes(answer).await?;
            } else {
                let (status, page) = (answer.status(), answer.text().await?);
                bail!("the sign-in ended with {status}: {page}");
            }
        }
        bail!("the sign-in did not end after {MAX_STEPS} pages and redirects")
    }

    fn is_the_applications(&self, next: &Url, pages: &url::Origin) -> bool {
        let named = self
            .application
            .iter()
            .any(|uri| next.as_str().starts_with(uri.as_str()));
        let issuer = pages.ascii_serialization();
        let answered = self.application.is_empty()
            && next.origin() != *pages
            && next
                .query_pairs()
                .any(|(name, value)| name == "iss" && value.starts_with(&issuer));
        named || answered
    }

    /// Goes on from a page: follows the link that leads on, or fills in whatever is asked for and presses the affirmative
    /// button.
    pub async fn say_yes(&mut self, page: Response) -> Result<Response> {
        let address = page.url().clone();
        let html = page.text().await?;
        self.seen.push(Step::Page {
            address: plain(&address),
            heading: heading(&html),
        });
        if let Some(link) = way_on(&html, self.provider.as_deref()) {
            return Ok(self.http.get(address.join(&link)?).send().await?);
        }
        let mut form = Form::first(&html).with_context(|| format!("at {address}: {html}"))?;
        for name in ["username", "login", "email"] {
            form.fill(name, &self.username);
        }
        form.fill("password", &self.password);
        form.press(&["sign_in", "approve", "email", "sign_out", "yes"]);
        let action = address.join(&form.action)?;
        Ok(self
            .http
            .post(action)
            // A browser sends these with a form, and a careful server looks at them.
            .header("Origin", address.origin().ascii_serialization())
            .header("Sec-Fetch-Site", "same-origin")
            .form(&form.fields)
            .send()
            .await?)
    }
}

/// The link that leads on: to another site, or to the provider that was chosen.
fn way_on(html: &str, provider: Option<&str>) -> Option<String> {
    let chosen = |href: &String| match provider {
        Some("local") => href.starts_with("/oauth/authorize?") && href.ends_with("&sign_in=local"),
        Some(provider) => href.contains(&format!("/oauth/sign-in/{provider}?")),
        None => href.contains("/oauth/sign-in/"),
    };
    let links = links(html);
    let forward = links.iter().find(|(id, _)| id == "forward");
    forward
        .map(|(_, href)| href.clone())
        .or_else(|| links.into_iter().map(|(_, href)| href).find(chosen))
}

fn redirect_target(answer: &Response) -> Result<Url> {
    let location = answer
        .headers()
        .get(LOCATION)
        .context("a redirect without Location")?
        .to_str()?;
    Ok(answer.url().join(location)?)
}

/// An address as a person reads it.
fn plain(url: &Url) -> String {
    let mut plain = url.clone();
    plain.set_query(None);
    plain.to_string()
}

fn heading(html: &str) -> String {
    let inside = html
        .split_once("<h1")
        .and_then(|(_, rest)| rest.split_once('>'))
        .and_then(|(_, rest)| rest.split_once("</h1>"))
        .map_or("", |(heading, _)| heading);
    let mut text = String::new();
    let mut in_tag = false;
    for c in inside.chars() {
        match c {
            '<' => in_tag = true,
            '>' => in_tag = false,
            c if !in_tag => text.push(c),
            _ => {}
        }
    }
    text.trim().to_owned()
}
