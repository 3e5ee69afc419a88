//! `writ rogue adopt`: a registration of what is known of a shadow server, and what is left to do.

use clap::Args;
use serde_json::json;
use url::Url;

use super::{CliError, Output, one, place};
use crate::{
    cli::{pairs, server::EnforcementArg},
    clock::{Clock as _, SystemClock},
    config::Config,
    registry::{Id, Server, check_identifier},
    secret::SecretHash,
    snapshot::new_secret,
    store::{Store, shadow_servers::ShadowServer},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct Adopt {
    /// Its id, or its host, with its path where it is not the only one there; may be repeated.
    #[arg(required = true)]
    servers: Vec<String>,
    /// Where the gateway is: the server's public URL is below it, under its id.
    #[arg(long, value_name = "URL", required_unless_present = "resource")]
    gateway: Option<Url>,
    /// Its public URL, in place of one below --gateway; for one server.
    #[arg(long, value_name = "URL", conflicts_with = "gateway")]
    resource: Option<String>,
    /// What it is called from now on, in place of a name after its host; for one server.
    #[arg(long)]
    id: Option<Id>,
    /// Where it is, where that is not what was seen; for one server.
    #[arg(long, value_name = "URL")]
    upstream: Option<Url>,
    /// The audience of minted tokens, in place of where the server is; for one server.
    #[arg(long, value_name = "URI")]
    audience: Option<String>,
    /// Who checks minted tokens before the server acts on them.
    #[arg(long, value_enum, default_value = "aud_only")]
    enforcement: EnforcementArg,
    /// Who answers for it: a person or team.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true, value_parser = pairs::text)]
    owner: String,
}

impl Adopt {
    pub(in crate::cli) async fn run(
        self,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let all = store.shadow_servers(true).await?;
        let meant = self.servers.iter().map(|named| one(&all, named));
        let meant: Vec<&ShadowServer> = meant.collect::<Result<_, _>>()?;
        let for_one = self.resource.is_some()
            || self.id.is_some()
            || self.upstream.is_some()
            || self.audience.is_some();
        if for_one && meant.len() > 1 {
            let told = "--resource, --id, --upstream and --audience are for one server";
            return Err(CliError::Usage(told.to_owned()));
        }
        for shadow in meant {
            self.adopt(shadow, config, store, output).await?;
        }
        Ok(())
    }

    async fn adopt(
        &self,
        shadow: &ShadowServer,
        config: &Config,
        store: &Store,
        output: &mut Output,
    ) -> Result<(), CliError> {
        let upstream = match &self.upstream {
            Some(url) if matches!(url.scheme(), "http" | "https") => url.to_string(),
            Some(_) => {
                let told = "--upstream must be an http or https URL";
                return Err(CliError::Usage(told.to_owned()));
            }
            None => seen_at(shadow)?,
        };
        let id = match &self.id {
            Some(id) => id.clone(),
            None => name(shadow)?,
        };
        let resource = match (&self.resource, &self.gateway) {
            (Some(resource), _) => resource.clone(),
            (None, gateway) => {
                let base = gateway.as_ref().map(Url::as_str).unwrap_or_default();
                format!("{}/{id}/mcp", base.trim_end_matches('/'))
            }
        };
        let audience = self.audience.as_deref().unwrap_or(&upstream);
        let wrong = |e: crate::registry::ServerError| CliError::Usage(e.to_string());
        let secret = new_secret(store, &config.keys.sealing).await?;
        let server = Server {
            enforcement: self.enforcement.into(),
            owner: self.owner.clone(),
            tools: shadow.tools.clone(),
            upstream: Some(upstream.clone()),
            ..Server::new(
                id,
                check_identifier("--resource", &resource).map_err(wrong)?,
                check_identifier("--audience", audience).map_err(wrong)?,
                SecretHash::of(&secret),
            )
        };
        store.adopt(&shadow.id, &server, SystemClock.now()).await?;
        let (id, left) = (server.id.as_str(), left_to_do(&server, &upstream));
        if output.is_json() {
            return output.json(&json!({
                "id": id, "adopted": place(shadow), "resource": server.resource, "upstream": upstream,
                "audience": server.upstream_audience, "secret": secret.as_str(), "left_to_do": left,
            }));
        }
        output.added("server", id, Some(("introspection secret", &secret)))?;
        output.line("left to do:")?;
        left.iter()
            .try_for_each(|step| output.line(&format!("  - {step}")))
    }
}

/// Where it was seen, as a URL: with TLS, unless it is on this machine.
fn seen_at(shadow: &ShadowServer) -> Result<String, CliError> {
    if shadow.path.split('/').any(|part| part == "*") {
        return Err(CliError::Usage(format!(
            "a part of {} could be a credential and was not kept: say where the server is with --upstream",
            place(shadow)
        )));
    }
    let host = shadow.host.split(':').next().unwrap_or_default();
    let scheme = match host {
        "localhost" | "127.0.0.1" => "http",
        _ => "https",
    };
    Ok(format!("{scheme}://{}", place(shadow)))
}

/// A name after its host, and its path where that says more than that it speaks MCP.
fn name(shadow: &ShadowServer) -> Result<Id, CliError> {
    let parts = shadow.host.split(['.', ':']).chain(shadow.path.split('/'));
    let says = |part: &&str| !part.is_empty() && !matches!(*part, "www" | "mcp" | "sse");
    let parts: Vec<&str> = parts.filter(says).collect();
    let kept = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => c,
        _ => '-',
    };
    let name: String = parts.join("-").chars().map(kept).take(64).collect();
    Id::parse(name.trim_start_matches(['-', '_'])).map_err(|_| {
        CliError::Usage(format!(
            "there is no name in {}: give one with --id",
            place(shadow)
        ))
    })
}

fn left_to_do(server: &Server, upstream: &str) -> Vec<String> {
    let (id, resource) = (&server.id, &server.resource);
    let mut left = vec![
        format!(
            "let a gateway have it: `writ gateway add GATEWAY --server {id}`, and in its Envoy a route for {resource} with \
             `metadata: {{ filter_metadata: {{ writ: {{ server: {id} }} }} }}` to a cluster of {upstream}"
        ),
        format!("give agents {resource} in place of {upstream}"),
        format!("approve its tools: `writ server pin {id} TOOLS.json`"),
        "say in policies who may call it: none may so far unless a policy says so".to_owned(),
    ];
    if server.owner.is_empty() {
        left.push("find out who answers for it: --owner was not given".to_owned());
    }
    if server.enforcement == crate::registry::Enforcement::AudOnly {
        left.push("have it check its tokens: so far nobody does (enforcement aud_only)".to_owned());
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::shadow_servers::Fate;

    fn shadow(host: &str, path: &str) -> ShadowServer {
        ShadowServer {
            id: "1".to_owned(),
            host: host.to_owned(),
            path: path.to_owned(),
            first: String::new(),
            last: String::new(),
            calls: 1,
            fate: Fate::Open,
            server: None,
            reason: None,
            clients: Vec::new(),
            sources: Vec::new(),
            tools: Vec::new(),
        }
    }

    #[test]
    fn a_server_is_named_after_its_host() {
        for (host, path, expected) in [
            ("mcp.linear.app", "/mcp", "linear-app"),
            ("127.0.0.1:8931", "/mcp", "127-0-0-1-8931"),
            (
                "www.example.com",
                "/v1/weather/sse",
                "example-com-v1-weather",
            ),
        ] {
            assert_eq!(name(&shadow(host, path)).unwrap().as_str(), expected);
        }
        assert!(name(&shadow("mcp", "/mcp")).is_err());
        let long = name(&shadow(&"a".repeat(200), "")).unwrap();
        assert_eq!(long.as_str().len(), 64);
    }

    #[test]
    fn what_was_left_out_of_a_path_is_asked_for() {
        let error = seen_at(&shadow("mcp.example.com", "/s/*/mcp")).unwrap_err();
        assert!(error.to_string().contains("--upstream"), "{error}");
        let url = seen_at(&shadow("mcp.example.com", "/mcp")).unwrap();
        assert_eq!(url, "https://mcp.example.com/mcp");
    }
}
