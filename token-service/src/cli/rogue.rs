//! `writ rogue …`

mod adopt;

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use serde_json::Value;

use super::{CliError, Output};
use crate::{
    audit::{Finding, Kind, Record},
    clock::{Clock as _, SystemClock},
    config::Config,
    store::{Store, audit::Filter, shadow_servers::ShadowServer},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show what was found, the newest last.
    List(Box<List>),
    /// Show the servers that agents use and nobody has registered.
    Servers(Servers),
    /// Register servers of that list.
    Adopt(Box<adopt::Adopt>),
    /// Say no more of a server of that list; its use is still counted.
    Dismiss(Dismiss),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// How many of the newest.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Only what was found like this.
    #[arg(long, value_parser = PossibleValuesParser::new(Finding::ALL.map(Finding::as_str)))]
    finding: Option<String>,
    /// Only this server.
    #[arg(long)]
    server: Option<String>,
    /// Only this agent.
    #[arg(long)]
    agent: Option<String>,
    /// Only this user or workload.
    #[arg(long)]
    subject: Option<String>,
    /// Only from this time on: RFC 3339, such as 2026-11-23T18:00:00Z.
    #[arg(long)]
    since: Option<jiff::Timestamp>,
    /// Only before this time.
    #[arg(long)]
    until: Option<jiff::Timestamp>,
    /// Only before the record of this id: the first of a page, for the page before it.
    #[arg(long, value_name = "ID", value_parser = super::audit::record_id)]
    before: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Servers {
    /// With those that were adopted or dismissed.
    #[arg(long)]
    all: bool,
}

#[derive(Debug, Args)]
pub(super) struct Dismiss {
    /// Its id, or its host, with its path where it is not the only one there.
    server: String,
    /// Why: for the audit trail, and for whoever asks again.
    #[arg(long, value_name = "TEXT", value_parser = super::stop::reason)]
    reason: String,
}

impl Command {
    pub(super) async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        match self {
            Self::List(list) => list.run(store, output).await,
            Self::Servers(Servers { all }) => servers(store, all, output).await,
            Self::Adopt(adopt) => adopt.run(config, store, output).await,
            Self::Dismiss(Dismiss { server, reason }) => {
                let all = store.shadow_servers(true).await?;
                let found = one(&all, &server)?;
                store.dismiss(&found.id, &reason, SystemClock.now()).await?;
                output.done("shadow server", &place(found), "dismissed")
            }
        }
    }
}

impl List {
    async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let finding = Finding::ALL
            .into_iter()
            .find(|finding| Some(finding.as_str()) == self.finding.as_deref());
        let filter = Filter {
            kind: Some(Kind::Rogue),
            finding,
            server: self.server,
            agent: self.agent,
            subject: self.subject,
            since: self.since,
            until: self.until,
            before: self.before,
            ..Filter::default()
        };
        let entries = store.newest_records(&filter, self.limit).await?;
        if output.is_json() {
            return entries.iter().try_for_each(|e| output.json(&e.record));
        }
        let header = [
            "TIME (UTC)",
            "FINDING",
            "WHERE",
            "WHO",
            "AGENT",
            "FROM",
            "TIMES",
            "WHAT",
            "ID",
        ];
        output.table(&entries, header, |entry| columns(&entry.record))
    }
}

fn columns(record: &Record) -> [String; 9] {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let detail = |name: &str| record.detail.as_ref().and_then(|detail| detail.get(name));
    let word = |name: &str| detail(name).and_then(Value::as_str).map(str::to_owned);
    let place = match (&record.server, word("host"), word("path")) {
        (Some(server), ..) => server.clone(),
        (None, Some(host), Some(path)) => host + &path,
        _ => String::new(),
    };
    let client = word("client").or_else(|| word("user_agent"));
    let called = [record.reason.as_deref(), record.target.as_deref()];
    [
        record
            .time
            .get(..19)
            .unwrap_or(&record.time)
            .replace('T', " "),
        Finding::on(record).map_or("", Finding::as_str).to_owned(),
        place,
        text(&record.subject),
        record.agent.clone().or(client).unwrap_or_default(),
        text(&record.source_ip),
        detail("count").map_or_else(|| "1".to_owned(), Value::to_string),
        called.into_iter().flatten().collect::<Vec<_>>().join(": "),
        record.id.clone(),
    ]
}

async fn servers(store: &Store, all: bool, output: &mut Output) -> Result<(), CliError> {
    let servers = store.shadow_servers(all).await?;
    if output.is_json() {
        return servers.iter().try_for_each(|server| output.json(server));
    }
    let header = [
        "ID", "SERVER", "STATUS", "FIRST", "LAST", "CALLS", "CLIENTS", "FROM", "TOOLS",
    ];
    output.table(&servers, header, |server| {
        let day = |time: &str| time.get(..16).unwrap_or(time).replace('T', " ");
        let fate = server.fate.as_str();
        let status = match (&server.server, &server.reason) {
            (Some(id), _) => format!("{fate} as {id}"),
            (None, Some(reason)) => format!("{fate}: {reason}"),
            (None, None) => fate.to_owned(),
        };
        [
            server.id.clone(),
            place(server),
            status,
            day(&server.first),
            day(&server.last),
            server.calls.to_string(),
            server.clients.join(", "),
            server.sources.join(", "),
            server.tools.join(", "),
        ]
    })
}

fn place(server: &ShadowServer) -> String {
    format!("{}{}", server.host, server.path)
}

/// The one that is meant: by its id, its host, or its host and path.
fn one<'a>(all: &'a [ShadowServer], named: &str) -> Result<&'a ShadowServer, CliError> {
    let named = named.split_once("://").map_or(named, |(_, rest)| rest);
    let is_meant = |server: &&ShadowServer| {
        [&server.id, &server.host, &place(server)]
            .contains(&&named.trim_end_matches('/').to_owned())
    };
    let mut found = all.iter().filter(is_meant);
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(CliError::Usage(format!(
            "no agent was seen to use {named:?}: `writ rogue servers --all` shows which they use"
        ))),
        (Some(one), Some(other)) => Err(CliError::Usage(format!(
            "there is more than one at {named}: name {} or {}",
            place(one),
            place(other)
        ))),
    }
}
