//! Having a checkpoint cosigned by its witnesses (C2SP tlog-witness), who have seen the one before.

use std::fmt::Write as _;

use reqwest::{StatusCode, header};
use tokio::sync::watch;
use url::Url;

use super::{
    checkpoint::{Head, PublicKey},
    keep::Rounds,
    sequence::SequenceError,
    tree,
};
use crate::{
    app::{App, SharedApp},
    http::outbound::{ReadError, cause, read},
    serve::told_to_stop,
    store::{StoreError, log::Signed},
};

/// The most that a witness may answer with, in bytes.
const MOST: usize = 4096;

/// Who is asked to cosign.
#[derive(Clone, Debug)]
pub struct Witness {
    /// Where, without `add-checkpoint`.
    pub url: Url,
    /// By what its cosignatures are verified.
    pub key: PublicKey,
}

/// Why a checkpoint was not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum CosignError {
    /// It was not reached, or not in time.
    #[error("it could not be asked: {0}")]
    Unreached(String),
    /// Its answer did not come whole.
    #[error("its answer could not be read: {0}")]
    Unread(ReadError),
    /// It does not cosign.
    #[error("it answered {0}: {1}")]
    Refused(StatusCode, String),
    /// It has seen a log that ours does not begin with: one of the two was changed.
    #[error(
        "it has cosigned {0} records, which this log has not: the log was put back to an earlier state, or there are two of its name"
    )]
    Ahead(u64),
    /// What it answered is no cosignature of its own.
    #[error("its answer is no cosignature: {0}")]
    Cosignature(String),
    /// The tree is damaged.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Has each checkpoint cosigned by a witness; what keeps it from that is told, and keeps nobody else.
pub(crate) async fn run(app: SharedApp, witness: Witness, mut stopped: watch::Receiver<bool>) {
    let mut rounds = Rounds::to_show(&app, stopped.clone());
    while rounds.next().await {
        let cosigned = tokio::select! {
            cosigned = newest_by(&app, &witness) => cosigned,
            () = told_to_stop(&mut stopped) => return,
        };
        if cosigned.is_err() {
            metrics::counter!("writ_log_witness_errors_total", "witness" => witness.key.name().to_owned())
                .increment(1);
        }
        if let Some(error) = rounds.is_told(cosigned) {
            let witness = witness.key.name();
            tracing::warn!(witness, %error, "a checkpoint was not cosigned; it is tried again");
        }
    }
}

/// Has the newest checkpoint cosigned.
///
/// # Errors
/// When the witness does not, or the database fails.
pub async fn newest_by(app: &App, witness: &Witness) -> Result<(), CosignError> {
    match app.store.newest_checkpoint().await? {
        Some(newest) => by(app, witness, &newest).await,
        None => Ok(()),
    }
}

async fn by(app: &App, witness: &Witness, signed: &Signed) -> Result<(), CosignError> {
    let mut old = app.store.cosigned(witness.key.name()).await?;
    if old >= signed.size {
        return Ok(());
    }
    // Once more where it knows better what it saw last.
    for _ in 0..2 {
        match ask(app, witness, signed, old).await? {
            Answer::Cosigned(line) => {
                let name = witness.key.name();
                app.store.add_cosignature(signed.size, name, &line).await?;
                return Ok(());
            }
            Answer::Saw(size) if size > signed.size => return Err(CosignError::Ahead(size)),
            Answer::Saw(size) => old = size,
        }
    }
    let why = "it does not say the same twice about what it saw last";
    Err(CosignError::Refused(StatusCode::CONFLICT, why.to_owned()))
}

enum Answer {
    Cosigned(String),
    Saw(u64),
}

async fn ask(
    app: &App,
    witness: &Witness,
    signed: &Signed,
    old: u64,
) -> Result<Answer, CosignError> {
    let mut body = format!("old {old}\n");
    if old != 0 && old != signed.size {
        let tiles = app.store.tiles(tree::for_tree(signed.size, old)).await?;
        let proof = tiles.prove_tree(signed.size, old);
        for hash in proof.map_err(SequenceError::from)? {
            let _ = writeln!(body, "{hash}");
        }
    }
    body.push('\n');
    body.push_str(&signed.note);
    let url = format!(
        "{}/add-checkpoint",
        witness.url.as_str().trim_end_matches('/')
    );
    let request = app.outbound.trusted().post(url).body(body);
    let answer = request
        .send()
        .await
        .map_err(|e| CosignError::Unreached(cause(&e)))?;
    let status = answer.status();
    let is_size = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes() == b"text/x.tlog.size");
    let text = read(answer, MOST).await.map_err(CosignError::Unread)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    match status {
        StatusCode::OK => {
            let note = format!("{}{text}", signed.note);
            Head::read(&note, &witness.key)
                .map_err(|error| CosignError::Cosignature(error.to_string()))?;
            Ok(Answer::Cosigned(text))
        }
        StatusCode::CONFLICT if is_size => text
            .trim_end()
            .parse()
            .map(Answer::Saw)
            .map_err(|_| CosignError::Refused(status, text)),
        _ => Err(CosignError::Refused(status, text)),
    }
}
