//! `writ gateway …`

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{ById, CliError, Output, Switched, output::status_word, remove};
use crate::{
    clock::{Clock as _, SystemClock},
    config::Config,
    hex::hex,
    registry::{Gateway, GatewayKind, GatewayProof, Id, Status},
    secret::SecretHash,
    snapshot::new_secret,
    store::{Store, registrations::Registered},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register a gateway, a guard or an egress; prints its secret.
    Add(Add),
    /// Make a guard of a gateway or a gateway of a guard; it keeps its secret or certificate.
    Update(Update),
    /// Remove a registration, at once: the tokens that it minted are good no longer.
    Remove(ById),
    /// List the gateways.
    List,
    /// Refuse a gateway's requests, at once.
    Disable(Switched),
    /// Let a gateway in again.
    Enable(Switched),
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// Its id, as in the filter's configuration.
    id: Id,
    /// What it does.
    #[arg(long, value_enum, default_value = "gateway")]
    kind: KindArg,
    /// A server it is for; may be repeated. An egress is for none.
    #[arg(long = "server", value_name = "ID")]
    servers: Vec<Id>,
    /// It proves who it is with a certificate of this URI or DNS name, by an authority of gateway.tls.client_ca_file.
    #[arg(long, value_name = "NAME", value_parser = certificate_name)]
    certificate_san: Option<String>,
    /// It proves who it is with the certificate of this SHA-256, in hexadecimal.
    #[arg(long, value_name = "HEX", value_parser = fingerprint, conflicts_with = "certificate_san")]
    certificate_sha256: Option<Fingerprint>,
}

#[derive(Debug, Args)]
pub(super) struct Update {
    /// Its id.
    id: Id,
    /// What it does.
    #[arg(long, value_enum)]
    kind: KindArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindArg {
    /// Stands before agents, and mints tokens for their calls.
    Gateway,
    /// Stands before a server, and spends the tokens that reach it.
    Guard,
    /// Stands where agents' traffic leaves, and reports MCP that goes past gateways.
    Egress,
}

impl From<KindArg> for GatewayKind {
    fn from(arg: KindArg) -> Self {
        match arg {
            KindArg::Gateway => Self::Gateway,
            KindArg::Guard => Self::Guard,
            KindArg::Egress => Self::Egress,
        }
    }
}

/// The SHA-256 of a certificate.
#[derive(Clone, Copy, Debug)]
struct Fingerprint([u8; 32]);

/// A fingerprint as `openssl x509 -fingerprint -sha256` prints it, with or without its colons.
fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| *c != ':')
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()
        .ok_or("a fingerprint is hexadecimal")?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .filter_map(|pair| u8::try_from(pair.iter().fold(0, |n, d| n * 16 + d)).ok())
        .collect();
    match (digits.len(), bytes.try_into()) {
        (64, Ok(bytes)) => Ok(Fingerprint(bytes)),
        _ => Err("a SHA-256 fingerprint has 64 hexadecimal digits".to_owned()),
    }
}

fn certificate_name(text: &str) -> Result<String, String> {
    let fits = (1..=512).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic());
    if fits {
        Ok(text.to_owned())
    } else {
        Err("a certificate's name is a URI or a DNS name".to_owned())
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
            Self::Update(update) => update.run(store, output).await,
            Self::Remove(ById { id }) => remove(store, output, Registered::Gateway, &id).await,
            Self::List => list(store, output).await,
            Self::Disable(who) => {
                who.switch(store, output, Registered::Gateway, Status::Disabled)
                    .await
            }
            Self::Enable(who) => {
                who.switch(store, output, Registered::Gateway, Status::Approved)
                    .await
            }
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
        let told = match (self.kind, self.servers.is_empty()) {
            (KindArg::Egress, false) => {
                "an egress is for no server: it knows where all of them are"
            }
            (KindArg::Gateway | KindArg::Guard, true) => {
                "name the servers that it is for: --server ID, for each"
            }
            _ => "",
        };
        if !told.is_empty() {
            return Err(CliError::Usage(told.to_owned()));
        }
        let (proof, secret) = match (self.certificate_san, self.certificate_sha256) {
            (Some(name), _) => (GatewayProof::CertificateName(name), None),
            (None, Some(Fingerprint(sha256))) => (GatewayProof::Certificate(sha256), None),
            (None, None) => {
                let secret = new_secret(store, &config.keys.sealing).await?;
                (GatewayProof::Secret(SecretHash::of(&secret)), Some(secret))
            }
        };
        let gateway = Gateway {
            id: self.id,
            kind: self.kind.into(),
            proof,
            servers: self.servers.iter().map(Id::to_string).collect(),
            status: Status::Approved,
        };
        store.add_gateway(&gateway, SystemClock.now()).await?;
        output.added(
            gateway.kind.as_str(),
            gateway.id.as_str(),
            secret.as_ref().map(|secret| ("secret", secret.as_str())),
        )
    }
}

impl Update {
    async fn run(self, store: &Store, output: &mut Output) -> Result<(), CliError> {
        let (id, kind) = (self.id.as_str(), GatewayKind::from(self.kind));
        store.set_kind(id, kind, SystemClock.now()).await?;
        output.done(
            Registered::Gateway.as_str(),
            id,
            &format!("a {} now", kind.as_str()),
        )
    }
}

async fn list(store: &Store, output: &mut Output) -> Result<(), CliError> {
    let gateways = store.gateways().await?;
    if output.is_json() {
        return gateways.iter().try_for_each(|g| {
            output.json(&json!({"id": g.id, "kind": g.kind, "servers": g.servers, "status": g.status, "proof": proof(&g.proof)}))
        });
    }
    output.table(
        &gateways,
        ["ID", "KIND", "STATUS", "SERVERS", "PROOF"],
        |g| {
            let servers: Vec<&str> = g.servers.iter().map(String::as_str).collect();
            [
                g.id.to_string(),
                g.kind.as_str().to_owned(),
                status_word(g.status).to_owned(),
                servers.join(" "),
                proof(&g.proof),
            ]
        },
    )
}

fn proof(proof: &GatewayProof) -> String {
    match proof {
        GatewayProof::Secret(_) => "secret".to_owned(),
        GatewayProof::CertificateName(name) => format!("certificate {name}"),
        GatewayProof::Certificate(sha256) => {
            format!("certificate sha256:{}", hex(sha256))
        }
    }
}
