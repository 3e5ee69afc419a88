//! Being a witness of somebody else's log (C2SP tlog-witness): a checkpoint is cosigned when the log's key has signed it and it goes on from the one
//! before. So a log cannot tell one story here and another there, nor go back.

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tlog_tiles::Hash;

use super::checkpoint::{CheckpointError, Head, NoteKey, PublicKey, origin_of};
use crate::{
    app::{App, SharedApp},
    clock::unix,
    config::Config,
    oauth::{NO_STORE, metadata::Endpoints},
    store::{StoreError, log::Witnessed},
};

/// The most that a request may hold, in bytes.
const MAX_BODY: usize = 64 * 1024;
/// The most hashes a proof has: of the largest tree.
const MAX_PROOF: usize = 63;

/// The endpoint of the public listener: for who keeps one of the logs.
pub(crate) fn routes(config: &Config) -> Router<SharedApp> {
    let at = Endpoints::of(&config.issuer);
    Router::new()
        .route(&at.path("/witness/add-checkpoint"), post(add_checkpoint))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// Why a checkpoint is not cosigned, with the status that the specification gives it.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// 400.
    #[error("{0}")]
    Malformed(&'static str),
    /// 403.
    #[error("{0}")]
    Signature(#[from] CheckpointError),
    /// 404.
    #[error("this is no witness of a log of that name")]
    UnknownLog,
    /// 409.
    #[error("{0}")]
    Conflict(u64),
    /// 422.
    #[error("the proof does not lead from the checkpoint before to this one")]
    Proof,
    /// 503.
    #[error("the service is busy; try again")]
    Busy,
    /// 500.
    #[error("the service failed; its log says why")]
    Failed,
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        if error.passes() {
            return Self::Busy;
        }
        tracing::error!(%error, "a checkpoint could not be cosigned");
        Self::Failed
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Signature(_) => StatusCode::FORBIDDEN,
            Self::UnknownLog => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Proof => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let kind = match self {
            Self::Conflict(_) => "text/x.tlog.size",
            _ => "text/plain; charset=utf-8",
        };
        let kind = [(header::CONTENT_TYPE, kind)];
        (status, NO_STORE, kind, format!("{self}\n")).into_response()
    }
}

/// What is asked: `old` size, proof, an empty line, and the checkpoint.
#[derive(Debug)]
struct Asked<'a> {
    old: u64,
    proof: Vec<Hash>,
    note: &'a str,
}

impl<'a> Asked<'a> {
    fn read(body: &'a [u8]) -> Result<Self, Refused> {
        let text = std::str::from_utf8(body).map_err(|_| Refused::Malformed("not UTF-8"))?;
        let (head, note) = text.split_once("\n\n").ok_or(Refused::Malformed(
            "there is no empty line before the checkpoint",
        ))?;
        let mut lines = head.lines();
        let old = lines
            .next()
            .and_then(|line| line.strip_prefix("old "))
            .filter(|size| *size == "0" || !size.starts_with(['0', '+']))
            .and_then(|size| size.parse().ok())
            .ok_or(Refused::Malformed(
                "the first line must be `old` and a size",
            ))?;
        let proof: Vec<Hash> = lines
            .map(hash)
            .collect::<Option<_>>()
            .filter(|proof: &Vec<Hash>| proof.len() <= MAX_PROOF)
            .ok_or(Refused::Malformed(
                "the proof must be hashes in base64, at most 63",
            ))?;
        Ok(Self { old, proof, note })
    }
}

fn hash(line: &str) -> Option<Hash> {
    let bytes = STANDARD.decode(line).ok()?;
    Some(Hash(bytes.try_into().ok()?))
}

/// `POST /witness/add-checkpoint`.
#[utoipa::path(
    post,
    path = "/witness/add-checkpoint",
    operation_id = "witness_add_checkpoint",
    summary = "Cosign the checkpoint of a log that this service is a witness of (C2SP tlog-witness)",
    request_body(content = String, content_type = "text/plain"),
    responses(
        (status = 200, description = "The cosignature, a line of a signed note", body = String, content_type = "text/plain"),
        (status = 400, description = "Not what the specification says", body = String, content_type = "text/plain"),
        (status = 403, description = "Not signed by the log", body = String, content_type = "text/plain"),
        (status = 404, description = "No log of this witness's", body = String, content_type = "text/plain"),
        (status = 409, description = "Another size was cosigned last: this one", body = String, content_type = "text/x.tlog.size"),
        (status = 422, description = "The proof does not hold", body = String, content_type = "text/plain"),
        (status = 429, description = "Asked too often", body = crate::openapi::schemas::Problem),
        (status = 500, description = "The service is at fault; its log says how", body = String, content_type = "text/plain"),
        (status = 503, description = "The service is busy: try again", body = String, content_type = "text/plain")
    )
)]
async fn add_checkpoint(State(app): State<SharedApp>, body: Bytes) -> Result<Response, Refused> {
    let asked = Asked::read(&body)?;
    let (witness, log) = witness_of(&app, asked.note).ok_or(Refused::UnknownLog)?;
    let head = Head::read(asked.note, log)?;
    if asked.old > head.size {
        return Err(Refused::Malformed("the log was larger before"));
    }
    let last = app.store.witnessed(&head.origin).await?;
    goes_on(&asked, &head, last.as_ref())?;
    let now = Witnessed {
        size: head.size,
        root: head.root,
    };
    if !app.store.witness(&head.origin, last.as_ref(), &now).await? {
        // Somebody was faster; they ask again.
        let now = app.store.witnessed(&head.origin).await?;
        return Err(Refused::Conflict(now.map_or(0, |now| now.size)));
    }
    let line = witness.cosign(&head.text, unix(app.clock.now()))?;
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((NO_STORE, kind, line).into_response())
}

/// The key that cosigns, and that of the log, where this service is its witness.
fn witness_of<'a>(app: &'a App, note: &str) -> Option<(&'a NoteKey, &'a PublicKey)> {
    let witness = app.witness_key.as_ref()?;
    let origin = origin_of(note)?;
    let log = app
        .config
        .audit
        .witness_of
        .iter()
        .find(|log| log.name() == origin)?;
    Some((witness, log))
}

fn goes_on(asked: &Asked<'_>, head: &Head, last: Option<&Witnessed>) -> Result<(), Refused> {
    let size = last.map_or(0, |last| last.size);
    if asked.old != size {
        return Err(Refused::Conflict(size));
    }
    match last {
        None if asked.proof.is_empty() && head.size > 0 => Ok(()),
        None => Err(Refused::Proof),
        Some(last) if last.size == head.size => {
            match last.root == head.root && asked.proof.is_empty() {
                true => Ok(()),
                false => Err(Refused::Conflict(size)),
            }
        }
        Some(last) => {
            tlog_tiles::check_tree(&asked.proof, head.size, head.root, last.size, last.root)
                .map_err(|_| Refused::Proof)
        }
    }
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(add_checkpoint))]
struct Api;

/// The endpoint, for the OpenAPI document.
pub(crate) fn api() -> utoipa::openapi::OpenApi {
    <Api as utoipa::OpenApi>::openapi()
}
