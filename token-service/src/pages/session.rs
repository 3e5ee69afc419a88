//! The browser's cookie: before sign-in it only protects forms, after sign-in it is the session.
//!
//! Its value is 256 random bits; the store knows their hash alone. Every form carries a token derived from the value,
//! so that only a page of ours, shown to this browser, can be sent back (RFC 9700 section 4.7). Signing in replaces
//! the value: one that somebody else planted is worth nothing.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::secret::{self, SecretHash};

/// Length of [`secret::generate`]'s text.
const VALUE_BYTES: usize = 43;

/// How the cookie travels: with its full protection over https, without it on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `__Host-`: this host only, over TLS only.
    Https,
    /// Development on loopback.
    Loopback,
}

impl Transport {
    /// How browsers reach this issuer.
    #[must_use]
    pub fn of(issuer: &str) -> Self {
        if issuer.starts_with("https://") {
            Self::Https
        } else {
            Self::Loopback
        }
    }

    fn cookie_name(self) -> &'static str {
        match self {
            Self::Https => "__Host-writ",
            Self::Loopback => "writ",
        }
    }
}

/// A browser, known by its cookie.
pub struct Browser {
    value: Zeroizing<String>,
}

impl std::fmt::Debug for Browser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Browser(…)")
    }
}

impl Browser {
    /// A browser that has no cookie of ours yet, or gets a new one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            value: secret::generate(),
        }
    }

    /// The browser that sends this request. Two cookies of the name count as none: one of them was planted.
    #[must_use]
    pub fn of(headers: &HeaderMap, transport: Transport) -> Option<Self> {
        let mut values = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == transport.cookie_name())
            .map(|(_, value)| value);
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let well_formed = value.len() == VALUE_BYTES && URL_SAFE_NO_PAD.decode(value).is_ok();
        well_formed.then(|| Self {
            value: Zeroizing::new(value.to_owned()),
        })
    }

    /// The same browser once more.
    #[must_use]
    pub fn same(&self) -> Self {
        Self {
            value: self.value.clone(),
        }
    }

    /// A secret of this browser's own for one purpose on one occasion: known again when the browser comes back, and kept
    /// nowhere meanwhile.
    #[must_use]
    pub fn derived(&self, purpose: &str, occasion: &str) -> String {
        let mut hash = Sha256::new();
        for part in ["writ", purpose, occasion, self.value.as_str()] {
            hash.update(Sha256::digest(part));
        }
        URL_SAFE_NO_PAD.encode(hash.finalize())
    }

    /// What the store knows the session by.
    #[must_use]
    pub fn session(&self) -> SecretHash {
        SecretHash::of(&self.value)
    }

    /// The token that this browser's forms carry.
    #[must_use]
    pub fn csrf(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"writ form token\0");
        hash.update(self.value.as_bytes());
        URL_SAFE_NO_PAD.encode(hash.finalize())
    }

    /// Whether a form was shown to this browser.
    #[must_use]
    pub fn has_sent(&self, csrf: Option<&str>) -> bool {
        csrf.is_some_and(|csrf| csrf.as_bytes().ct_eq(self.csrf().as_bytes()).into())
    }

    /// `Set-Cookie`, until the browser is closed.
    #[must_use]
    pub fn set_cookie(&self, transport: Transport) -> Option<HeaderValue> {
        let secure = match transport {
            Transport::Https => "; Secure",
            Transport::Loopback => "",
        };
        let name = transport.cookie_name();
        let cookie = format!(
            "{name}={}; Path=/; HttpOnly; SameSite=Lax{secure}",
            *self.value
        );
        let mut value = HeaderValue::try_from(cookie).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl Default for Browser {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(cookie: &str, transport: Transport) -> Option<Browser> {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.parse().unwrap());
        Browser::of(&headers, transport)
    }

    #[test]
    fn a_cookie_comes_back_as_the_same_browser() {
        let browser = Browser::new();
        for transport in [Transport::Https, Transport::Loopback] {
            let set = browser.set_cookie(transport).unwrap();
            let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            let again = sent(&format!("other=1; {pair}"), transport).unwrap();
            assert_eq!(again.csrf(), browser.csrf());
            assert!(
                sent(&format!("{pair}; {pair}"), transport).is_none(),
                "two are none"
            );
        }
    }

    #[test]
    fn over_https_the_cookie_is_bound_to_the_host() {
        let cookie = Browser::new()
            .set_cookie(Transport::of("https://writ.test"))
            .unwrap();
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.starts_with("__Host-writ="));
        for attribute in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure"] {
            assert!(cookie.contains(attribute), "{attribute}");
        }
        assert!(!cookie.contains("Domain"));
    }

    #[test]
    fn a_form_of_another_browser_is_not_taken() {
        let (mine, other) = (Browser::new(), Browser::new());
        assert!(mine.has_sent(Some(&mine.csrf())));
        assert!(!mine.has_sent(Some(&other.csrf())));
        assert!(!mine.has_sent(Some("")));
        assert!(!mine.has_sent(None));
    }

    #[test]
    fn a_value_of_another_shape_is_no_cookie_of_ours() {
        for bad in [
            "writ=",
            "writ=short",
            "writ",
            "__Host-writ=x",
            &format!("writ={}", "!".repeat(43)),
        ] {
            assert!(sent(bad, Transport::Loopback).is_none(), "{bad}");
        }
    }
}
