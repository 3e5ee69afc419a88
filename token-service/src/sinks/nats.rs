//! NATS JetStream: a message a record, its id the record's, so that the stream knows what it has already (`Nats-Msg-Id`).

use std::time::Duration;

use async_nats::{
    ConnectOptions, HeaderMap,
    jetstream::{
        self,
        context::{Context, PublishError, PublishErrorKind},
    },
};
use rustls::ClientConfig;
use secrecy::ExposeSecret as _;

use super::{Failure, batch::Message};
use crate::config::sinks::NatsTo;

pub(super) struct Nats {
    to: NatsTo,
    tls: Option<ClientConfig>,
    timeout: Duration,
    stream: Option<Context>,
}

impl Nats {
    pub(super) fn new(to: NatsTo, tls: Option<ClientConfig>, timeout: Duration) -> Self {
        Self {
            to,
            tls,
            timeout,
            stream: None,
        }
    }

    pub(super) async fn send(&mut self, batch: &[Message]) -> Result<(), Failure> {
        let timeout = self.timeout;
        let sent = tokio::time::timeout(timeout, self.publish(batch)).await;
        let sent = sent.unwrap_or_else(|_| {
            let problem = format!("{} did not take all within {timeout:?}", self.to.address);
            Err(Failure::later(problem))
        });
        if matches!(sent, Err(Failure::Later { .. })) {
            self.stream = None;
        }
        sent
    }

    /// One after the other is published, and the stream's answers are waited for together.
    async fn publish(&mut self, batch: &[Message]) -> Result<(), Failure> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let mut answers = Vec::with_capacity(batch.len());
        for message in batch {
            let mut headers = HeaderMap::new();
            let record = &message.entry.record;
            headers.insert("Nats-Msg-Id", record.id.as_str());
            headers.insert("Writ-Kind", record.kind.as_str());
            headers.insert("Writ-Log-Index", message.leaf.to_string());
            let payload = message.text.clone().into();
            let subject = self.to.subject.clone();
            let answer = stream.publish_with_headers(subject, headers, payload).await;
            answers.push(answer.map_err(failure)?);
        }
        for answer in answers {
            answer.await.map_err(failure)?;
        }
        self.stream = Some(stream);
        Ok(())
    }

    async fn connect(&self) -> Result<Context, Failure> {
        let mut options = ConnectOptions::new()
            .name("writ")
            .connection_timeout(self.timeout);
        if let Some(token) = &self.to.token {
            options = options.token(token.expose_secret().to_owned());
        }
        if let Some(tls) = &self.tls {
            options = options.require_tls(true).tls_client_config(tls.clone());
        }
        let client = options.connect(&self.to.address.text).await;
        Ok(jetstream::new(client.map_err(Failure::later)?))
    }
}

fn failure(error: PublishError) -> Failure {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => Failure::Rejected {
            problem: error.to_string(),
        },
        PublishErrorKind::StreamNotFound => {
            Failure::later("no stream takes the subject; add one on the server")
        }
        _ => Failure::later(error),
    }
}
