//! Syslog (RFC 5424) over TLS (RFC 5425).
//!
//! The protocol has no answer by which a receiver says what it has. So each batch has a connection of its own, and counts when the
//! receiver has closed that after us, as RFC 5425 section 4.4 asks: by then it has read all of it.

use std::{fmt::Write as _, io, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Failure, batch::Message};
use crate::{
    audit::{Finding, Kind, Record, Verdict},
    config::sinks::Address,
};

/// RFC 5424 section 6.2.1: log audit.
const FACILITY: u8 = 13;
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;
/// Structured data of one's own has an enterprise's number in its name; this is the one for those that have none (RFC 5612).
const STRUCTURED: &str = "writ@32473";

pub(super) struct Syslog {
    connector: TlsConnector,
    address: Address,
    server: ServerName<'static>,
    /// The log's name.
    log: String,
    timeout: Duration,
}

impl Syslog {
    pub(super) fn new(tls: ClientConfig, address: Address, log: String, timeout: Duration) -> Self {
        Self {
            connector: TlsConnector::from(Arc::new(tls)),
            server: address.server.clone(),
            address,
            log,
            timeout,
        }
    }

    pub(super) async fn send(&self, batch: &[Message]) -> Result<(), Failure> {
        let mut frames = String::new();
        for message in batch {
            let text = self.message(message);
            // RFC 5425 section 4.3: octet counting.
            let _ = write!(frames, "{} {text}", text.len());
        }
        match timeout(self.timeout, self.exchange(frames.as_bytes())).await {
            Ok(exchanged) => exchanged.map_err(Failure::later),
            Err(_) => Err(Failure::later(format!(
                "{} did not take all and close the connection within {:?}",
                self.address, self.timeout
            ))),
        }
    }

    async fn exchange(&self, frames: &[u8]) -> io::Result<()> {
        let tcp = TcpStream::connect(&self.address.text).await?;
        let mut tls = self.connector.connect(self.server.clone(), tcp).await?;
        tls.write_all(frames).await?;
        tls.shutdown().await?;
        let mut ignored = [0; 512];
        loop {
            match tls.read(&mut ignored).await {
                Ok(0) => return Ok(()),
                // It may close the connection without a word of its own.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
    }

    /// RFC 5424 section 6. Without a byte order mark: what follows is JSON, which has none (RFC 8259 section 8.1).
    fn message(&self, message: &Message) -> String {
        let record = &message.entry.record;
        let priority = FACILITY * 8 + severity(record);
        let host = self.log.split(['/', ':']).next().unwrap_or("-");
        let (time, kind) = (&record.time, record.kind.as_str());
        let (id, log) = (value(&record.id), value(&self.log));
        let (index, text) = (message.leaf, &message.text);
        format!(
            r#"<{priority}>1 {time} {host} writ - {kind} [{STRUCTURED} id="{id}" log="{log}" index="{index}"] {text}"#
        )
    }
}

fn severity(record: &Record) -> u8 {
    match (record.kind, record.decision) {
        (Kind::Rogue, _) if Finding::on(record).is_some_and(Finding::is_news) => INFORMATIONAL,
        (Kind::Rogue | Kind::PinChanged, _) | (_, Some(Verdict::Deny)) => WARNING,
        _ => INFORMATIONAL,
    }
}

/// RFC 5424 section 6.3.3: what is escaped in a value.
fn value(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '"' | '\\' | ']') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_ends_a_value_early() {
        assert_eq!(super::value(r#"a"b\c]d"#), r#"a\"b\\c\]d"#);
    }
}
