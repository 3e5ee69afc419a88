//! Lines of JSON by POST, a record each (`application/x-ndjson`).

use std::{io::Write as _, time::Duration};

use flate2::{Compression, write::GzEncoder};
use reqwest::{
    Client, RequestBuilder,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use url::Url;

use super::{Failure, answer, batch::Message};
use crate::config::{remote::Credential, sinks::Endpoint};

/// What takes batches by POST.
#[derive(Debug)]
pub(crate) struct Http {
    client: Client,
    pub(super) endpoint: Endpoint,
    timeout: Duration,
}

impl Http {
    pub(crate) fn new(client: Client, endpoint: Endpoint, timeout: Duration) -> Self {
        Self {
            client,
            endpoint,
            timeout,
        }
    }

    pub(super) async fn send(&self, batch: &[Message]) -> Result<(), Failure> {
        let mut body = Vec::new();
        for message in batch {
            body.extend_from_slice(message.text.as_bytes());
            body.push(b'\n');
        }
        let request = self.post(&self.endpoint.url, "application/x-ndjson", body)?;
        answer::to(request).await?.judge()
    }

    /// A request with this content, compressed where that is wanted, that says who this is.
    pub(super) fn post(
        &self,
        url: &Url,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<RequestBuilder, Failure> {
        let mut request = self
            .client
            .post(url.clone())
            .timeout(self.timeout)
            .header(CONTENT_TYPE, content_type);
        if let Some(Credential { name, value }) = &self.endpoint.credential {
            request = request.header(name, value);
        }
        if !self.endpoint.gzip {
            return Ok(request.body(body));
        }
        let mut compressed = GzEncoder::new(Vec::new(), Compression::fast());
        let compressed = compressed
            .write_all(&body)
            .and_then(|()| compressed.finish());
        let compressed = compressed.map_err(Failure::later)?;
        Ok(request.header(CONTENT_ENCODING, "gzip").body(compressed))
    }
}
