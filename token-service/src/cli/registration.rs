//! `writ registration …`

use clap::{Args, Subcommand};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use serde_json::json;

use super::{ById, CliError, Output, pairs};
use crate::{
    audit::Record,
    clock::{Clock as _, SystemClock, rfc3339},
    secret::{self, SecretHash},
    store::{
        Store,
        initial_tokens::{self, InitialToken},
    },
};

/// The longest that a token may be lying about.
const MAX_DAYS: i64 = 366;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Tokens that clients and servers register themselves with.
    #[command(subcommand)]
    Token(Token),
}

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Make an initial access token; prints it.
    Add(Add),
    /// List the tokens.
    List,
    /// Take a token back; what has registered with it stays.
    Revoke(ById),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// How many registrations it is good for.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// How long it is good, such as 12h or 7d.
    #[arg(long, value_name = "TIME", default_value = "7d")]
    expires: Span,
    /// Whom it is given to: the owner of servers that name none.
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    owner: String,
    /// A label put on what registers with it; may be repeated. The library's policy approves at once with vouched=true.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pairs::label)]
    labels: Vec<(String, String)>,
}

impl Command {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Token(Token::Add(add)) => add.run(store, output).await,
            Self::Token(Token::List) => list(store, output).await,
            Self::Token(Token::Revoke(ById { id })) => revoke(store, output, &id).await,
        }
    }
}

impl Add {
    async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let now = SystemClock.now();
        if self.owner.len() > 128 || self.owner.chars().any(char::is_control) {
            let told = "--owner has at most 128 bytes and no control characters";
            return Err(CliError::Usage(told.to_owned()));
        }
        let token = InitialToken {
            id: secret::new_id(),
            owner: self.owner,
            labels: pairs::labels(self.labels),
            count: self.count,
            used: 0,
            expires_at: rfc3339(expiry(now, self.expires)?),
        };
        let text = secret::generate();
        let mut tx = store.write().await?;
        initial_tokens::add(tx.conn(), &token, &SecretHash::of(&text), now).await?;
        tx.audit(&Record::admin(now, "registration token add", &token.id))
            .await?;
        tx.commit().await?;
        output.added(
            "registration token",
            &token.id,
            Some(("initial access token", &text)),
        )
    }
}

/// When a token made now runs out. A day is 24 hours.
fn expiry(now: Timestamp, after: Span) -> Result<Timestamp, CliError> {
    let life = after.to_duration(SpanRelativeTo::days_are_24_hours()).ok();
    let fits = |life: &SignedDuration| {
        life.is_positive() && *life <= SignedDuration::from_hours(24 * MAX_DAYS)
    };
    life.filter(fits)
        .and_then(|life| now.checked_add(life).ok())
        .ok_or_else(|| {
            let told = format!("--expires is a time such as 12h or 7d, at most {MAX_DAYS}d");
            CliError::Usage(told)
        })
}

async fn revoke(store: &Store, output: &mut Output, id: &str) -> Result<(), CliError> {
    let mut tx = store.write().await?;
    initial_tokens::revoke(tx.conn(), id).await?;
    let record = Record::admin(SystemClock.now(), "registration token revoke", id);
    tx.audit(&record).await?;
    tx.commit().await?;
    output.done("registration token", id, "revoked")
}

async fn list(store: &Store, output: &mut Output) -> Result<(), CliError> {
    let tokens = initial_tokens::list(&mut *store.read().await?).await?;
    if output.is_json() {
        return tokens.iter().try_for_each(|t| {
            output.json(&json!({
                "id": t.id, "owner": t.owner, "labels": t.labels, "count": t.count, "used": t.used,
                "expires_at": t.expires_at,
            }))
        });
    }
    output.table(&tokens, ["ID", "OWNER", "USED", "EXPIRES", "LABELS"], |t| {
        [
            t.id.clone(),
            t.owner.clone(),
            format!("{} of {}", t.used, t.count),
            t.expires_at.clone(),
            pairs::shown(&t.labels),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lasts_between_a_moment_and_a_year() {
        let now = Timestamp::UNIX_EPOCH;
        let after = |text: &str| expiry(now, text.parse().unwrap()).map(Timestamp::as_second);
        assert_eq!(after("7d").unwrap(), 7 * 86400);
        assert_eq!(after("12h").unwrap(), 12 * 3600);
        for wrong in ["0s", "-1h", "2y", "400d"] {
            assert!(after(wrong).is_err(), "{wrong}");
        }
    }
}
