//! Sinks: the log, sent to where security teams look.
//!
//! The log itself is what waits to be sent, so that nothing more is written when a call is decided: all that is kept of a sink is the next
//! leaf. A [`sender`] reads what is new, makes [`batch`]es of it, and moves on when the sink has taken them: each record is sent at
//! least once, in the log's order. A file a protocol: [`http`], [`splunk_hec`], [`syslog`], [`otlp`], [`nats`].

pub(crate) mod answer;
pub(crate) mod backoff;
mod batch;
pub(crate) mod http;
pub(crate) mod lag;
mod nats;
mod otlp;
mod sender;
mod splunk_hec;
mod syslog;

use std::time::Duration;

use self::{
    batch::Message, http::Http, nats::Nats, otlp::Otlp, splunk_hec::SplunkHec, syslog::Syslog,
};
use crate::{
    app::SharedApp,
    config::sinks::{Sink, To},
    http::trust::{self, TrustError},
};

pub(crate) use sender::Sender;

/// Why a batch was not taken.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The sink is not well, or does not know us: it is tried again.
    Later {
        /// What happened.
        problem: String,
        /// How long it wants to be left alone.
        after: Option<Duration>,
    },
    /// Something in this batch is what it will never take.
    Rejected {
        /// What it says.
        problem: String,
    },
}

impl Failure {
    fn later(problem: impl ToString) -> Self {
        Self::Later {
            problem: problem.to_string(),
            after: None,
        }
    }
}

/// What of a batch that was taken is gone all the same.
#[derive(Debug, Default)]
struct Lost {
    records: u64,
    problem: String,
}

/// Why a sink cannot be spoken to at all.
#[derive(Debug, thiserror::Error)]
#[error(
    "the sink {sink:?} of audit.sinks: {problem}; its cert_file and key_file are PEM and belong together"
)]
pub struct SinkError {
    sink: String,
    problem: TrustError,
}

/// What a sink is spoken to with.
enum Wire {
    Http(Http),
    SplunkHec(SplunkHec),
    Syslog(Syslog),
    Otlp(Otlp),
    Nats(Box<Nats>),
}

impl Wire {
    fn new(app: &SharedApp, sink: &Sink) -> Result<Self, SinkError> {
        let client = app.outbound.trusted().clone();
        let log = app.log_key.name().to_owned();
        let http = |endpoint| Http::new(client, endpoint, sink.timeout);
        let tls = |identity| {
            let authorities = &app.config.outbound.authorities;
            trust::client(authorities, identity).map_err(|problem| SinkError {
                sink: sink.name.clone(),
                problem,
            })
        };
        Ok(match sink.to.clone() {
            To::Http(endpoint) => Self::Http(http(endpoint)),
            To::SplunkHec { endpoint, index } => {
                Self::SplunkHec(SplunkHec::new(http(endpoint), index, log, sink.format))
            }
            To::Syslog { address, identity } => {
                let tls = tls(identity.as_ref())?;
                Self::Syslog(Syslog::new(tls, address, log, sink.timeout))
            }
            To::Otlp(endpoint) => Self::Otlp(Otlp::new(http(endpoint), log)),
            To::Nats(to) => {
                let tls = to.tls.then(|| tls(None)).transpose()?;
                Self::Nats(Box::new(Nats::new(to, tls, sink.timeout)))
            }
        })
    }

    /// Sends a batch, and returns when the sink has taken it.
    async fn send(&mut self, batch: &[Message]) -> Result<Lost, Failure> {
        let all = |()| Lost::default();
        match self {
            Self::Http(http) => http.send(batch).await.map(all),
            Self::SplunkHec(splunk) => splunk.send(batch).await.map(all),
            Self::Syslog(syslog) => syslog.send(batch).await.map(all),
            Self::Otlp(otlp) => otlp.send(batch).await,
            Self::Nats(nats) => nats.send(batch).await.map(all),
        }
    }
}
