//! `writ server …`

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{ById, CliError, Output, Switched, decide, output::status_word, pairs, pins, remove};
use crate::{
    audit::Verdict,
    clock::{Clock as _, SystemClock},
    config::Config,
    registry::{Enforcement, Id, Server, ServerError, Status, check_identifier},
    secret::SecretHash,
    snapshot::new_secret,
    store::{Store, registrations::Registered},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register a server; prints the secret it authenticates with at introspection.
    Add(Box<Add>),
    /// Change what messages to and from a server may name.
    Update(Update),
    /// List the servers.
    List,
    /// Refuse all calls for a server, at once.
    Disable(Switched),
    /// Let calls for a server through again.
    Enable(Switched),
    /// Let calls through for a server that registered itself and waits.
    Approve(ById),
    /// Refuse a server that registered itself and waits.
    Reject(ById),
    /// Forget a server.
    Remove(ById),
    /// Approve the definitions of tools: from then on they are cut out of lists and not called when they are defined in
    /// another way.
    Pin(pins::Pin),
    /// Take the pins off tools: however they are defined, policies decide on them.
    Unpin(pins::Unpin),
    /// List the tools that are pinned, with who approved what and when.
    Pins(pins::List),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// Its id, as in Envoy's route metadata.
    id: Id,
    /// Its public URL: the audience of callers' tokens (RFC 8707).
    #[arg(long, value_name = "URL")]
    resource: String,
    /// The audience of minted tokens; must differ from every server's resource.
    #[arg(long, value_name = "URI")]
    audience: String,
    /// Who checks minted tokens before the server acts on them.
    #[arg(long, value_enum)]
    enforcement: EnforcementArg,
    /// Its name, as people see it.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, value_parser = pairs::text)]
    name: String,
    /// Who answers for it: a person or team.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, value_parser = pairs::text)]
    owner: String,
    /// Where the server itself is, for whoever runs the gateway before it.
    #[arg(long, value_name = "URL")]
    upstream: Option<url::Url>,
    /// A tool it has; may be repeated.
    #[arg(long = "tool", value_name = "TOOL", value_parser = pairs::text)]
    tools: Vec<String>,
    /// A method beyond those of MCP that messages to and from it may name; may be repeated.
    #[arg(long = "method", value_name = "NAME", value_parser = pairs::method)]
    methods: Vec<String>,
    /// A server that it may call on behalf of its own callers; may be repeated.
    #[arg(long = "may-call", value_name = "SERVER")]
    may_call: Vec<Id>,
    /// A scope callers may ask for; may be repeated.
    #[arg(long = "scope", value_name = "SCOPE", value_parser = pairs::scope)]
    scopes: Vec<String>,
    /// A label for policies; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pairs::label)]
    labels: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(super) struct Update {
    /// Its id.
    id: String,
    /// A method beyond those of MCP that messages to and from it may name, in place of those before; may be repeated.
    #[arg(long = "method", value_name = "NAME", value_parser = pairs::method, required_unless_present = "no_methods")]
    methods: Vec<String>,
    /// None but those of MCP.
    #[arg(long, conflicts_with = "methods")]
    no_methods: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum EnforcementArg {
    /// A Writ filter in guard mode before the server.
    Guard,
    /// The server itself, by introspection.
    Introspect,
    /// Nobody: the server looks at the audience only.
    AudOnly,
}

impl From<EnforcementArg> for Enforcement {
    fn from(arg: EnforcementArg) -> Self {
        match arg {
            EnforcementArg::Guard => Self::Guard,
            EnforcementArg::Introspect => Self::Introspect,
            EnforcementArg::AudOnly => Self::AudOnly,
        }
    }
}

impl Command {
    pub(super) async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        match self {
            Self::Add(add) => add.run(config, store, output).await,
            Self::Update(Update { id, methods, .. }) => {
                store.set_methods(&id, &methods, SystemClock.now()).await?;
                output.done("server", &id, "updated")
            }
            Self::List => list(store, output).await,
            Self::Disable(who) => {
                who.switch(store, output, Registered::Server, Status::Disabled)
                    .await
            }
            Self::Enable(who) => {
                who.switch(store, output, Registered::Server, Status::Approved)
                    .await
            }
            Self::Approve(ById { id }) => {
                decide(store, output, Registered::Server, &id, Verdict::Allow).await
            }
            Self::Reject(ById { id }) => {
                decide(store, output, Registered::Server, &id, Verdict::Deny).await
            }
            Self::Remove(ById { id }) => remove(store, output, Registered::Server, &id).await,
            Self::Pin(pin) => pin.run(store, output).await,
            Self::Unpin(unpin) => unpin.run(store, output).await,
            Self::Pins(list) => list.run(store, output).await,
        }
    }
}

impl Add {
    async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let wrong = |e: ServerError| CliError::Usage(e.to_string());
        let secret = new_secret(store, &config.keys.sealing).await?;
        let resource = check_identifier("--resource", &self.resource).map_err(wrong)?;
        let audience = check_identifier("--audience", &self.audience).map_err(wrong)?;
        let server = Server {
            enforcement: self.enforcement.into(),
            labels: pairs::labels(self.labels),
            scopes: self.scopes,
            name: self.name,
            owner: self.owner,
            upstream: self.upstream.as_ref().map(ToString::to_string),
            tools: self.tools,
            methods: self.methods,
            may_call: self.may_call.iter().map(ToString::to_string).collect(),
            ..Server::new(self.id, resource, audience, SecretHash::of(&secret))
        };
        if self
            .upstream
            .is_some_and(|url| !matches!(url.scheme(), "http" | "https"))
        {
            return Err(CliError::Usage(
                "--upstream must be an http or https URL".to_owned(),
            ));
        }
        if server.resource == server.upstream_audience {
            return Err(wrong(ServerError::AudienceIsResource));
        }
        store.add_server(&server, SystemClock.now()).await?;
        output.added(
            "server",
            server.id.as_str(),
            Some(("introspection secret", &secret)),
        )
    }
}

async fn list(store: &Store, output: &mut Output) -> Result<(), CliError> {
    let servers = store.servers().await?;
    if output.is_json() {
        return servers.iter().try_for_each(|s| {
            output.json(&json!({
                "id": s.id, "resource": s.resource, "audience": s.upstream_audience, "enforcement": s.enforcement,
                "status": s.status, "scopes": s.scopes, "labels": s.labels, "name": s.name, "owner": s.owner,
                "upstream": s.upstream, "tools": s.tools, "methods": s.methods, "may_call": s.may_call, "origin": s.origin,
            }))
        });
    }
    output.table(
        &servers,
        [
            "ID",
            "STATUS",
            "RESOURCE",
            "AUDIENCE",
            "ENFORCEMENT",
            "OWNER",
            "TOOLS",
            "SCOPES",
            "LABELS",
        ],
        |s| {
            let enforcement = match s.enforcement {
                Enforcement::Guard => "guard",
                Enforcement::Introspect => "introspect",
                Enforcement::AudOnly => "aud_only",
            };
            [
                s.id.to_string(),
                status_word(s.status).to_owned(),
                s.resource.clone(),
                s.upstream_audience.clone(),
                enforcement.to_owned(),
                s.owner.clone(),
                s.tools.join(" "),
                s.scopes.join(" "),
                pairs::shown(&s.labels),
            ]
        },
    )
}
