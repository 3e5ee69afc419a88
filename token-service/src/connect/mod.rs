//! `writ connect`: an MCP server that speaks lines on its standard streams, behind a Streamable HTTP endpoint with the
//! guard's checks built in.
//!
//! A request is admitted by the [`gate`] (with what [`service`] knows and [`spent`] remembers; a server may [`register`] itself there), and served by the
//! [`endpoint`]: over a process of its client's own ([`sessions`]) or over everybody's ([`shared`]), as the server
//! speaks, which [`learn`] finds out. Either is a [`process`] with a [`channel`] that tells whose messages are whose
//! ([`wire`]), in an [`environment`] without secrets.

mod channel;
mod crashes;
mod endpoint;
mod environment;
mod gate;
mod known;
mod learn;
mod outbox;
mod places;
mod process;
mod register;
mod reports;
mod service;
mod sessions;
mod shared;
mod spent;
mod wire;

use std::{ffi::OsString, net::SocketAddr, sync::Arc, time::Duration};

use secrecy::SecretString;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use self::{
    endpoint::Bridge,
    gate::{Gate, SingleUse},
    known::Known,
    learn::Learned,
    process::Recipe,
    service::{Access, Service},
    sessions::Sessions,
    shared::Shared,
    spent::Spent,
};
pub use self::{
    endpoint::{Hosts, HostsError, PATH},
    environment::Passed,
    learn::StartError,
    register::{Registration, RegistrationError},
    service::{Place, ServiceError},
};
use crate::{
    clock::{Clock as _, SystemClock, unix},
    serve::listener,
};

/// What to connect, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the token service's listener for gateways is.
    pub place: Place,
    /// Which server it is, and who asks for it there.
    pub identity: Identity,
    /// Where the endpoint is.
    pub listen: SocketAddr,
    /// Further values of `Host` that requests may have.
    pub hosts: Vec<String>,
    /// Values of `Origin` that requests may have.
    pub origins: Vec<String>,
    /// Whether it is known at this process only which tokens were used.
    pub local_single_use: bool,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// What of our environment the server's processes get, beside what programs need.
    pub passed: Vec<Passed>,
    /// Sessions at a time.
    pub max_sessions: usize,
    /// How long a session may be idle.
    pub idle: Duration,
    /// How long the server may take to start.
    pub start_time: Duration,
    /// How long requests in flight have to finish at the end.
    pub grace: Duration,
    /// The largest message in either direction, in bytes.
    pub max_message: usize,
}

/// Which server it is, and who asks for it at the token service.
#[derive(Clone, Debug)]
pub enum Identity {
    /// A registered server, and a gateway that guards it.
    Guarded {
        /// The server's id in the registry.
        server: String,
        /// The gateway's.
        gateway: String,
        /// The gateway's secret, where that is how it proves who it is.
        secret: Option<SecretString>,
        /// The thumbprint of the key that signs its snapshots, where the secret does not end with it.
        snapshot_key: Option<String>,
    },
    /// A server that registers itself, and is its own guard.
    Registering(Registration),
}

/// Why a server is not connected.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The token service.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The registration.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// The server.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Hosts and origins.
    #[error(transparent)]
    Hosts(#[from] HostsError),
    /// There is nothing to run.
    #[error("name the command that starts the MCP server: writ connect … -- COMMAND ARG…")]
    NoCommand,
    /// It was told to end before it was ready; nothing of it is left.
    #[error("ended before the MCP server was ready")]
    ToldToEnd,
    /// The listener.
    #[error("cannot listen on {address}: {source}; name another address with --listen")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A connected server.
#[derive(Debug)]
pub struct Connected {
    /// Where its endpoint is.
    pub address: SocketAddr,
    recipe: Arc<Recipe>,
    bridge: Arc<Bridge>,
    stop: watch::Sender<bool>,
    listener: JoinHandle<()>,
    follower: JoinHandle<()>,
}

impl Connected {
    /// Starts the server and its endpoint, which answers as soon as this returns. Gives up when `ended` is over before.
    ///
    /// # Errors
    /// When anything that is needed is missing or wrong, or it is told to end; nothing is left running then.
    pub async fn start(
        settings: Settings,
        ended: impl Future<Output = ()>,
    ) -> Result<Self, ConnectError> {
        let (program, arguments) = settings
            .command
            .split_first()
            .ok_or(ConnectError::NoCommand)?;
        let failed = |source| ConnectError::Listen {
            address: settings.listen,
            source,
        };
        let listening = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let address = listening.local_addr().map_err(failed)?;
        // Before anything is started or registered that would be left behind.
        let hosts = Hosts::new(address, &settings.hosts, &settings.origins)?;
        let label = match &settings.identity {
            Identity::Guarded { server, .. } => server,
            Identity::Registering(registration) => &registration.resource,
        };
        let recipe = Arc::new(Recipe::new(
            label,
            program,
            arguments,
            environment::clean(std::env::vars_os(), &settings.passed),
            settings.max_message,
        ));
        let started = tokio::select! {
            started = start(&settings, &recipe, address) => started,
            () = ended => Err(ConnectError::ToldToEnd),
        };
        let (service, known, learned) = match started {
            Ok(started) => started,
            Err(error) => {
                recipe.all_ended().await;
                return Err(error);
            }
        };
        let hosts = hosts.and_of(&known.resource);
        tracing::info!(
            server = service.server(),
            sessions_only = learned.stateless.is_none(),
            tools = learned.tools.len(),
            "the MCP server runs"
        );
        let single_use = if settings.local_single_use {
            let since = unix(SystemClock.now());
            SingleUse::Local(Spent::new(since, service::SKEW_S))
        } else {
            SingleUse::Global
        };
        let (stop, stopped) = watch::channel(false);
        let bridge = Arc::new(Bridge {
            hosts,
            gate: Gate::new(Arc::clone(&service), single_use),
            sessions: Arc::new(Sessions::new(
                Arc::clone(&recipe),
                settings.max_sessions,
                settings.idle,
            )),
            shared: learned
                .stateless
                .map(|process| Shared::keep(process, Arc::clone(&recipe), settings.start_time)),
            max_body: settings.max_message,
            start_time: settings.start_time,
            stopped: stopped.clone(),
        });
        let router = endpoint::routes(Arc::clone(&bridge));
        let listener = tokio::spawn(listener::run(listening, router, stopped, settings.grace));
        let follower = tokio::spawn(async move { service.follow().await });
        Ok(Self {
            address,
            recipe,
            bridge,
            stop,
            listener,
            follower,
        })
    }

    /// Ends it: no new requests, those in flight finish, then the server's processes end.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = self.listener.await;
        self.follower.abort();
        let shared = async {
            if let Some(shared) = &self.bridge.shared {
                shared.stop().await;
            }
        };
        tokio::join!(
            self.bridge.sessions.stop(),
            shared,
            self.bridge.gate.finish()
        );
        self.recipe.all_ended().await;
    }
}

/// Finds out what the server speaks, and what is known of it at the token service, where it registers itself first if it is to.
async fn start(
    settings: &Settings,
    recipe: &Arc<Recipe>,
    address: SocketAddr,
) -> Result<(Arc<Service>, Arc<Known>, Learned), ConnectError> {
    let service = |access: Access, server: &str| {
        Service::new(settings.place.clone(), access, server).map(Arc::new)
    };
    match &settings.identity {
        Identity::Guarded {
            server,
            gateway,
            secret,
            snapshot_key,
        } => {
            let access = Access::new(gateway, secret.clone(), snapshot_key.as_deref())?;
            let service = service(access, server)?;
            let known = service.refresh().await?;
            let learned = learn::learn(recipe, settings.start_time).await?;
            Ok((service, known, learned))
        }
        Identity::Registering(registration) => {
            let learned = learn::learn(recipe, settings.start_time).await?;
            let upstream = format!("http://{address}{PATH}");
            let tools = learned.tools.iter().map(String::as_str);
            let registered = registration.registered(&upstream, tools).await?;
            let secret = registered.introspection_secret.into();
            let access = Access::new(&registered.server_id, Some(secret), None)?;
            let service = service(access, &registered.server_id)?;
            let known = service.refresh().await?;
            Ok((service, known, learned))
        }
    }
}
