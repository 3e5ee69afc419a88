//! One listener: HTTP/1.1 and HTTP/2 with prior knowledge, bounded, ending in order.

use std::{future::Future, io, sync::Arc, time::Duration};

use axum::{Router, http::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{Notify, Semaphore, watch},
    time::timeout,
};
use tower::ServiceExt as _;

use crate::http::{Peer, PeerCertificate};

/// Connections at the same time on one listener.
const CONNECTIONS: usize = 4096;
/// How long the head of a request may take.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How long to wait after a failed `accept` (no file descriptors left, usually).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Something connections come in on.
pub(crate) trait Accept: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// A connection that may still have to prove something.
    type Connecting: Future<Output = io::Result<(Self::Stream, PeerCertificate)>> + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Connecting, Peer)>> + Send;
}

/// A connection with nothing to prove.
type Plain<S> = std::future::Ready<io::Result<(S, PeerCertificate)>>;

fn plain<S>(stream: S) -> Plain<S> {
    std::future::ready(Ok((stream, PeerCertificate::default())))
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;
    type Connecting = Plain<Self::Stream>;

    async fn accept(&self) -> io::Result<(Self::Connecting, Peer)> {
        let (stream, address) = TcpListener::accept(self).await?;
        stream.set_nodelay(true)?;
        Ok((plain(stream), Peer(Some(address.ip()))))
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;
    type Connecting = Plain<Self::Stream>;

    async fn accept(&self) -> io::Result<(Self::Connecting, Peer)> {
        let (stream, _) = UnixListener::accept(self).await?;
        Ok((plain(stream), Peer(None)))
    }
}

/// Serves until `stopped`, then lets requests in flight finish for at most `grace`.
pub(crate) async fn run(
    listener: impl Accept,
    router: Router,
    mut stopped: watch::Receiver<bool>,
    grace: Duration,
) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME);
    server
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(1024)
        .max_header_list_size(64 * 1024)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(4 * 1024 * 1024)
        .keep_alive_interval(Duration::from_secs(30));
    let server = Arc::new(server);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = super::told_to_stop(&mut stopped) => break,
        };
        let Some((connecting, peer, place)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (server, router, watcher) = (Arc::clone(&server), router.clone(), graceful.watcher());
        tokio::spawn(async move {
            let (stream, certificate) = match timeout(HEAD_TIME, connecting).await {
                Ok(Ok(connected)) => connected,
                Ok(Err(error)) => return tracing::debug!(%error, "a handshake failed"),
                Err(_) => return tracing::debug!("a handshake took too long"),
            };
            let asked = Arc::new(Notify::new());
            let first = Arc::clone(&asked);
            let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
                asked.notify_one();
                request.extensions_mut().insert(peer);
                request.extensions_mut().insert(certificate.clone());
                router.clone().oneshot(request)
            });
            let connection = server
                .serve_connection(TokioIo::new(stream), service)
                .into_owned();
            // Until it is known which HTTP is spoken, nothing else ends a connection that says nothing.
            let silent = async {
                if timeout(HEAD_TIME, first.notified()).await.is_ok() {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                ended = watcher.watch(connection) => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended with an error");
                },
                () = silent => tracing::debug!("a connection asked for nothing"),
            }
            drop(place);
        });
    }
    drop(listener);
    if timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still in flight when the service ended");
    }
}

async fn accept<A: Accept>(
    listener: &A,
    places: &Arc<Semaphore>,
) -> Option<(A::Connecting, Peer, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((connecting, peer)) => Some((connecting, peer, place)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            None
        }
    }
}
