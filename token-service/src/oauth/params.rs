//! Request parameters, read strictly: each at most once, bounded, and empty means absent (OAuth 2.1 section 3.1).

use std::collections::BTreeMap;

use axum::{
    body::Bytes,
    http::{HeaderMap, header},
};

use super::OAuthError;

/// More parameters than any request has a use for.
const MAX_PARAMETERS: usize = 64;
/// What fits a name; values are bounded by the body or request line they come in.
const MAX_NAME: usize = 64;

/// The parameters of one request.
#[derive(Debug, Default)]
pub struct Params(BTreeMap<String, String>);

/// Why parameters are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// OAuth 2.1 section 3.1: a parameter must not be included more than once.
    #[error("{0} is given more than once; send it once")]
    Repeated(String),
    /// Far more than any request needs.
    #[error("there are too many parameters, or one has too long a name")]
    TooMany,
    /// Percent-decoding does not give UTF-8, or gives a NUL.
    #[error("the parameters are not percent-encoded UTF-8, or hold a NUL")]
    NotText,
    /// The body is of another kind.
    #[error("the body must be application/x-www-form-urlencoded")]
    NotAForm,
    /// A parameter that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
}

impl From<ParamsError> for OAuthError {
    fn from(e: ParamsError) -> Self {
        Self::InvalidRequest(e.to_string().into())
    }
}

impl Params {
    /// Reads a query string or a form body.
    ///
    /// # Errors
    /// When a parameter is repeated, or there are too many, or the text is not UTF-8.
    pub fn parse(text: &[u8]) -> Result<Self, ParamsError> {
        let mut read = BTreeMap::new();
        for (count, (name, value)) in form_urlencoded::parse(text).enumerate() {
            if count >= MAX_PARAMETERS || name.len() > MAX_NAME {
                return Err(ParamsError::TooMany);
            }
            // The decoder replaces what is not UTF-8; such a value was never meant by anybody. Nor is a NUL, which databases
            // do not keep.
            let never_meant = ['\u{FFFD}', '\0'];
            if name.contains(never_meant) || value.contains(never_meant) {
                return Err(ParamsError::NotText);
            }
            if read.contains_key(name.as_ref()) {
                return Err(ParamsError::Repeated(printable(&name)));
            }
            read.insert(name.into_owned(), value.into_owned());
        }
        Ok(Self(read))
    }

    /// Reads a form body, whose type must say that it is one.
    ///
    /// # Errors
    /// As [`Params::parse`], or when the body is of another type.
    pub fn form(headers: &HeaderMap, body: &Bytes) -> Result<Self, ParamsError> {
        let essence = headers
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.split(';').next())
            .map(str::trim);
        match essence {
            Some(t) if t.eq_ignore_ascii_case("application/x-www-form-urlencoded") => {
                Self::parse(body)
            }
            _ => Err(ParamsError::NotAForm),
        }
    }

    /// A parameter's value; an empty one counts as absent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|v| !v.is_empty())
    }

    /// Takes a parameter out.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Puts a parameter in the place of another of its name.
    pub fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// All of them, form-encoded.
    #[must_use]
    pub fn to_form(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.0)
            .finish()
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// [`ParamsError::Missing`].
    pub fn require(&self, name: &'static str) -> Result<&str, ParamsError> {
        self.get(name).ok_or(ParamsError::Missing(name))
    }
}

/// A parameter's name as it may appear in a description (RFC 6749 appendix A.8 bounds the characters).
fn printable(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_parameter_is_refused_even_when_both_agree() {
        let error = Params::parse(b"a=1&b=2&a=1").unwrap_err();
        assert_eq!(error, ParamsError::Repeated("a".into()));
        assert!(Params::parse(b"resource=x&resource=y").is_err());
    }

    #[test]
    fn an_empty_parameter_counts_as_absent() {
        let params = Params::parse(b"state=&scope=a+b").unwrap();
        assert_eq!(params.get("state"), None);
        assert_eq!(params.get("scope"), Some("a b"));
        assert_eq!(params.require("state"), Err(ParamsError::Missing("state")));
    }

    #[test]
    fn what_is_not_text_or_too_much_is_refused() {
        assert_eq!(Params::parse(b"a=%ff").unwrap_err(), ParamsError::NotText);
        assert_eq!(Params::parse(b"a=b%00").unwrap_err(), ParamsError::NotText);
        let many = (0..65).map(|i| format!("p{i}=1&")).collect::<String>();
        assert_eq!(
            Params::parse(many.as_bytes()).unwrap_err(),
            ParamsError::TooMany
        );
    }

    #[test]
    fn a_body_of_another_type_is_refused() {
        let mut headers = HeaderMap::new();
        let body = Bytes::from_static(b"a=1");
        assert_eq!(
            Params::form(&headers, &body).unwrap_err(),
            ParamsError::NotAForm
        );
        headers.insert("content-type", "application/json".parse().unwrap());
        assert_eq!(
            Params::form(&headers, &body).unwrap_err(),
            ParamsError::NotAForm
        );
        let form = "application/x-www-form-urlencoded; charset=utf-8";
        headers.insert("content-type", form.parse().unwrap());
        assert!(Params::form(&headers, &body).is_ok());
    }
}
