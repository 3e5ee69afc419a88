//! The openidconnect crate's requests, made with the service's own client: no redirects, a time limit, bounded answers.

use std::pin::Pin;

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse, http};

use crate::http::outbound::{Outbound, ReadError, read};

/// More than any discovery document, key set or token answer.
const MAX_ANSWER: usize = 512 * 1024;

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    /// It was not answered, or not in time.
    #[error("{}", innermost(.0))]
    Request(#[from] reqwest::Error),
    /// The answer could not be read.
    #[error(transparent)]
    Answer(#[from] ReadError),
    /// The answer is not one of HTTP.
    #[error(transparent)]
    Malformed(#[from] http::Error),
}

/// Makes requests to providers.
pub(super) struct Http(Outbound);

impl Http {
    pub(super) fn of(outbound: &Outbound) -> Self {
        Self(outbound.clone())
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = FetchError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, FetchError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(async move {
            let response = self.0.trusted().execute(request.try_into()?).await?;
            let mut answer = http::Response::builder().status(response.status());
            for (name, value) in response.headers() {
                answer = answer.header(name, value);
            }
            Ok(answer.body(read(response, MAX_ANSWER).await?)?)
        })
    }
}

/// What is really the matter: the outer errors name only the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
