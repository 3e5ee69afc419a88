//! The headers of every page: it runs nothing, loads nothing, is framed by nobody and kept by nobody.

use std::sync::LazyLock;

use axum::http::{HeaderMap, HeaderValue, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};
use url::Url;

use super::STYLE;

static STYLE_SOURCE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "'sha256-{}'",
        STANDARD.encode(Sha256::digest(STYLE.as_bytes()))
    )
});

/// Where a form of a page may lead besides this service. Browsers apply `form-action` to the redirect that answers a
/// form too, so a consent page names its client's redirect URI here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FormTarget(Option<String>);

impl FormTarget {
    /// A redirect URI's origin; its scheme alone where a CSP source cannot name the host.
    #[must_use]
    pub fn redirect(uri: &Url) -> Self {
        let source = match (uri.scheme(), uri.host()) {
            // Source expressions know no IPv6 literals (CSP 3 section 2.3.1).
            ("http" | "https", Some(url::Host::Ipv6(_)) | None) => format!("{}:", uri.scheme()),
            ("http" | "https", Some(_)) => uri.origin().ascii_serialization(),
            (scheme, _) => format!("{scheme}:"),
        };
        Self(Some(source))
    }
}

/// The headers of a page.
pub(super) fn of_page(target: &FormTarget) -> HeaderMap {
    let fixed = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    let mut headers: HeaderMap = fixed
        .into_iter()
        .map(|(name, value)| (name, HeaderValue::from_static(value)))
        .collect();
    let extra = target.0.as_deref().unwrap_or_default();
    let policy = format!(
        "default-src 'none'; style-src {}; img-src 'self'; form-action 'self' {extra}; base-uri 'none'; frame-ancestors 'none'",
        *STYLE_SOURCE
    );
    // A policy that is no header value would come from a URI that is none; the strictest one stands in for it.
    let policy = HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static(
        "default-src 'none'; frame-ancestors 'none'",
    ));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str) -> String {
        FormTarget::redirect(&Url::parse(uri).unwrap()).0.unwrap()
    }

    #[test]
    fn a_form_may_lead_to_the_clients_origin_and_nowhere_else() {
        assert_eq!(
            source("https://app.example:8443/cb?x=1"),
            "https://app.example:8443"
        );
        assert_eq!(source("http://127.0.0.1:5000/cb"), "http://127.0.0.1:5000");
        assert_eq!(source("http://[::1]:5000/cb"), "http:");
        assert_eq!(source("com.example.app:/cb"), "com.example.app:");
    }

    #[test]
    fn a_page_is_not_framed_kept_or_scripted() {
        let headers = of_page(&FormTarget::default());
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.contains("default-src 'none'"));
        assert!(policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("script-src"));
        assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    }
}
