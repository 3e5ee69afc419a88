//! `writ agent …`

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use url::Url;

use super::{
    ById, CliError, Output, Switched, decide,
    output::{origin_word, status_word},
    pairs, remove,
};
use crate::{
    audit::Verdict,
    clock::{Clock as _, SystemClock},
    registry::{
        Agent, AuthMethod, ClientMetadata, Grant, Id, RedirectUri, Status, Workload,
        check_identifier,
    },
    secret::{self, SecretHash},
    store::{Store, registrations::Registered},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register an agent; prints its secret when it has one.
    Add(Box<Add>),
    /// List the agents.
    List,
    /// Refuse an agent's calls and sign-ins, at once.
    Disable(Switched),
    /// Let an agent call again.
    Enable(Switched),
    /// Let an agent in that registered itself and waits.
    Approve(ById),
    /// Refuse an agent that registered itself and waits.
    Reject(ById),
    /// Forget an agent.
    Remove(ById),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// Its OAuth `client_id`.
    id: Id,
    /// Its name, as people see it when they are asked for consent.
    #[arg(long)]
    name: String,
    /// Where sign-in answers may go, compared exactly; may be repeated.
    #[arg(long = "redirect-uri", value_name = "URI")]
    redirect_uris: Vec<String>,
    /// Where a browser may go after it has signed out, compared exactly; may be repeated.
    #[arg(long = "post-logout-redirect-uri", value_name = "URI")]
    post_logout_redirect_uris: Vec<String>,
    /// How it proves who it is at the token endpoint.
    #[arg(long, value_enum)]
    auth: AuthArg,
    /// Its public keys: a file with a JWK set (for --auth key).
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Where its public keys are (for --auth key).
    #[arg(long, value_name = "URL", conflicts_with = "jwks")]
    jwks_uri: Option<String>,
    /// Its SPIFFE ID (for --auth workload).
    #[arg(long, value_name = "ID")]
    spiffe_id: Option<String>,
    /// Its Kubernetes service account (for --auth workload).
    #[arg(
        long,
        value_name = "ISSUER=system:serviceaccount:NAMESPACE:NAME",
        conflicts_with = "spiffe_id"
    )]
    kubernetes: Option<String>,
    /// What it may ask the token endpoint for; may be repeated [default: what --auth and --redirect-uri suggest].
    #[arg(long = "grant", value_enum, value_name = "GRANT")]
    grants: Vec<GrantArg>,
    /// A scope it may ask for; may be repeated [default: all that a server has].
    #[arg(long = "scope", value_name = "SCOPE", value_parser = pairs::scope)]
    scopes: Vec<String>,
    /// The server meant by a request that names none (RFC 8707).
    #[arg(long, value_name = "URL")]
    default_resource: Option<String>,
    /// A tool it may call when it acts for itself; may be repeated.
    #[arg(long = "tool", value_name = "SERVER:TOOL", value_parser = pairs::tool)]
    tools: Vec<(String, String)>,
    /// A label for policies; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pairs::label)]
    labels: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AuthArg {
    /// Not at all: an application on people's own computers.
    None,
    /// A secret (`client_secret_basic`).
    Secret,
    /// A private key (`private_key_jwt`).
    Key,
    /// What its platform says it is: a JWT-SVID or a Kubernetes service-account token.
    Workload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum GrantArg {
    /// Acts for a user who signs in.
    AuthorizationCode,
    /// Acts for itself.
    ClientCredentials,
    /// Goes on acting for a user who signed in, while they are away.
    RefreshToken,
    /// Acts for a user whose identity provider says so, by an ID-JAG.
    JwtBearer,
    /// Gets tokens for others, as policy lets it.
    TokenExchange,
}

impl From<AuthArg> for AuthMethod {
    fn from(arg: AuthArg) -> Self {
        match arg {
            AuthArg::None => Self::None,
            AuthArg::Secret => Self::Secret,
            AuthArg::Key => Self::Key,
            AuthArg::Workload => Self::Workload,
        }
    }
}

impl Command {
    pub(super) async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        match self {
            Self::Add(add) => add.run(store, output).await,
            Self::List => list(store, output).await,
            Self::Disable(who) => {
                who.switch(store, output, Registered::Agent, Status::Disabled)
                    .await
            }
            Self::Enable(who) => {
                who.switch(store, output, Registered::Agent, Status::Approved)
                    .await
            }
            Self::Approve(ById { id }) => {
                decide(store, output, Registered::Agent, &id, Verdict::Allow).await
            }
            Self::Reject(ById { id }) => {
                decide(store, output, Registered::Agent, &id, Verdict::Deny).await
            }
            Self::Remove(ById { id }) => remove(store, output, Registered::Agent, &id).await,
        }
    }
}

impl Add {
    async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let (agent, secret) = self.checked()?;
        store.add_agent(&agent, SystemClock.now()).await?;
        output.added(
            "agent",
            agent.id.as_str(),
            secret.as_ref().map(|s| ("client secret", s.as_str())),
        )
    }

    /// The agent and its new secret.
    fn checked(self) -> Result<(Agent, Option<zeroize::Zeroizing<String>>), CliError> {
        let usage = |problem: &str| Err(CliError::Usage(problem.to_owned()));
        if self.name.trim().is_empty()
            || self.name.len() > 128
            || self.name.chars().any(char::is_control)
        {
            return usage("--name has 1 to 128 bytes and no control characters");
        }
        let redirect_uris = self
            .redirect_uris
            .iter()
            .map(|uri| RedirectUri::parse(uri))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| CliError::Usage(e.to_string()))?;
        let grants = grants(&self.grants, self.auth, &redirect_uris);
        if grants.contains(&Grant::AuthorizationCode) && redirect_uris.is_empty() {
            return usage(
                "--grant authorization_code needs a --redirect-uri: somewhere the answer may go",
            );
        }
        if grants.contains(&Grant::RefreshToken) && !grants.contains(&Grant::AuthorizationCode) {
            return usage(
                "--grant refresh_token goes with --grant authorization_code: there is nothing else to go on with",
            );
        }
        if grants.contains(&Grant::ClientCredentials) && self.auth == AuthArg::None {
            return usage(
                "--grant client_credentials needs --auth secret, key or workload: anybody could claim to be this agent",
            );
        }
        if grants.contains(&Grant::JwtBearer) && self.auth == AuthArg::None {
            return usage(
                "--grant jwt_bearer needs --auth secret, key or workload: anybody could claim to be this agent",
            );
        }
        if grants.contains(&Grant::TokenExchange) && self.auth == AuthArg::None {
            return usage(
                "--grant token_exchange needs --auth secret or key: anybody could claim to be this agent",
            );
        }
        if grants.is_empty() {
            return usage(
                "the agent could do nothing: give it a --redirect-uri, or --auth secret, key or workload",
            );
        }
        let (jwks, jwks_uri) = match (self.auth, &self.jwks, &self.jwks_uri) {
            (AuthArg::Key, Some(path), _) => (Some(jwks(path)?), None),
            (AuthArg::Key, None, Some(uri)) => (None, Some(jwks_uri(uri)?)),
            (AuthArg::Key, None, None) => {
                return usage(
                    "--auth key needs --jwks FILE with the agent's public keys, or --jwks-uri URL where they are",
                );
            }
            (_, None, None) => (None, None),
            _ => return usage("--jwks and --jwks-uri go with --auth key only"),
        };
        let workload = workload(
            self.auth,
            self.spiffe_id.as_deref(),
            self.kubernetes.as_deref(),
        )?;
        let default_resource = self
            .default_resource
            .map(|given| check_identifier("--default-resource", &given))
            .transpose()
            .map_err(|e| CliError::Usage(e.to_string()))?;
        let post_logout_redirect_uris = self
            .post_logout_redirect_uris
            .iter()
            .map(|uri| RedirectUri::parse(uri).map(|uri| uri.to_string()))
            .collect::<Result<_, _>>()
            .map_err(|e| CliError::Usage(e.to_string()))?;
        let secret = (self.auth == AuthArg::Secret).then(secret::generate);
        let agent = Agent {
            secret: secret.as_ref().map(|s| SecretHash::of(s)),
            jwks,
            jwks_uri,
            workload,
            redirect_uris,
            grants,
            tools: pairs::tools(self.tools),
            labels: pairs::labels(self.labels),
            metadata: ClientMetadata {
                scope: (!self.scopes.is_empty()).then(|| self.scopes.join(" ")),
                default_resource,
                post_logout_redirect_uris,
                ..ClientMetadata::default()
            },
            ..Agent::new(self.id.into(), self.name, self.auth.into())
        };
        Ok((agent, secret))
    }
}

/// The grants asked for, or those that fit how the agent is registered.
fn grants(given: &[GrantArg], auth: AuthArg, redirect_uris: &[RedirectUri]) -> Vec<Grant> {
    let wanted = |grant: GrantArg, fits: bool| {
        if given.is_empty() {
            fits
        } else {
            given.contains(&grant)
        }
    };
    let mut grants = Vec::with_capacity(3);
    if wanted(GrantArg::AuthorizationCode, !redirect_uris.is_empty()) {
        grants.push(Grant::AuthorizationCode);
    }
    if wanted(
        GrantArg::ClientCredentials,
        redirect_uris.is_empty() && auth != AuthArg::None,
    ) {
        grants.push(Grant::ClientCredentials);
    }
    // Never suggested: how long somebody may act for a user who is away is for a person to say.
    if wanted(GrantArg::RefreshToken, false) {
        grants.push(Grant::RefreshToken);
    }
    if wanted(GrantArg::JwtBearer, false) {
        grants.push(Grant::JwtBearer);
    }
    if given.contains(&GrantArg::TokenExchange) {
        grants.push(Grant::TokenExchange);
    }
    grants
}

/// A JWK set of public keys that tokens can be checked with.
fn jwks(path: &std::path::Path) -> Result<serde_json::Value, CliError> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|source| CliError::Io {
        action: format!("read {shown}"),
        source,
    })?;
    let jwks: serde_json::Value = serde_json::from_str(&text)
        .map_err(|e| CliError::Usage(format!("{shown} is not JSON: {e}")))?;
    let keys = jwks.get("keys").and_then(serde_json::Value::as_array);
    let Some(keys) = keys.filter(|keys| (1..=16).contains(&keys.len())) else {
        return Err(CliError::Usage(format!(
            "{shown} must be a JWK set with 1 to 16 keys: {{\"keys\": […]}}"
        )));
    };
    if keys.iter().any(|key| {
        ["d", "k", "p", "q"]
            .iter()
            .any(|private| key.get(private).is_some())
    }) {
        let told = format!(
            "{shown} has a private or symmetric key in it; keep that with the agent and give the public key only"
        );
        return Err(CliError::Usage(told));
    }
    crate::oauth::assertion::check_jwks(&jwks)
        .map_err(|e| CliError::Usage(format!("{shown}: {e}")))?;
    Ok(jwks)
}

/// Where public keys are: https, as everything that a client names.
fn jwks_uri(given: &str) -> Result<String, CliError> {
    let url = Url::parse(given).map_err(|e| CliError::Usage(format!("--jwks-uri {given}: {e}")))?;
    if url.scheme() != "https" || url.fragment().is_some() || !url.username().is_empty() {
        let told = "--jwks-uri must be an https URL without a fragment or user info";
        return Err(CliError::Usage(told.to_owned()));
    }
    Ok(given.to_owned())
}

/// The attested identity that goes with `--auth workload`, and with nothing else.
fn workload(
    auth: AuthArg,
    spiffe_id: Option<&str>,
    kubernetes: Option<&str>,
) -> Result<Option<Workload>, CliError> {
    let usage = |problem: String| CliError::Usage(problem);
    match (auth, spiffe_id, kubernetes) {
        (AuthArg::Workload, Some(id), _) => Workload::spiffe(id)
            .map(Some)
            .map_err(|e| usage(e.to_string())),
        (AuthArg::Workload, None, Some(account)) => {
            let (issuer, subject) = account.rsplit_once('=').ok_or_else(|| {
                usage(
                    "write --kubernetes as ISSUER=system:serviceaccount:NAMESPACE:NAME".to_owned(),
                )
            })?;
            Workload::kubernetes(issuer, subject)
                .map(Some)
                .map_err(|e| usage(e.to_string()))
        }
        (AuthArg::Workload, None, None) => Err(usage(
            "--auth workload needs --spiffe-id or --kubernetes: which workload it is".to_owned(),
        )),
        (_, None, None) => Ok(None),
        _ => Err(usage(
            "--spiffe-id and --kubernetes go with --auth workload only".to_owned(),
        )),
    }
}

async fn list(store: &Store, output: &mut Output) -> Result<(), CliError> {
    let agents = store.agents().await?;
    if output.is_json() {
        return agents.iter().try_for_each(|a| {
            output.json(&json!({
                "id": a.id, "name": a.name, "auth": a.auth, "grants": a.grants, "redirect_uris": a.redirect_uris,
                "tools": a.tools, "labels": a.labels, "status": a.status, "jwks_uri": a.jwks_uri, "workload": a.workload,
                "origin": a.origin, "metadata": a.metadata,
            }))
        });
    }
    output.table(
        &agents,
        [
            "ID", "NAME", "STATUS", "ORIGIN", "AUTH", "GRANTS", "TOOLS", "LABELS",
        ],
        |a| {
            let tools = a
                .tools
                .iter()
                .flat_map(|(server, tools)| tools.iter().map(move |t| format!("{server}:{t}")));
            [
                a.id.to_string(),
                a.name.clone(),
                status_word(a.status).to_owned(),
                origin_word(a.origin).to_owned(),
                a.auth.as_str().to_owned(),
                a.grants
                    .iter()
                    .map(|g| g.as_str())
                    .collect::<Vec<_>>()
                    .join(" "),
                tools.collect::<Vec<_>>().join(" "),
                pairs::shown(&a.labels),
            ]
        },
    )
}
