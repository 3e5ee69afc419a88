//! A token service that goes wrong: it stands before the real one and passes everything on until told not to.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

/// What becomes of a token request.
#[derive(Clone, Debug, Default)]
pub enum Fault {
    /// Passed on.
    #[default]
    None,
    /// Never answered.
    Silence,
    /// Answered with this, whatever was asked.
    Answer {
        /// HTTP status.
        status: u16,
        /// Content type.
        content_type: &'static str,
        /// Body.
        body: Vec<u8>,
    },
}

/// See the module. Runs until the test ends.
#[derive(Clone, Debug)]
pub struct Faulty {
    /// Where it listens.
    pub address: SocketAddr,
    fault: Arc<Mutex<Fault>>,
}

impl Faulty {
    /// Starts it before the service on this port.
    pub async fn before(gateway_port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a free port");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let faulty = Self {
            address,
            fault: Arc::default(),
        };
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .build_http();
        let server = faulty.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, client) = (server.clone(), client.clone());
                let service = service_fn(move |request| {
                    let (server, client) = (server.clone(), client.clone());
                    async move {
                        Ok::<_, Infallible>(server.answer(client, gateway_port, request).await)
                    }
                });
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                tokio::spawn(async move {
                    connection
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                });
            }
        });
        faulty
    }

    /// From now on token requests go like this.
    pub fn go_wrong(&self, fault: Fault) {
        *self
            .fault
            .lock()
            .expect("no test panics while it holds this") = fault;
    }

    async fn answer(
        &self,
        client: Client<HttpConnector, Full<Bytes>>,
        gateway_port: u16,
        request: Request<Incoming>,
    ) -> Response<Full<Bytes>> {
        let fault = self
            .fault
            .lock()
            .expect("no test panics while it holds this")
            .clone();
        if request.uri().path() == "/oauth/token" {
            match fault {
                Fault::None => {}
                Fault::Silence => std::future::pending().await,
                Fault::Answer {
                    status,
                    content_type,
                    body,
                } => {
                    let mut response = Response::new(Full::new(Bytes::from(body)));
                    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
                    response
                        .headers_mut()
                        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
                    return response;
                }
            }
        }
        pass_on(client, gateway_port, request).await
    }
}

async fn pass_on(
    client: Client<HttpConnector, Full<Bytes>>,
    gateway_port: u16,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut onward = Request::builder()
        .method(head.method)
        .uri(format!("http://127.0.0.1:{gateway_port}{path}"));
    for (name, value) in &head.headers {
        if name != "host" {
            onward = onward.header(name, value);
        }
    }
    let body = body
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let onward = onward
        .body(Full::new(body))
        .expect("a request made of a request");
    match client.request(onward).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let body = body
                .collect()
                .await
                .map(|body| body.to_bytes())
                .unwrap_or_default();
            Response::from_parts(head, Full::new(body))
        }
        Err(_) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}
