//! Sinks: the log, sent to where security teams look.
//!
//! The log itself is what waits to be sent, so that nothing more is written when a call is decided: all that is kept of a sink is the next
//! leaf. A [`sender`] reads what is new, makes [`batch`]es of it, and moves on when the sink has taken them: each record is sent at
//! least once, in the log's order. A file a protocol: [`http`], [`splunk_hec`].

mod answer;
mod backoff;
mod batch;
mod http;
pub(crate) mod lag;
mod sender;
mod splunk_hec;

use std::time::Duration;

use self::{batch::Message, http::Http, splunk_hec::SplunkHec};
use crate::{
    app::SharedApp,
    config::sinks::{Sink, To},
};

pub(crate) use sender::Sender;

/// Why a batch was not taken.
#[derive(Debug)]
enum Failure {
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

/// What a sink is spoken to with.
enum Wire {
    Http(Http),
    SplunkHec(SplunkHec),
}

impl Wire {
    fn new(app: &SharedApp, sink: &Sink) -> Self {
        let client = app.outbound.trusted().clone();
        match &sink.to {
            To::Http(endpoint) => Self::Http(Http::new(client, endpoint.clone(), sink.timeout)),
            To::SplunkHec { endpoint, index } => Self::SplunkHec(SplunkHec::new(
                Http::new(client, endpoint.clone(), sink.timeout),
                index.clone(),
                app.log_key.name().to_owned(),
                sink.format,
            )),
        }
    }

    /// Sends a batch, and returns when the sink has taken it.
    async fn send(&mut self, batch: &[Message]) -> Result<(), Failure> {
        match self {
            Self::Http(http) => http.send(batch).await,
            Self::SplunkHec(splunk) => splunk.send(batch).await,
        }
    }
}
