//! Records as they are sent, and how many at a time.

use serde::Serialize;

use crate::{
    audit::Record,
    config::sinks::{Format, Sink},
    ocsf,
    store::audit::Entry,
};

/// A record as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Its place in the log.
    pub(super) leaf: u64,
    /// What is sent.
    pub(super) entry: Entry,
    /// The same as JSON in the sink's format, on one line.
    pub(super) text: String,
}

/// [`Format::Writ`].
#[derive(Serialize)]
struct Placed<'a> {
    log: &'a str,
    index: u64,
    #[serde(flatten)]
    record: &'a Record,
}

/// As many of the records, from the first on, as fit into a batch of the sink's; at least one, where there is one.
pub(super) fn of(
    sink: &Sink,
    log: &str,
    entries: Vec<Entry>,
) -> Result<Vec<Message>, serde_json::Error> {
    let mut room = sink.batch_bytes;
    let mut batch = Vec::with_capacity(entries.len());
    for entry in entries {
        let leaf = entry.leaf.and_then(|leaf| u64::try_from(leaf).ok());
        let leaf = leaf.unwrap_or_default();
        let text = match sink.format {
            Format::Ocsf => serde_json::to_string(&ocsf::event(&entry, log))?,
            Format::Writ => serde_json::to_string(&Placed {
                log,
                index: leaf,
                record: &entry.record,
            })?,
        };
        if text.len() > room && !batch.is_empty() {
            break;
        }
        room = room.saturating_sub(text.len());
        batch.push(Message { leaf, entry, text });
    }
    Ok(batch)
}
