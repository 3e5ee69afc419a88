//! Client ID Metadata Documents: a client that is named by the https URL of what it says about itself
//! (draft-ietf-oauth-client-id-metadata-document).
//!
//! A document is fetched when its client is first seen and again when it may no longer be kept. What it says is judged as a
//! whole each time and becomes a row of the registry; a client whose document is gone or not in order is refused from then on.
//! Only documents of the hosts that the configuration names are fetched at all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use url::Url;
use writ_policy::registration::Verdict;

use super::{
    OAuthError,
    registration::{
        MAX_SELF_REGISTERED,
        client_metadata::{CheckedClient, MetadataError, Registered, Source},
        judge::{self, Case, Occasion},
    },
    strict_json,
};
use crate::{
    app::App,
    http::{
        Peer,
        outbound::{FetchError, Fetched},
    },
    registry::{Agent, AuthMethod, ClientId, Origin, Status},
    store::{initial_tokens, registrations},
};

/// The draft recommends 5 KB; what is longer than this is no description of a client.
const MAX_BYTES: usize = 16 * 1024;
/// A document is kept at least this long, whatever it says: nobody can make the service fetch with every request.
const MIN_AGE: Duration = Duration::from_secs(60);
/// And at most this long: what was withdrawn stops working within a day.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// For a document that says nothing about it.
const DEFAULT_AGE: Duration = Duration::from_secs(3600);
/// What is not a document is not asked for again so soon.
const REFUSED_AGE: Duration = Duration::from_secs(30);
/// Documents remembered at a time.
const REMEMBERED: usize = 1024;
/// Documents fetched at a time.
const AT_ONCE: usize = 8;

/// Why a client's document is not accepted. The text is for whoever wrote it, and tells nothing about the network here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// The configuration does not name its host.
    #[error(
        "clients of this host are not accepted here; ask the administrator to allow its metadata documents"
    )]
    Domain,
    /// It was not had. Our log says why.
    #[error("the client's metadata document could not be fetched")]
    Unreachable,
    /// It answered with something else; redirects are not followed.
    #[error("the client's metadata document answered {0} instead of 200")]
    Status(u16),
    /// It is too big.
    #[error("the client's metadata document has more than 16 KiB")]
    TooBig,
    /// Client ID Metadata Documents section 4.
    #[error("the client's metadata document is not served as application/json")]
    NotJson,
    /// Not an object, or a name is repeated in it.
    #[error(
        "the client's metadata document is not one JSON object in which every name occurs once"
    )]
    Malformed,
    /// Client ID Metadata Documents section 4.1.
    #[error("client_id in the metadata document is not the document's URL")]
    OtherClient,
    /// Client ID Metadata Documents section 4.1.
    #[error("a published metadata document must have no client_secret")]
    Secret,
    /// What it says is not in order.
    #[error("the client's metadata document is not in order: {0}")]
    Metadata(String),
    /// The policy said no.
    #[error("the policy rejects this client: {0}")]
    Rejected(String),
    /// An administrator registered as many as there may be.
    #[error("too many clients have registered themselves; ask an administrator")]
    TooMany,
}

impl From<DocumentError> for OAuthError {
    fn from(error: DocumentError) -> Self {
        Self::InvalidClient(error.to_string().into())
    }
}

/// What is known of each document.
#[derive(Debug)]
pub struct ClientDocuments {
    known: Mutex<HashMap<String, Arc<Entry>>>,
    fetching: Semaphore,
}

/// One document: whoever holds the lock may fetch it, and nobody else does so meanwhile.
type Entry = AsyncMutex<Option<Known>>;

#[derive(Clone, Debug)]
struct Known {
    until: Timestamp,
    accepted: Result<(), DocumentError>,
}

impl Default for ClientDocuments {
    fn default() -> Self {
        Self {
            known: Mutex::default(),
            fetching: Semaphore::new(AT_ONCE),
        }
    }
}

impl ClientDocuments {
    fn entry(&self, id: &ClientId) -> Arc<Entry> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED && !known.contains_key(id.as_str()) {
            // Those that somebody waits for stay; the others are fetched again when they are needed.
            known.retain(|_, entry| Arc::strong_count(entry) > 1);
        }
        Arc::clone(known.entry(id.to_string()).or_default())
    }
}

/// The client that a document describes, as of now.
///
/// # Errors
/// [`OAuthError::InvalidClient`] when the document is not accepted; when the store fails.
pub(super) async fn current(app: &App, id: ClientId, url: &Url) -> Result<Arc<Agent>, OAuthError> {
    let documents = app.config.registration.client_documents.as_ref();
    if !documents.is_some_and(|domains| domains.contain(url)) {
        return Err(DocumentError::Domain.into());
    }
    let entry = app.client_documents.entry(&id);
    let mut known = entry.lock().await;
    let now = app.clock.now();
    let registered = app.current_registry().await?.agent(id.as_str()).cloned();
    if let Some(fresh) = known.as_ref().filter(|known| now < known.until) {
        fresh.accepted.clone()?;
        if let Some(agent) = registered {
            return Ok(agent);
        }
    }
    let (age, accepted) = match fetch(app, url).await {
        Ok(document) => (age(&document), accept(app, &id, &document).await?),
        Err(error) => (REFUSED_AGE, Err(error)),
    };
    let until = SignedDuration::try_from(if accepted.is_ok() { age } else { REFUSED_AGE })
        .ok()
        .and_then(|age| now.checked_add(age).ok())
        .unwrap_or(now);
    *known = Some(Known {
        until,
        accepted: accepted.clone(),
    });
    drop(known);
    accepted?;
    let registry = app.current_registry().await?;
    registry
        .agent(id.as_str())
        .cloned()
        .ok_or(OAuthError::TemporarilyUnavailable(
            "this client was removed just now; try again".into(),
        ))
}

/// RFC 9111 section 4.2.1, within bounds.
fn age(document: &Fetched) -> Duration {
    document
        .max_age
        .unwrap_or(DEFAULT_AGE)
        .clamp(MIN_AGE, MAX_AGE)
}

async fn fetch(app: &App, url: &Url) -> Result<Fetched, DocumentError> {
    let _one_of_few = app
        .client_documents
        .fetching
        .acquire()
        .await
        .map_err(|_| DocumentError::Unreachable)?;
    app.outbound.fetch(url, MAX_BYTES).await.map_err(|error| {
        tracing::warn!(%error, "a client metadata document was not fetched");
        match error {
            FetchError::Status { status, .. } => DocumentError::Status(status),
            FetchError::TooBig { .. } => DocumentError::TooBig,
            _ => DocumentError::Unreachable,
        }
    })
}

/// Makes the registry say what the document says, if it is in order and the policy does not reject it.
///
/// # Errors
/// When the store fails.
async fn accept(
    app: &App,
    id: &ClientId,
    document: &Fetched,
) -> Result<Result<(), DocumentError>, OAuthError> {
    let checked = match check(id, document) {
        Ok(checked) => checked,
        Err(error) => return Ok(Err(error)),
    };
    // Under an open write transaction nobody can change the registry, or switch this client off meanwhile.
    let mut tx = app.store.write().await?;
    let registry = app.current_registry().await?;
    let was = registry.agent(id.as_str());
    let mut agent = was.map_or_else(
        || Agent::new(id.clone(), String::new(), AuthMethod::None),
        |was| Agent::clone(was),
    );
    agent.origin = Origin::MetadataDocument;
    checked.apply(&mut agent);
    let unchanged = was.is_some_and(|was| same(was, &agent));
    let case = Case {
        occasion: Occasion::MetadataDocument,
        token: None,
        peer: Peer::default(),
    };
    let decision = judge::client(app, case, &mut agent);
    agent.status = match (was.map(|was| was.status), decision.decision) {
        // Whom an administrator has switched off stays so.
        (Some(Status::Disabled), _) => Status::Disabled,
        // Nor does a person decide twice about the same document.
        (Some(Status::Approved), Verdict::Hold) if unchanged => Status::Approved,
        // It may come back with a document that is better.
        (_, Verdict::Reject) => Status::Pending,
        _ => agent.status,
    };
    let rejected = decision.decision == Verdict::Reject;
    let settled = was
        .is_some_and(|was| unchanged && was.status == agent.status && was.labels == agent.labels);
    let result = if rejected {
        Err(DocumentError::Rejected(decision.reason.clone()))
    } else {
        Ok(())
    };
    if settled {
        return Ok(result);
    }
    match was {
        Some(_) => registrations::update_agent(tx.conn(), &agent).await?,
        // Nothing is written of what was never accepted, but that it was tried.
        None if rejected => {}
        None if initial_tokens::self_registered(tx.conn()).await? >= MAX_SELF_REGISTERED => {
            return Ok(Err(DocumentError::TooMany));
        }
        None => registrations::insert_agent(tx.conn(), &agent, app.clock.now()).await?,
    }
    let detail = json!({ "metadata": Registered::of(&agent) });
    let mut record = judge::record(
        app,
        "client document",
        id.as_str(),
        Peer::default(),
        &decision,
        detail,
    );
    record.source_ip = None;
    tx.audit(&record).await?;
    tx.commit().await?;
    Ok(result)
}

/// Client ID Metadata Documents section 4.1.
fn check(id: &ClientId, document: &Fetched) -> Result<CheckedClient, DocumentError> {
    let kind = document.content_type.as_str();
    let is_json =
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"));
    if !is_json {
        return Err(DocumentError::NotJson);
    }
    let members: Map<String, Value> =
        strict_json::object(&document.body).ok_or(DocumentError::Malformed)?;
    if members.get("client_id").and_then(Value::as_str) != Some(id.as_str()) {
        return Err(DocumentError::OtherClient);
    }
    if members.contains_key("client_secret") || members.contains_key("client_secret_expires_at") {
        return Err(DocumentError::Secret);
    }
    CheckedClient::check(members, Source::Document)
        .map_err(|error: MetadataError| DocumentError::Metadata(error.to_string()))
}

/// Whether two registrations say the same, whatever became of them.
fn same(one: &Agent, other: &Agent) -> bool {
    one.name == other.name
        && one.auth == other.auth
        && one.jwks == other.jwks
        && one.jwks_uri == other.jwks_uri
        && one.redirect_uris == other.redirect_uris
        && one.grants == other.grants
        && one.metadata == other.metadata
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://app.test/client.json";

    fn read(content_type: &str, body: &str) -> Result<(), DocumentError> {
        let document = Fetched {
            body: body.as_bytes().to_vec(),
            content_type: content_type.to_owned(),
            max_age: None,
        };
        check(&ClientId::parse(URL).unwrap(), &document).map(drop)
    }

    #[test]
    fn a_document_describes_the_client_of_its_own_url() {
        let good = format!(r#"{{"client_id":"{URL}","redirect_uris":["http://127.0.0.1/cb"]}}"#);
        assert_eq!(read("application/json", &good), Ok(()));
        assert_eq!(read("application/cimd+json", &good), Ok(()));
        assert_eq!(read("text/html", &good), Err(DocumentError::NotJson));
        let another = good.replace("client.json", "client.json2");
        assert_eq!(
            read("application/json", &another),
            Err(DocumentError::OtherClient)
        );
        let none = r#"{"redirect_uris":["http://127.0.0.1/cb"]}"#;
        assert_eq!(
            read("application/json", none),
            Err(DocumentError::OtherClient)
        );
        let twice = good.replace('}', &format!(r#","client_id":"{URL}"}}"#));
        assert_eq!(
            read("application/json", &twice),
            Err(DocumentError::Malformed)
        );
    }

    #[test]
    fn a_published_document_has_no_secret() {
        let with = |more: &str| {
            format!(r#"{{"client_id":"{URL}","redirect_uris":["http://127.0.0.1/cb"],{more}}}"#)
        };
        assert_eq!(
            read("application/json", &with(r#""client_secret":"x""#)),
            Err(DocumentError::Secret)
        );
        for method in [
            "client_secret_basic",
            "client_secret_post",
            "client_secret_jwt",
        ] {
            let document = with(&format!(r#""token_endpoint_auth_method":"{method}""#));
            assert!(
                matches!(
                    read("application/json", &document),
                    Err(DocumentError::Metadata(_))
                ),
                "{method}"
            );
        }
    }

    #[test]
    fn a_document_is_kept_within_bounds() {
        let of = |max_age: Option<u64>| {
            age(&Fetched {
                body: Vec::new(),
                content_type: String::new(),
                max_age: max_age.map(Duration::from_secs),
            })
        };
        assert_eq!(of(None), DEFAULT_AGE);
        assert_eq!(of(Some(0)), MIN_AGE);
        assert_eq!(of(Some(600)), Duration::from_secs(600));
        assert_eq!(of(Some(u64::MAX)), MAX_AGE);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let documents = ClientDocuments::default();
        let id = |n: usize| ClientId::parse(&format!("https://app.test/{n}")).unwrap();
        let held = documents.entry(&id(0));
        for n in 1..3000 {
            documents.entry(&id(n));
        }
        assert!(documents.known.lock().unwrap().len() <= REMEMBERED);
        assert!(Arc::ptr_eq(&held, &documents.entry(&id(0))));
    }
}
