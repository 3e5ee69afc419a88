//! Running the service: both listeners, the work in between, and an orderly end.

mod health;
pub(crate) mod listener;
mod maintenance;
mod telemetry;
mod tls;
mod unix;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use axum::{
    Router,
    http::StatusCode,
    middleware,
    routing::{get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

use self::{health::Draining, telemetry::Telemetry};
pub use tls::TlsError;

use crate::{
    app::{App, AppError, SharedApp},
    authzen,
    clock::Clock,
    config::{Config, GatewayListen},
    gateway,
    http::{limits, network::Network, proxies},
    keys::{KeyError, Keys},
    log, oauth, openapi,
    policy::{SourceError, polling},
    sinks, snapshot,
    store::{Store, StoreError},
    telemetry::traced,
};

/// The longest a request may take, reading it included.
const REQUEST_TIME: Duration = Duration::from_secs(15);
/// How long requests in flight have to finish at the end.
const GRACE: Duration = Duration::from_secs(10);

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signing keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// Putting it together.
    #[error(transparent)]
    App(#[from] AppError),
    /// TLS for gateways.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A sink of the log.
    #[error(transparent)]
    Sink(#[from] sinks::SinkError),
    /// A listener.
    #[error("cannot listen on {address}: {source}; is another `writ serve` running?")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        source: std::io::Error,
    },
}

/// A running service.
#[derive(Debug)]
pub struct Running {
    /// Its state.
    pub app: SharedApp,
    /// Where the public listener is.
    pub public: SocketAddr,
    /// Where the gateways' listener is.
    pub gateway: GatewayListen,
    draining: Draining,
    stop: watch::Sender<bool>,
    listeners: Vec<JoinHandle<()>>,
    maintenance: JoinHandle<()>,
    telemetry: Telemetry,
    tls: Option<tls::Current>,
}

impl Running {
    /// Starts the service. It answers as soon as this returns.
    ///
    /// # Errors
    /// When anything it needs is missing or wrong; nothing is left running then.
    pub async fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        metrics: Option<PrometheusHandle>,
    ) -> Result<Self, ServeError> {
        let store = Store::open(&config.place()).await?;
        let keys = Keys::open(&store, &config, Arc::clone(&clock)).await?;

        let public = listen(config.public).await?;
        let public_address = local(&public, config.public)?;
        let config = config.bound_to(public_address);
        let gateway_listen = config.gateway.clone();
        let app = Arc::new(App::new(config, store, keys, clock).await?);
        let sinks = app.config.audit.sinks.iter().cloned();
        let senders = sinks.map(|sink| sinks::Sender::new(Arc::clone(&app), sink));
        let senders = senders.collect::<Result<Vec<_>, _>>()?;

        let (stop, stopped) = watch::channel(false);
        let trusted: Arc<[Network]> = app.config.trusted_proxies.as_slice().into();
        let draining = Draining::default();
        let routes = public_routes(&app).merge(health::routes(&draining));
        let public_router = guarded(routes.merge(health::metrics(metrics.clone())))
            .layer(middleware::from_fn_with_state(
                trusted,
                proxies::see_through,
            ))
            .with_state(Arc::clone(&app));
        let gateway_router = guarded(gateway::routes(&app).merge(health::routes(&draining)))
            .with_state(Arc::clone(&app));
        let mut listeners = Vec::with_capacity(2);
        let mut current_tls = None;
        let gateway = match gateway_listen {
            GatewayListen::Loopback(address) => {
                let bound = listen(address).await?;
                let at = local(&bound, address)?;
                listeners.push(tokio::spawn(listener::run(
                    bound,
                    gateway_router,
                    stopped.clone(),
                    GRACE,
                )));
                GatewayListen::Loopback(at)
            }
            GatewayListen::Unix(path) => {
                let bound = unix::bind(&path).map_err(|source| ServeError::Listen {
                    address: format!("unix:{}", path.display()),
                    source,
                })?;
                listeners.push(tokio::spawn(listener::run(
                    bound,
                    gateway_router,
                    stopped.clone(),
                    GRACE,
                )));
                GatewayListen::Unix(path)
            }
            GatewayListen::Tls(address, files) => {
                let current: tls::Current = Arc::new(ArcSwap::new(tls::read(&files)?));
                let tcp = listen(address).await?;
                let at = local(&tcp, address)?;
                listeners.push(tokio::spawn(listener::run(
                    tls::TlsListener {
                        tcp,
                        current: Arc::clone(&current),
                    },
                    gateway_router,
                    stopped.clone(),
                    GRACE,
                )));
                current_tls = Some(current);
                GatewayListen::Tls(at, files)
            }
        };
        listeners.push(tokio::spawn(listener::run(
            public,
            public_router,
            stopped.clone(),
            GRACE,
        )));
        if let Some(server) = app.config.policy_bundle.clone() {
            let polling = polling::run(Arc::clone(&app), server, stopped.clone());
            listeners.push(tokio::spawn(polling));
        }
        listeners.push(tokio::spawn(snapshot::follow(
            Arc::clone(&app),
            stopped.clone(),
        )));
        listeners.push(tokio::spawn(log::keep::run(
            Arc::clone(&app),
            stopped.clone(),
        )));
        listeners.push(tokio::spawn(log::keep::sign_now_and_then(
            Arc::clone(&app),
            stopped.clone(),
        )));
        if let Some(to) = app.config.audit.checkpoint_endpoint.clone() {
            let posting = log::post::run(Arc::clone(&app), to, stopped.clone());
            listeners.push(tokio::spawn(posting));
        }
        for witness in app.config.audit.witnesses.iter().cloned() {
            let cosigning = log::cosign::run(Arc::clone(&app), witness, stopped.clone());
            listeners.push(tokio::spawn(cosigning));
        }
        if let Some(to) = app.config.audit.archive.clone() {
            let archiving = log::retention::run(Arc::clone(&app), to, stopped.clone());
            listeners.push(tokio::spawn(archiving));
        }
        for sender in senders {
            listeners.push(tokio::spawn(sender.run(stopped.clone())));
        }
        if !app.config.audit.sinks.is_empty() {
            let measuring = sinks::lag::run(Arc::clone(&app), stopped.clone());
            listeners.push(tokio::spawn(measuring));
        }
        let telemetry = Telemetry::start(&app, metrics.clone());
        let maintenance = tokio::spawn(maintenance::run(Arc::clone(&app), metrics, stopped));
        Ok(Self {
            app,
            public: public_address,
            gateway,
            draining,
            stop,
            listeners,
            maintenance,
            telemetry,
            tls: current_tls,
        })
    }

    /// Reads the certificates of the gateways' listener again. Those in force stay when the new ones are wrong.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn reload_certificates(&self) -> Result<(), TlsError> {
        if let (Some(current), GatewayListen::Tls(_, files)) = (&self.tls, &self.gateway) {
            current.store(tls::read(files)?);
        }
        Ok(())
    }

    /// Reads the policy that the configuration names again. The one in force stays when the new one is wrong.
    ///
    /// # Errors
    /// When the new policy cannot be loaded.
    pub async fn reload_policy(&self) -> Result<bool, SourceError> {
        self.app.reload_policy().await
    }

    /// Says at `/readyz` that nothing more should come here, and goes on for as long as load balancers need to notice
    /// (`drain`).
    pub async fn drain(&self) {
        self.draining.begin();
        tokio::time::sleep(self.app.config.drain).await;
    }

    /// Ends the service: no new connections, requests in flight finish, what is counted is put on record.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        self.app.changes.end();
        for listener in self.listeners {
            let _ = listener.await;
        }
        let _ = self.maintenance.await;
        maintenance::finish(&self.app).await;
        log::keep::finish(&self.app).await;
        self.telemetry.stop().await;
        self.app.store.close().await;
        if let GatewayListen::Unix(path) = &self.gateway {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn public_routes(app: &SharedApp) -> Router<SharedApp> {
    let at = oauth::metadata::Endpoints::of(&app.config.issuer);
    oauth::public_routes(&app.config)
        .merge(authzen::metadata_routes(&app.config))
        .merge(log::witness::routes(&app.config))
        .layer(middleware::from_fn_with_state(
            Arc::clone(app),
            limits::by_address,
        ))
        // Servers that prove who they are ask about every call.
        .route(
            &at.path("/oauth/introspect"),
            post(oauth::introspect::serve)
                .layer(middleware::from_fn_with_state(Arc::clone(app), traced)),
        )
        .merge(authzen::public_routes(app))
        .merge(log::proofs::routes(&app.config))
        .route("/openapi.json", get(openapi::serve))
}

/// What every request gets, whatever the listener.
fn guarded(routes: Router<SharedApp>) -> Router<SharedApp> {
    routes
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            REQUEST_TIME,
        ))
        .layer(CatchPanicLayer::new())
}

/// Waits until the service is told to stop, or whoever could tell it is gone.
pub(crate) async fn told_to_stop(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen {
            address: address.to_string(),
            source,
        })
}

fn local(listener: &TcpListener, asked: SocketAddr) -> Result<SocketAddr, ServeError> {
    listener.local_addr().map_err(|source| ServeError::Listen {
        address: asked.to_string(),
        source,
    })
}
