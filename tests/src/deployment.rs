//! A whole Writ on loopback: the ledger, the token service with everything registered, Envoy with the filter.
//!
//! Where tests start that are about one part of it going wrong.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use reqwest::header::ETAG;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use writ_policy::engine::ENGINE;
use writ_policy::snapshot::FORMAT;

use crate::envoy::{self, Envoy, Yaml};
use crate::idp::{self, Idp};
use crate::ledger::Ledger;
use crate::ledger::issuer::Registration;
use crate::oauth::{Browser, Client, SignIn, client_credentials};
use crate::registrations::{
    ASSISTANT, AUDIENCE, BATCH, GATEWAY, GROUPS, PASSWORD, RECONCILER, REDIRECT_URI, Registrations,
    SCOPES, SERVER, USER,
};
use crate::scratch::Scratch;
use crate::signer::Signer;
use crate::token_service::{self, TokenService};
use crate::traps::{self, Trap};
use crate::wait::{PATIENCE, until};
use crate::{binaries, mcp, ports};

/// What differs from one deployment to another.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Names its directory.
    pub name: String,
    /// Envoy's worker threads; 0 means one.
    pub workers: u32,
    /// A policy of one file; absent, the library with the demo's data.
    pub policy: Option<String>,
    /// Another server than the ledger behind the gateway, on this port.
    pub upstream: Option<u16>,
    /// Replacements in the gateway's YAML, after ports and paths.
    pub yaml: Vec<(String, String)>,
    /// Further settings of the token service.
    pub service_env: Vec<(String, String)>,
    /// The token service's configuration file, for what has no environment variable.
    pub service_config: Option<String>,
    /// Whether the user signs in at the corporate identity provider instead of the local directory.
    pub corporate: bool,
    /// The key that signs the token service's tokens, where somebody else is to sign like it.
    pub signer: Option<Signer>,
    /// Whether the ledger believes everybody.
    pub open_ledger: bool,
    /// Whether Envoy puts the batch agent's token on every request, for clients that know nothing of tokens.
    pub bearer: bool,
    /// Listeners beside the gateway's, each with something wrong.
    pub traps: Vec<Trap>,
    /// The gateway's and the issuer's ports, if they are free.
    pub preferred_ports: Option<(u16, u16)>,
}

/// What the identity provider is called in the token service's configuration.
const PROVIDER: &str = "corp";
/// Its only provider's people are called here as they are there.
const EMPLOYEES_AS_THEY_ARE: &str = "user_names = \"as_given\"\ngroups = { prefix = \"\" }";

/// The user, as the identity provider knows them.
fn employees() -> Value {
    json!({
        USER: {
            "preferred_username": USER,
            "name": "Alice Example",
            "email": "alice@corp.example",
            "email_verified": true,
            "groups": GROUPS,
        },
    })
}

impl Options {
    /// The usual deployment under this name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..Self::default()
        }
    }
}

/// See the module. Fields are dropped in order: callers' side first.
#[derive(Debug)]
pub struct Deployment {
    /// The gateway.
    pub envoy: Envoy,
    /// The token service.
    pub service: TokenService,
    /// Where the user signs in, where that is not the token service itself.
    pub idp: Option<Idp>,
    /// The MCP server.
    pub ledger: Ledger,
    /// Who is registered, and with what credentials.
    pub registered: Registrations,
    /// Where the spoilt listeners are, by trap.
    pub traps: BTreeMap<&'static str, SocketAddr>,
    /// For requests by hand.
    pub http: reqwest::Client,
    /// Where all of it lies.
    pub scratch: Scratch,
    /// Envoy's workers.
    workers: u32,
}

impl Deployment {
    /// Starts everything, and waits until the filter has its first snapshot.
    pub async fn start(options: Options) -> Result<Self> {
        let scratch = Scratch::new(&options.name)?;
        let (port, public_port) = match options.preferred_ports {
            Some((gateway, issuer)) => (
                ports::preferably(gateway)?,
                Some(ports::preferably(issuer)?),
            ),
            None => (ports::free()?, None),
        };
        let policy = match &options.policy {
            Some(rego) => policy_of(&scratch, rego)?,
            None => demo_policy(&scratch)?,
        };
        let public_port = public_port.map_or_else(ports::free, Ok)?;
        let mut config = options.service_config.clone().unwrap_or_default();
        let mut env = options.service_env.clone();
        let idp = if options.corporate {
            let issuer = format!("http://127.0.0.1:{public_port}");
            let idp = Idp::start(&scratch, PROVIDER, &issuer, employees()).await?;
            config += &idp.entry(EMPLOYEES_AS_THEY_ARE);
            env.push(("IDP_SECRET".to_owned(), idp::CLIENT_SECRET.to_owned()));
            Some(idp)
        } else {
            None
        };
        let mut service = TokenService::prepare(
            &scratch,
            token_service::Options {
                policy: Some(policy),
                env,
                config: Some(config),
                binary: None,
                public_port: Some(public_port),
                signer: options.signer.clone(),
            },
        )?;
        let resource = format!("http://127.0.0.1:{port}/mcp");
        let registered = if options.corporate {
            Registrations::make_without_user(&service, &scratch, &resource)?
        } else {
            Registrations::make(&service, &scratch, &resource)?
        };
        service.serve().await?;

        let listener = Ledger::bind().await?;
        let upstream = options
            .upstream
            .map_or_else(|| Ok(listener.local_addr()?.port()), Ok::<_, anyhow::Error>)?;
        let ledger = if options.open_ledger {
            Ledger::start_open(listener).await?
        } else {
            verifying_ledger(listener, &service, &registered).await?
        };

        let mut yaml = gateway_yaml(upstream, service.gateway_port())?;
        for (from, to) in &options.yaml {
            yaml = yaml.replace(from, to)?;
        }
        yaml = yaml.patient();
        let mut traps = Vec::new();
        for trap in &options.traps {
            traps.push((*trap, ports::free()?));
        }
        if !traps.is_empty() {
            yaml = traps::beside(&yaml, &traps)?;
        }
        let traps = traps
            .into_iter()
            .map(|(trap, port)| (trap.name, (Ipv4Addr::LOCALHOST, port).into()));
        if options.bearer {
            yaml = yaml.bearing(&batch_token(&service, &registered).await?)?;
        }
        let envoy_options = envoy::Options {
            workers: options.workers.max(1),
            env: vec![(
                "WRIT_GATEWAY_SECRET".to_owned(),
                registered.gateway_secret.clone(),
            )],
            port: Some(port),
            ..envoy::Options::default()
        };
        let envoy = Envoy::start(&scratch, yaml, envoy_options).await?;
        let deployment = Self {
            envoy,
            service,
            idp,
            ledger,
            registered,
            traps: traps.collect(),
            http: reqwest::Client::new(),
            scratch,
            workers: options.workers.max(1),
        };
        deployment.wait_for_snapshot().await?;
        Ok(deployment)
    }

    /// Waits until the filter has a snapshot: only then does it know the servers to describe.
    pub async fn wait_for_snapshot(&self) -> Result<()> {
        let metadata = self.envoy.url("/.well-known/oauth-protected-resource/mcp");
        until("the filter's first snapshot", PATIENCE, async || {
            let answer = self.http.get(&metadata).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await
        .with_context(|| format!("the end of Envoy's log:\n{}", self.envoy.process().tail()))
    }

    /// Waits until each filter knows who is registered by now: within a second, sooner than people have read a page.
    pub async fn wait_for_registrations(&self) -> Result<()> {
        // The main thread has a filter, too, and each hears of it by itself.
        let filters = usize::try_from(self.workers)? + 1;
        until("the newest snapshot in each filter", PATIENCE, async || {
            let tag = self.newest_snapshot().await.ok()?;
            let in_force = self.snapshots_in_force();
            (in_force.len() >= filters && in_force.values().all(|of| *of == tag)).then_some(())
        })
        .await
    }

    /// The tag of the snapshot that the service has now.
    async fn newest_snapshot(&self) -> Result<String> {
        let latest = self
            .http
            .get(format!(
                "http://127.0.0.1:{}/gateway/v1/snapshot?format={FORMAT}&engine={ENGINE}&key=any",
                self.service.gateway_port()
            ))
            .basic_auth(GATEWAY, Some(&self.registered.gateway_secret))
            .send()
            .await?
            .error_for_status()?;
        let tag = latest.headers().get(ETAG).context("no revision")?;
        Ok(tag.to_str()?.trim_matches('"').to_owned())
    }

    /// The tag of the snapshot that each filter took last, by Envoy's thread: the second thing in brackets of a line.
    fn snapshots_in_force(&self) -> BTreeMap<String, String> {
        let log = self.envoy.log();
        let taken = log.lines().filter_map(|line| {
            let (_, rest) = line.split_once("snapshot ")?;
            let (tag, _) = rest.split_once(" is in force")?;
            let thread = line.split('[').nth(2)?;
            Some((thread.to_owned(), tag.to_owned()))
        });
        taken.collect()
    }

    /// How often a filter has taken a snapshot so far: to be asked before a change.
    pub fn snapshots(&self) -> usize {
        self.envoy.log().matches("is in force").count()
    }

    /// Waits until each filter has taken another one since.
    pub async fn wait_for_snapshots_since(&self, before: usize) -> Result<()> {
        // The main thread has a filter, too.
        let filters = usize::try_from(self.workers)? + 1;
        until("the change to be in each filter", PATIENCE, async || {
            (self.snapshots() >= before + filters).then_some(())
        })
        .await
    }

    /// The MCP endpoint at the gateway; also the resource identifier callers' tokens are for.
    pub fn url(&self) -> String {
        self.envoy.url("/mcp")
    }

    /// A token of the batch agent: no user, a secret, `reconcile` and `getAccount` and nothing else.
    pub async fn batch_token(&self) -> Result<String> {
        batch_token(&self.service, &self.registered).await
    }

    /// A token of the reconciler: no user, a key, `reconcile` and `getAccount` and nothing else.
    pub async fn reconciler_token(&self) -> Result<String> {
        let client = Client::Key {
            id: RECONCILER,
            key: &self.registered.key,
        };
        client_credentials(
            &self.service.issuer(),
            &client,
            &self.registered.resource,
            SCOPES,
        )
        .await
    }

    /// The user before their browser.
    pub fn browser(&self) -> Result<Browser> {
        Browser::of(USER, PASSWORD)
    }

    /// A token of the assistant for the user, who signs in through the browser flow.
    pub async fn user_token(&self) -> Result<String> {
        self.user_token_for(USER, PASSWORD).await
    }

    /// The same for another user.
    pub async fn user_token_for(&self, username: &str, password: &str) -> Result<String> {
        SignIn {
            issuer: &self.service.issuer(),
            client_id: ASSISTANT,
            client: None,
            redirect_uri: REDIRECT_URI,
            resource: &self.registered.resource,
            scope: SCOPES,
            username,
            password,
        }
        .token()
        .await
    }

    /// Posts a tool call by hand.
    pub fn post_call(&self, token: &str, tool: &str, arguments: &Value) -> reqwest::RequestBuilder {
        mcp::post_call(&self.http, &self.url(), token, tool, arguments)
    }

    /// Waits for an audit record that `wanted` accepts.
    pub async fn audit_record(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        until(
            &format!("an audit record of {what}"),
            PATIENCE,
            async || self.service.audit().ok()?.into_iter().find(&wanted),
        )
        .await
    }
}

async fn batch_token(service: &TokenService, registered: &Registrations) -> Result<String> {
    let client = Client::Secret {
        id: BATCH,
        secret: &registered.batch_secret,
    };
    client_credentials(&service.issuer(), &client, &registered.resource, SCOPES).await
}

/// The ledger as it is registered at this service.
pub async fn verifying_ledger(
    listener: TcpListener,
    service: &TokenService,
    registered: &Registrations,
) -> Result<Ledger> {
    let registration = Registration {
        issuer: service.issuer(),
        server_id: SERVER.to_owned(),
        audience: AUDIENCE.to_owned(),
        secret: registered.server_secret.clone(),
    };
    Ledger::start(listener, registration).await
}

/// The shipped gateway YAML with these two addresses.
pub fn gateway_yaml(upstream: u16, token_service: u16) -> Result<Yaml> {
    Yaml::shipped("gateway.yaml")?
        .port(8080, upstream)?
        .port(8182, token_service)
}

/// The policy library that ships, with the demo's data instead of its own.
pub fn demo_policy(scratch: &Scratch) -> Result<PathBuf> {
    let library = binaries::workspace().join("policies");
    for entry in std::fs::read_dir(&library)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if name.ends_with(".rego") && !name.ends_with("_test.rego") {
            scratch.write(&format!("policy/{name}"), std::fs::read(&path)?)?;
        }
    }
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/policy.json");
    scratch.write("policy/data.json", std::fs::read(data)?)?;
    Ok(scratch.path().join("policy"))
}

/// A policy directory with this one file.
pub fn policy_of(scratch: &Scratch, rego: &str) -> Result<PathBuf> {
    scratch.write("policy/policy.rego", rego)?;
    scratch.write("policy/data.json", "{}")?;
    Ok(scratch.path().join("policy"))
}
