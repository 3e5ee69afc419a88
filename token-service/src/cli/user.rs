//! `writ user …`

use std::{collections::BTreeSet, io::Read as _};

use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use super::{CliError, Output, Switched, output::status_word};
use crate::{
    audit::Record,
    clock::{Clock as _, SystemClock},
    oauth::password::PasswordHash,
    registry::Status,
    store::{
        Store,
        identities::{self, Identity},
        providers,
        users::{self, UserName},
    },
};

/// The most that is read as a password.
const MAX_PASSWORD_INPUT: u64 = 4096;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Add a person.
    Add(Add),
    /// List the people.
    List,
    /// Refuse a person's sign-ins and calls, at once.
    Disable(Switched),
    /// Let a person in again.
    Enable(Switched),
    /// Erase what the audit trail says about a person. That they called, when, through what and what was decided stays, and
    /// the log still verifies. It cannot be undone.
    Erase(Erase),
}

#[derive(Debug, Args)]
pub(super) struct Erase {
    /// The name they sign in with, or the subject of their tokens.
    name: String,
    /// Why; it stays on record.
    #[arg(long, value_name = "TEXT", value_parser = super::stop::reason)]
    reason: String,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The name they sign in with.
    name: UserName,
    /// A group they are in; may be repeated.
    #[arg(long = "group", value_name = "GROUP", value_parser = group)]
    groups: Vec<String>,
    /// Read the password from standard input: up to its end, without a line break there.
    #[arg(long, required_unless_present = "provider")]
    password_stdin: bool,
    /// The identity provider they sign in at, instead of with a password; it says which groups they are in.
    #[arg(long, value_name = "PROVIDER", requires = "subject", conflicts_with_all = ["password_stdin", "groups"])]
    provider: Option<String>,
    /// Who they are there: the `sub` of their ID tokens.
    #[arg(long, value_name = "SUB", requires = "provider")]
    subject: Option<String>,
}

fn group(text: &str) -> Result<String, String> {
    if (1..=128).contains(&text.len()) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("a group's name has 1 to 128 bytes and no control characters".to_owned())
    }
}

impl Command {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Add(add) => add.run(store, output).await,
            Self::List => list(store, output).await,
            Self::Disable(who) => switch(store, output, who, Status::Disabled).await,
            Self::Enable(who) => switch(store, output, who, Status::Approved).await,
            Self::Erase(erase) => erase.run(store, output).await,
        }
    }
}

impl Erase {
    async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        if !store.speaks_of(&self.name).await? {
            let told = format!(
                "nobody is called {:?} here, and no record is about somebody of that name, so nothing was erased: name the subject as `writ audit list` shows it",
                self.name
            );
            return Err(CliError::Usage(told));
        }
        let now = SystemClock.now();
        let erased = crate::log::erase::erase(store, &self.name, &self.reason, now).await?;
        if output.is_json() {
            return output.json(&json!({ "erased_records": erased }));
        }
        output.line(&format!("erased in {erased} records"))
    }
}

impl Add {
    async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        match (&self.provider, &self.subject) {
            (Some(provider), Some(subject)) => self.tie(store, output, provider, subject).await,
            _ => self.with_password(store, output).await,
        }
    }

    async fn tie(
        &self,
        store: &Store,
        output: &mut Output,
        provider: &str,
        subject: &str,
    ) -> Result<(), CliError> {
        let now = SystemClock.now();
        let mut tx = store.write().await?;
        let provider = providers::find(tx.conn(), provider).await?;
        let identity = Identity {
            issuer: &provider.issuer,
            subject,
        };
        identities::add(tx.conn(), identity, &self.name, now).await?;
        let mut record = Record::admin(now, "user add", self.name.as_str());
        record.detail = Some(json!({ "provider": provider.id, "upstream_subject": subject }));
        tx.audit(&record).await?;
        tx.commit().await?;
        output.added("user", self.name.as_str(), None)
    }

    async fn with_password(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let password =
            PasswordHash::new(&read_password()?).map_err(|e| CliError::Usage(e.to_string()))?;
        let now = SystemClock.now();
        let groups = BTreeSet::from_iter(self.groups);
        let mut tx = store.write().await?;
        users::add(tx.conn(), &self.name, &password, &groups, now).await?;
        tx.audit(&Record::admin(now, "user add", self.name.as_str()))
            .await?;
        tx.commit().await?;
        output.added("user", self.name.as_str(), None)
    }
}

fn read_password() -> Result<Zeroizing<String>, CliError> {
    let mut text = Zeroizing::new(String::new());
    let read = std::io::stdin()
        .lock()
        .take(MAX_PASSWORD_INPUT)
        .read_to_string(&mut text);
    read.map_err(|source| CliError::Io {
        action: "read the password from standard input".to_owned(),
        source,
    })?;
    let without_break = text
        .strip_suffix('\n')
        .map(|t| t.strip_suffix('\r').unwrap_or(t));
    Ok(Zeroizing::new(without_break.unwrap_or(&text).to_owned()))
}

async fn switch(
    store: &Store,
    output: &mut Output,
    Switched { id: name, reason }: Switched,
    status: Status,
) -> Result<(), CliError> {
    let active = status == Status::Approved;
    let now = SystemClock.now();
    let mut tx = store.write().await?;
    users::set_active(tx.conn(), &name, active, now).await?;
    let command = if active {
        "user enable"
    } else {
        "user disable"
    };
    let mut record = Record::admin(now, command, &name);
    record.reason = reason.reason;
    tx.audit(&record).await?;
    tx.commit().await?;
    output.switched("user", &name, status)
}

async fn list(store: &Store, output: &mut Output) -> Result<(), CliError> {
    let users = users::list(&mut *store.read().await?).await?;
    if output.is_json() {
        return users.iter().try_for_each(|u| {
            output.json(&json!({
                "name": u.name, "groups": u.groups, "status": u.status, "providers": u.providers, "email": u.email,
            }))
        });
    }
    output.table(&users, ["NAME", "STATUS", "FROM", "GROUPS"], |u| {
        [
            u.name.clone(),
            status_word(u.status).to_owned(),
            match u.providers.as_slice() {
                [] => "local directory".to_owned(),
                providers => providers.join(" "),
            },
            u.groups.join(" "),
        ]
    })
}
