//! A gateway that follows its snapshot, and verifies it as the filter does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use reqwest::{Client, Response, StatusCode};
use writ_core::snapshot::{
    Head,
    assembly::{Assembly, Refused, Revision, Taken},
};
use writ_policy::{
    engine::{Data, ENGINE},
    snapshot::{AgentEntry, FORMAT, Halt, Part, Policy, ServerEntry},
};
use writ_token_service::clock::unix;

use crate::harness::Service;

/// What is asked of the token service, without the parts.
pub fn path(key: &str) -> String {
    format!("/gateway/v1/snapshot?format={FORMAT}&engine={ENGINE}&key={key}")
}

/// The key at the end of a secret.
pub fn key_of(secret: &str) -> &str {
    secret.rsplit_once('.').unwrap().1
}

pub struct Follower {
    http: Client,
    base: String,
    id: String,
    secret: String,
    pub engine: String,
    pub assembly: Assembly<Arc<Part>>,
    /// The bytes of the last answer.
    pub answer: Vec<u8>,
}

impl Follower {
    pub fn new(service: &Service, id: &str, secret: &str) -> Self {
        Self {
            http: service.http.clone(),
            base: service.gateway_url(""),
            id: id.to_owned(),
            secret: secret.to_owned(),
            engine: ENGINE.to_owned(),
            assembly: Assembly::new(id, key_of(secret)),
            answer: Vec::new(),
        }
    }

    /// One that has all there is.
    pub async fn up_to_date(service: &Service, id: &str, secret: &str) -> Self {
        let mut follower = Self::new(service, id, secret);
        follower.catch_up().await;
        follower
    }

    /// Asks, and waits for news for so long.
    pub async fn send(&self, wait_s: u64) -> Response {
        let missing: Vec<&str> = self.assembly.missing().take(64).collect();
        let key = self.assembly.trusted();
        let path = path(key).replace(ENGINE, &self.engine);
        let mut request = self
            .http
            .get(format!("{}{path}&parts={}", self.base, missing.join(",")))
            .basic_auth(&self.id, Some(&self.secret))
            .header("prefer", format!("wait={wait_s}"));
        if let Some(known) = self.assembly.known() {
            request = request.header("if-none-match", format!("\"{known}\""));
        }
        request.send().await.unwrap()
    }

    /// Takes one answer.
    pub async fn ask(&mut self, wait_s: u64) -> Result<Taken, Refused> {
        let response = self.send(wait_s).await;
        assert_eq!(response.status(), StatusCode::OK);
        self.answer = response.bytes().await.unwrap().to_vec();
        let read = |_: &Head, name: &str, text: &[u8]| {
            Part::read(name, text)
                .map(Arc::new)
                .map_err(|e| e.to_string())
        };
        let taken = self
            .assembly
            .take(&self.answer, unix(Timestamp::now()), read)?;
        if taken == Taken::Whole {
            self.assembly.accept();
        }
        Ok(taken)
    }

    /// Asks until nothing is missing.
    pub async fn catch_up(&mut self) {
        while self.ask(0).await.unwrap() == Taken::Some {}
    }

    fn held(&self) -> &Revision<Arc<Part>> {
        self.assembly.held().unwrap()
    }

    fn parts(&self) -> impl Iterator<Item = &Part> {
        self.held().parts.values().map(Arc::as_ref)
    }

    pub fn head(&self) -> &Head {
        &self.held().head
    }

    /// All of what is picked of the parts.
    fn all<T, C: FromIterator<T>>(&self, pick: impl Fn(&Part) -> Vec<T>) -> C {
        self.parts().flat_map(pick).collect()
    }

    /// What is picked of one part.
    fn one<T>(&self, pick: impl Fn(&Part) -> Option<T>) -> T {
        self.parts().find_map(pick).unwrap()
    }

    pub fn servers(&self) -> BTreeMap<String, ServerEntry> {
        self.all(|part| match part {
            Part::Servers(servers) => servers.clone().into_iter().collect(),
            _ => Vec::new(),
        })
    }

    pub fn agents(&self) -> BTreeMap<String, AgentEntry> {
        self.all(|part| match part {
            Part::Agents(agents) => agents.clone().into_iter().collect(),
            _ => Vec::new(),
        })
    }

    pub fn revoked(&self) -> BTreeSet<String> {
        self.all(|part| match part {
            Part::Revoked(ids) => ids.iter().cloned().collect(),
            _ => Vec::new(),
        })
    }

    pub fn halt(&self) -> Halt {
        self.one(|part| match part {
            Part::Stops(halt) => Some(halt.clone()),
            _ => None,
        })
    }

    pub fn jwks(&self) -> serde_json::Value {
        self.one(|part| match part {
            Part::Keys(jwks) => Some(jwks.clone()),
            _ => None,
        })
    }

    pub fn policy(&self) -> Policy {
        self.one(|part| match part {
            Part::Policy(policy) => Some(policy.clone()),
            _ => None,
        })
    }

    pub fn revision(&self) -> String {
        self.one(|part| match part {
            Part::Revision(revision) => Some(revision.clone()),
            _ => None,
        })
    }

    pub fn data(&self) -> Data {
        let parts: Vec<Data> = self.all(|part| match part {
            Part::Data(text) => vec![Data::from_json(text).unwrap()],
            _ => Vec::new(),
        });
        Data::merged(&parts).unwrap()
    }
}
