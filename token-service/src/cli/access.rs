//! `writ access …`

use std::{collections::BTreeSet, sync::Arc};

use clap::{Args, Subcommand};
use serde_json::json;
use writ_policy::input::SubjectKind;

use super::{CliError, Output};
use crate::{
    access::{Could, Explainer, Rules, Somebody, Verdict},
    clock::{Clock as _, SystemClock},
    config::Config,
    policy::Sources,
    registry::{Agent, Registry, Revoked, Server},
    store::{
        Store,
        access::{Leave, Uses, Way},
        users,
    },
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say whether somebody could call a tool as things stand, through which agents and at which servers, and why; and who did. Of a
    /// tool alone, who could.
    Explain(Explain),
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The user, or an agent that acts for itself; all of them where only a tool is named.
    #[arg(value_name = "SUBJECT TOOL", num_args = 1..=2, required = true)]
    named: Vec<String>,
    /// Only through this agent.
    #[arg(long)]
    agent: Option<String>,
    /// Only at this server; without it, at those that are known to have the tool.
    #[arg(long)]
    server: Option<String>,
}

/// What is told of one way to call.
struct Told<'a> {
    way: Way,
    verdict: Option<Verdict>,
    leave: Option<&'a Leave>,
    uses: Uses,
}

impl Command {
    pub(super) async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let Self::Explain(explain) = self;
        explain.run(config, store, output).await
    }
}

impl Explain {
    async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let (subject, tool) = match self.named.as_slice() {
            [subject, tool] => (Some(subject.as_str()), tool.as_str()),
            [tool] => (None, tool.as_str()),
            _ => {
                return Err(CliError::Usage(
                    "name a subject and a tool, or a tool".to_owned(),
                ));
            }
        };
        let now = SystemClock.now();
        let registry = store.load_registry(Revoked::default(), now).await?;
        let sources = in_force(config, store).await?;
        let mut uses = store.uses(tool, subject).await?;
        let leave = store.leave(subject, now).await?;
        let everybody = everybody(store, &registry).await?;
        let mut who = everybody
            .iter()
            .filter(|one| subject.is_none_or(|id| id == one.id))
            .peekable();
        if let Some(subject) = subject
            && who.peek().is_none()
            && uses.is_empty()
        {
            let told =
                format!("{subject:?} is no user or agent here, and called nothing of that name");
            return Err(CliError::Usage(told));
        }
        if let Some(agent) = &self.agent
            && !registry.agents().any(|one| one.id.as_str() == agent)
            && !uses.keys().any(|way| way.agent == *agent)
        {
            let told = format!(
                "there is no agent {agent:?}, and none of that name called the tool; `writ agent list` shows them"
            );
            return Err(CliError::Usage(told));
        }
        let servers = self.servers(&registry, tool, &store.called_at(tool).await?)?;
        let rules = match subject {
            Some(_) => Rules::Named,
            None => Rules::Unnamed,
        };
        let mut explainer = Explainer::new(&registry, &config.issuer, &sources, now)?;
        let mut all = Vec::new();
        for one in who {
            for agent in self.agents(&registry, one) {
                for server in &servers {
                    let verdict = explainer.explain(one, &agent, server, tool, rules)?;
                    let way = |server: &str| Way {
                        subject: one.id.clone(),
                        agent: agent.id.to_string(),
                        server: server.to_owned(),
                    };
                    let (way, given) = (way(server.id.as_str()), way(&server.resource));
                    all.push(Told {
                        verdict: Some(verdict),
                        leave: leave.get(&given),
                        uses: uses.remove(&way).unwrap_or_default(),
                        way,
                    });
                }
            }
        }
        if subject.is_none() {
            // Who could not and did not is everybody else.
            all.retain(|told| told.could() != Some(Could::Deny) || told.uses != Uses::default());
        }
        // Those who did, through what is no longer there.
        let is_meant = |way: &Way| {
            self.agent.as_ref().is_none_or(|agent| *agent == way.agent)
                && self
                    .server
                    .as_ref()
                    .is_none_or(|server| *server == way.server)
        };
        all.extend(
            uses.into_iter()
                .filter(|(way, _)| is_meant(way))
                .map(|(way, uses)| Told {
                    way,
                    verdict: None,
                    leave: None,
                    uses,
                }),
        );
        all.sort_by(|a, b| a.way.cmp(&b.way));
        tell(&all, tool, &sources, output)
    }

    /// The servers that it is about.
    fn servers(
        &self,
        registry: &Registry,
        tool: &str,
        called: &BTreeSet<String>,
    ) -> Result<Vec<Arc<Server>>, CliError> {
        if let Some(id) = &self.server {
            let server = registry.server(id);
            let server =
                server.ok_or_else(|| CliError::Usage(format!("there is no server {id:?}")))?;
            return Ok(vec![Arc::clone(server)]);
        }
        let has = |server: &&Arc<Server>| {
            let id = server.id.as_str();
            let of_agent = |agent: &Arc<Agent>| {
                let mut tools = agent.tools.get(id).into_iter().flatten();
                tools.any(|one| one == tool)
            };
            server.tools.iter().any(|one| one == tool)
                || server.pins.contains_key(tool)
                || registry.agents().any(of_agent)
                || called.contains(id)
        };
        let mut servers: Vec<_> = registry.servers().filter(has).cloned().collect();
        servers.sort_by(|a, b| a.id.cmp(&b.id));
        match servers.is_empty() {
            false => Ok(servers),
            true => Err(CliError::Usage(format!(
                "no server is known to have a tool {tool:?}: none was registered with it, nor an agent for it there, none has it pinned, or was called for it; name one with --server"
            ))),
        }
    }

    /// The agents through which somebody may come.
    fn agents(&self, registry: &Registry, who: &Somebody) -> Vec<Arc<Agent>> {
        let is_meant = |agent: &&Arc<Agent>| {
            self.agent
                .as_ref()
                .is_none_or(|id| id.as_str() == agent.id.as_str())
                && (who.kind == SubjectKind::User || agent.id.as_str() == who.id)
        };
        let mut agents: Vec<_> = registry.agents().filter(is_meant).cloned().collect();
        agents.sort_by(|a, b| a.id.as_str().cmp(b.id.as_str()));
        agents
    }
}

/// The policy in force: what is published, or else what the configuration names.
async fn in_force(config: &Config, store: &Store) -> Result<Sources, CliError> {
    if let Some(number) = store.policy_in_force().await? {
        let files = store.policy_files(number).await?;
        return Ok(Sources::of(format!("policy {number}"), files)?);
    }
    Ok(match &config.policy_dir {
        Some(dir) => Sources::read(dir)?,
        None => Sources::library(),
    })
}

/// All users, and the agents as what they are for themselves.
async fn everybody(store: &Store, registry: &Registry) -> Result<Vec<Somebody>, CliError> {
    let users = users::list(&mut *store.read().await?).await?;
    let users = users.into_iter().map(|user| Somebody {
        id: user.name,
        kind: SubjectKind::User,
        groups: user.groups,
    });
    let agents = registry.agents().map(|agent| Somebody {
        id: agent.id.to_string(),
        kind: SubjectKind::Workload,
        groups: Vec::new(),
    });
    Ok(users.chain(agents).collect())
}

impl Told<'_> {
    fn could(&self) -> Option<Could> {
        self.verdict.as_ref().map(|verdict| verdict.could)
    }
}

const HEADER: [&str; 7] = ["WHO", "AGENT", "SERVER", "COULD", "WHY", "LEAVE", "DID"];

fn tell(
    all: &[Told<'_>],
    tool: &str,
    sources: &Sources,
    output: &mut Output,
) -> Result<(), CliError> {
    let revision = sources.revision();
    if all.is_empty() && !output.is_json() {
        return output.line(&format!(
            "nobody could call {tool} like that, and nobody did"
        ));
    }
    if output.is_json() {
        return all.iter().try_for_each(|told| {
            output.json(&json!({
                "subject": told.way.subject,
                "agent": told.way.agent,
                "server": told.way.server,
                "tool": tool,
                "access": told.verdict,
                "policy": {"revision": revision, "origin": sources.origin},
                "leave": told.leave,
                "uses": told.uses,
            }))
        });
    }
    output.line(&format!(
        "{tool} by revision {revision} ({}):",
        sources.origin
    ))?;
    output.table(all, HEADER, |told| {
        let (could, why) = words(told.verdict.as_ref());
        [
            told.way.subject.clone(),
            told.way.agent.clone(),
            told.way.server.clone(),
            could.to_owned(),
            why,
            leave(told),
            did(&told.uses),
        ]
    })?;
    let [
        Told {
            verdict: Some(verdict),
            ..
        },
    ] = all
    else {
        return Ok(());
    };
    for rule in &verdict.rules {
        output.line(&format!("  {rule}"))?;
    }
    Ok(())
}

fn words(verdict: Option<&Verdict>) -> (&'static str, String) {
    let Some(verdict) = verdict else {
        return (
            "no",
            "the subject, the agent or the server is no longer here".to_owned(),
        );
    };
    let reason = verdict.reason.clone().unwrap_or_default();
    match (verdict.could, verdict.allowed_without_arguments) {
        (Could::Allow, _) => ("yes", reason),
        (Could::Deny, _) => ("no", reason),
        (Could::DependsOnArguments, Some(true)) => {
            ("by arguments", because("allowed without any", &reason))
        }
        (Could::DependsOnArguments, _) => ("by arguments", because("denied without any", &reason)),
    }
}

fn because(what: &str, reason: &str) -> String {
    match reason {
        "" => what.to_owned(),
        reason => format!("{what}: {reason}"),
    }
}

fn leave(told: &Told<'_>) -> String {
    match told.leave {
        Some(Leave {
            grant_until: Some(until),
            ..
        }) => format!("until {until}"),
        Some(Leave {
            consent: Some(at), ..
        }) => format!("agreed {at}"),
        _ => String::new(),
    }
}

fn did(uses: &Uses) -> String {
    let one = |count: i64, what: &str, last: &Option<String>| {
        let last = last.as_ref()?;
        Some(format!("{count} {what}, last {last}"))
    };
    let parts = [
        one(uses.allowed, "let through", &uses.last_allowed),
        one(uses.denied, "refused", &uses.last_denied),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
