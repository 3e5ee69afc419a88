//! `writ policy shadow`

use std::collections::BTreeSet;

use clap::Args;
use serde_json::json;

use super::{
    CliError, Output, named,
    publish::{accepted, sentence},
};
use crate::{
    clock::{Clock as _, SystemClock},
    policy::Sources,
    store::{
        Store,
        policies::Which,
        shadow::{Candidate, Scope, Shadowed},
    },
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Shadow {
    /// A directory, an OPA bundle, or the number or digest of a published policy [default: say which is in the shadow].
    policy: Option<String>,
    /// Only about calls to this server; may be repeated.
    #[arg(long = "server", value_name = "ID", requires = "policy")]
    servers: Vec<String>,
    /// Only about calls of this agent; may be repeated.
    #[arg(long = "agent", value_name = "ID", requires = "policy")]
    agents: Vec<String>,
    /// Why: for the history.
    #[arg(long, short, value_parser = sentence, default_value = "shadow")]
    message: String,
    /// Who does it.
    #[arg(long, env = "USER", value_parser = sentence)]
    author: String,
    /// Take the policy out of the shadow.
    #[arg(long, conflicts_with = "policy")]
    off: bool,
}

impl Shadow {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        if self.off {
            store.end_shadow(&self.author, SystemClock.now()).await?;
            return told(None, output);
        }
        if let Some(policy) = &self.policy {
            let sources = named(store, policy).await?;
            self.put(policy, &sources, store, output).await?;
        }
        told(store.shadow().await?.as_ref(), output)
    }

    async fn put(
        &self,
        policy: &str,
        sources: &Sources,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let scope = Scope {
            servers: self.servers.iter().cloned().collect(),
            agents: self.agents.iter().cloned().collect(),
        };
        let revision = sources.revision();
        let new = sources.as_new(&revision, &self.message, &self.author);
        let candidate = match policy.parse::<Which>() {
            Ok(which) => Candidate::Published(store.published_policy(&which).await?.number),
            Err(_) => {
                accepted(sources, output)?;
                Candidate::New(&new)
            }
        };
        store
            .put_in_shadow(&candidate, &scope, &self.author, SystemClock.now())
            .await?;
        Ok(())
    }
}

fn told(shadowed: Option<&Shadowed>, output: &mut Output) -> Result<(), CliError> {
    if output.is_json() {
        return output.json(&match shadowed {
            None => json!({ "number": null }),
            Some(shadowed) => json!({
                "number": shadowed.number,
                "servers": shadowed.scope.servers,
                "agents": shadowed.scope.agents,
                "since": shadowed.since,
            }),
        });
    }
    let Some(shadowed) = shadowed else {
        return output.line("no policy is in the shadow");
    };
    let of = |what: &str, ids: &BTreeSet<String>| match ids.is_empty() {
        true => format!("all {what}"),
        false => ids.iter().cloned().collect::<Vec<_>>().join(", "),
    };
    output.line(&format!(
        "policy {} is in the shadow since {}: {}, {}",
        shadowed.number,
        shadowed.since,
        of("servers", &shadowed.scope.servers),
        of("agents", &shadowed.scope.agents),
    ))
}
