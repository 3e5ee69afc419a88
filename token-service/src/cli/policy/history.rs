//! `writ policy history` and `writ policy show`

use clap::Args;
use serde_json::{Value, json};

use super::{CliError, Output, harmless};
use crate::{
    audit::printable,
    store::{
        Store,
        policies::{Published, Which},
    },
};

#[derive(Debug, Args)]
pub(in crate::cli) struct History {
    /// How many of the newest.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Show {
    /// Its number or digest [default: the one in force].
    revision: Option<Which>,
}

fn told(one: &Published) -> Value {
    json!({
        "number": one.number,
        "revision": one.revision,
        "named": one.named,
        "author": one.author,
        "message": one.message,
        "origin": one.origin,
        "published_at": one.published_at,
        "in_force_since": one.in_force_since,
    })
}

impl History {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let all = store.policy_history(self.limit).await?;
        if output.is_json() {
            return all.iter().try_for_each(|one| output.json(&told(one)));
        }
        let header = [
            "",
            "NUMBER",
            "REVISION",
            "PUBLISHED (UTC)",
            "AUTHOR",
            "MESSAGE",
            "FROM",
        ];
        output.table(&all, header, |one| {
            let mark = if one.in_force_since.is_some() {
                "*"
            } else {
                ""
            };
            let from = match &one.named {
                Some(named) => format!("{} ({named})", one.origin),
                None => one.origin.clone(),
            };
            let published = one.published_at.get(..19).unwrap_or_default();
            [
                mark.to_owned(),
                one.number.to_string(),
                one.revision.clone(),
                published.replacen('T', " ", 1),
                one.author.clone(),
                one.message.clone(),
                from,
            ]
        })
    }
}

impl Show {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let which = match self.revision {
            Some(which) => which,
            None => {
                let number = store.policy_in_force().await?;
                let none =
                    "no policy was published: the one that the configuration names is in force";
                Which::Number(number.ok_or_else(|| CliError::Policy(none.to_owned()))?)
            }
        };
        let one = store.published_policy(&which).await?;
        let files = store.policy_files(one.number).await?;
        if output.is_json() {
            let mut told = told(&one);
            if let Some(told) = told.as_object_mut() {
                told.insert("files".to_owned(), json!(files));
            }
            return output.json(&told);
        }
        let state = match &one.in_force_since {
            Some(since) => format!("in force since {since}"),
            None => "not in force".to_owned(),
        };
        output.line(&format!(
            "policy {}, revision {}, {state}",
            one.number, one.revision
        ))?;
        let (author, message) = (printable(&one.author), printable(&one.message));
        output.line(&format!(
            "published {} by {author}: {message}",
            one.published_at
        ))?;
        for (path, text) in &files {
            output.line(&format!("\n--- {}", printable(path)))?;
            text.lines()
                .try_for_each(|line| output.line(&harmless(line)))?;
        }
        Ok(())
    }
}
