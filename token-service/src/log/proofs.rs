//! What the log proves to whoever took a token: that its record is in the log, and that the log goes on as it was.
//!
//! A server asks about records of its own, with the credentials it introspects with, and checks the answers by itself against
//! checkpoints that it keeps.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tlog_tiles::Hash;

use super::{
    leaf::Leaf,
    tree::{self, TreeError},
};
use crate::{
    app::{App, SharedApp},
    audit::TryKind,
    config::Config,
    http::Peer,
    oauth::{NO_STORE, OAuthError, introspect, metadata::Endpoints},
    registry::Server,
    store::{StoreError, audit::Filter, log::Signed},
};

/// Seconds after which a record that is in no checkpoint yet may be asked for again.
const AGAIN: &str = "5";

/// The endpoints of the public listener, for servers.
pub(crate) fn routes(config: &Config) -> Router<SharedApp> {
    let at = Endpoints::of(&config.issuer);
    Router::new()
        .route(&at.path("/audit/v1/checkpoint"), get(checkpoint))
        .route(&at.path("/audit/v1/inclusion"), get(inclusion))
        .route(&at.path("/audit/v1/consistency"), get(consistency))
}

/// Why there is no proof.
#[derive(Debug)]
enum NoProof {
    /// As at other endpoints.
    OAuth(OAuthError),
    /// No such record of this server's.
    Unknown(&'static str),
    /// In no checkpoint yet.
    NotYet,
}

impl IntoResponse for NoProof {
    fn into_response(self) -> Response {
        let absent = |error: &str, description: &str| {
            let body = json!({ "error": error, "error_description": description });
            (StatusCode::NOT_FOUND, NO_STORE, Json(body)).into_response()
        };
        match self {
            Self::OAuth(error) => error.into_response(),
            Self::Unknown(description) => absent("not_found", description),
            Self::NotYet => {
                let description = "it is in no checkpoint yet: ask again in a few seconds";
                let mut response = absent("not_yet", description);
                let again = header::HeaderValue::from_static(AGAIN);
                response.headers_mut().insert(header::RETRY_AFTER, again);
                response
            }
        }
    }
}

impl From<StoreError> for NoProof {
    fn from(error: StoreError) -> Self {
        Self::OAuth(match error {
            error if error.passes() => OAuthError::TemporarilyUnavailable(error.to_string().into()),
            other => OAuthError::internal(&other),
        })
    }
}

impl From<TreeError> for NoProof {
    fn from(error: TreeError) -> Self {
        Self::OAuth(match error {
            TreeError::NoProof(_) => OAuthError::InvalidRequest(error.to_string().into()),
            damaged => OAuthError::internal(&damaged),
        })
    }
}

async fn asker(app: &App, peer: Peer, headers: &HeaderMap) -> Result<Arc<Server>, NoProof> {
    let registry = app.current_registry().await?;
    if let Some(server) = introspect::authenticate(&registry, headers) {
        return Ok(server);
    }
    app.tries
        .note(TryKind::InvalidServer, &peer.text(), app.clock.now());
    app.limits
        .address(peer)
        .await
        .map_err(|wait| NoProof::OAuth(wait.into()))?;
    Err(NoProof::OAuth(OAuthError::InvalidClient(
        "the server's id or secret is wrong, or it is disabled".into(),
    )))
}

async fn newest(app: &App) -> Result<Signed, NoProof> {
    let newest = app.store.newest_checkpoint().await?;
    newest.ok_or(NoProof::NotYet)
}

/// `GET /audit/v1/checkpoint`: the newest (C2SP tlog-checkpoint).
#[utoipa::path(
    get,
    path = "/audit/v1/checkpoint",
    operation_id = "audit_checkpoint",
    summary = "The newest checkpoint of the audit log (C2SP tlog-checkpoint)",
    security(("basic" = [])),
    responses(
        (status = 200, description = "A signed note", body = String, content_type = "text/plain"),
        (status = 404, description = "Nothing is on record yet", body = crate::openapi::schemas::Problem),
        crate::openapi::schemas::Refused
    )
)]
async fn checkpoint(
    State(app): State<SharedApp>,
    peer: Peer,
    headers: HeaderMap,
) -> Result<Response, NoProof> {
    asker(&app, peer, &headers).await?;
    let plain = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((NO_STORE, plain, newest(&app).await?.note).into_response())
}

/// What is asked about a record.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The `jti` of the token that was minted.
    token: String,
}

/// That a record is in the log (RFC 6962 section 2.1.1).
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Inclusion {
    /// Its place in the log, from 0.
    index: u64,
    /// What is hashed: SHA-256 of a zero byte and this, as its canonical JSON (RFC 8785).
    #[schema(value_type = crate::openapi::schemas::Object)]
    leaf: Leaf,
    /// The hashes from the leaf to the root, in base64.
    proof: Vec<String>,
    /// The checkpoint that it is proved for.
    checkpoint: String,
}

/// `GET /audit/v1/inclusion`: the record of a minted token, and that it is in the log.
#[utoipa::path(
    get,
    path = "/audit/v1/inclusion",
    operation_id = "audit_inclusion",
    summary = "That the record of a minted token is in the audit log (RFC 6962 section 2.1.1)",
    params(Which),
    security(("basic" = [])),
    responses(
        (status = 200, description = "The leaf and its proof", body = Inclusion),
        (status = 404, description = "No such record, or it is in no checkpoint yet", body = crate::openapi::schemas::Problem),
        crate::openapi::schemas::Refused
    )
)]
async fn inclusion(
    State(app): State<SharedApp>,
    peer: Peer,
    headers: HeaderMap,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, NoProof> {
    let server = asker(&app, peer, &headers).await?;
    let Query(which) = which.map_err(malformed)?;
    // By its id alone: a database that knows little of its rows yet would look through all of the server's, too.
    let minted = Filter {
        kind: Some(crate::audit::Kind::Mint),
        token_id: Some(which.token),
        ..Filter::default()
    };
    let found = app.store.newest_records(&minted, 1).await?.pop();
    let found = found.filter(|found| found.record.server.as_deref() == Some(server.id.as_str()));
    let found = found.ok_or(NoProof::Unknown(
        "no token of this id was minted for this server",
    ))?;
    let signed = newest(&app).await?;
    let index = found.leaf.and_then(|leaf| u64::try_from(leaf).ok());
    let index = index
        .filter(|index| *index < signed.size)
        .ok_or(NoProof::NotYet)?;
    let tiles = app
        .store
        .tiles(tree::for_record(signed.size, index))
        .await?;
    let proof = tiles.prove_record(signed.size, index)?;
    let logged = app.store.logged(index, 1).await?.pop();
    let logged = logged.ok_or(NoProof::NotYet)?;
    let answer = Inclusion {
        index,
        leaf: logged.leaf,
        proof: texts(&proof),
        checkpoint: signed.note,
    };
    Ok((NO_STORE, Json(answer)).into_response())
}

/// Which older log.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Older {
    /// The size of the checkpoint that was kept.
    from: u64,
}

/// That the log begins with an older one (RFC 6962 section 2.1.2).
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Consistency {
    /// The hashes between both roots, in base64.
    proof: Vec<String>,
    /// The checkpoint that it is proved for.
    checkpoint: String,
}

/// `GET /audit/v1/consistency`: from a checkpoint that was kept to the newest.
#[utoipa::path(
    get,
    path = "/audit/v1/consistency",
    operation_id = "audit_consistency",
    summary = "That the audit log begins with what it was (RFC 6962 section 2.1.2)",
    params(Older),
    security(("basic" = [])),
    responses(
        (status = 200, description = "The proof", body = Consistency),
        (status = 404, description = "Nothing is on record yet", body = crate::openapi::schemas::Problem),
        crate::openapi::schemas::Refused
    )
)]
async fn consistency(
    State(app): State<SharedApp>,
    peer: Peer,
    headers: HeaderMap,
    older: Result<Query<Older>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, NoProof> {
    asker(&app, peer, &headers).await?;
    let Query(Older { from }) = older.map_err(malformed)?;
    let signed = newest(&app).await?;
    let tiles = app.store.tiles(tree::for_tree(signed.size, from)).await?;
    let proof = tiles.prove_tree(signed.size, from)?;
    let answer = Consistency {
        proof: texts(&proof),
        checkpoint: signed.note,
    };
    Ok((NO_STORE, Json(answer)).into_response())
}

fn malformed(rejection: axum::extract::rejection::QueryRejection) -> NoProof {
    NoProof::OAuth(OAuthError::InvalidRequest(rejection.body_text().into()))
}

fn texts(proof: &[Hash]) -> Vec<String> {
    proof.iter().map(Hash::to_string).collect()
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(checkpoint, inclusion, consistency))]
struct Api;

/// The endpoints, for the OpenAPI document.
pub(crate) fn api() -> utoipa::openapi::OpenApi {
    <Api as utoipa::OpenApi>::openapi()
}
