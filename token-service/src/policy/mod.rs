//! The policy in force: loaded and compiled at start and on SIGHUP, run for every decision.

mod examine;
mod force;
pub(crate) mod polling;
mod pool;
mod replay;
pub mod shadow;
mod source;

use std::path::Path;

use axum::body::Bytes;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use writ_core::snapshot::parts::{Contents, Document};
use writ_policy::{
    decision::{Decision, DenialCause},
    engine::{self, CompileError, Module, Program, Unjudged},
    snapshot::{DATA, POLICY, Policy as Rules, REVISION},
};

use crate::snapshot::Form;
pub use examine::{Examined, Ran, TESTS_TAKE, check, examine, run, suite};
pub use force::{InForce, LoadError};
use pool::Pool;
pub use replay::{Candidate, Fate, Group, Members, Replayed, Unasked};
pub use source::{ManifestError, SourceError, Sources};

/// A compiled policy with its data.
#[derive(Debug)]
pub struct Policy {
    revision: String,
    rules: Written,
    for_guards: Written,
    pool: Pool,
    judgements: Option<Pool>,
}

impl Policy {
    /// Compiles a policy.
    ///
    /// # Errors
    /// Each names the file and, where there is one, the line.
    pub fn new(sources: &Sources) -> Result<Self, SourceError> {
        // Side by side, for gateways wait for all of it: each step of a policy with much data takes tens of milliseconds.
        let (programs, data, named) = std::thread::scope(|scope| {
            let programs = scope.spawn(|| Programs::compile(&sources.modules));
            let named = scope.spawn(|| (sources.misfits(), sources.revision()));
            (ended(programs), sources.document(), ended(named))
        });
        let (Programs { calls, judgements }, data, (misfits, revision)) = (programs?, data?, named);
        if let Some(misfit) = misfits.into_iter().next() {
            return Err(SourceError::Misfit(misfit));
        }
        let rules = Written::new(&revision, &calls, &sources.modules, &sources.data)?;
        let pool = Pool::new(calls, data.clone())?;
        let judgements = judgements
            .map(|program| Pool::new(program, data))
            .transpose()?;
        Ok(Self {
            revision,
            rules,
            for_guards: nothing()?,
            pool,
            judgements,
        })
    }

    /// Compiles what the configuration names: the policy of a directory, or the embedded library with empty data, which
    /// denies everything.
    ///
    /// # Errors
    /// As [`Policy::new`], and when the directory cannot be read.
    pub fn configured(dir: Option<&Path>) -> Result<Self, SourceError> {
        Self::new(&match dir {
            Some(dir) => Sources::read(dir)?,
            None => Sources::library(),
        })
    }

    /// Names this policy in records: a digest of its sources and data.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Puts into a gateway's snapshot what it carries: the policy and its data.
    pub fn put_into(&self, contents: &mut Contents<Bytes>, form: Form) {
        self.rules.put_into(contents, form);
    }

    /// The same for a guard: it decides about nobody, and gets to know no rules.
    pub fn put_into_guards(&self, contents: &mut Contents<Bytes>, form: Form) {
        self.for_guards.put_into(contents, form);
    }

    /// Decides a request from its whole `input` document.
    #[must_use]
    pub fn decide(&self, input: writ_policy::Value) -> Decision {
        let decision = self.ask(input);
        if let Decision::Deny { cause, .. } = &decision {
            count(*cause);
        }
        decision
    }

    /// The same, where nothing comes of it and nothing is counted.
    fn ask(&self, input: writ_policy::Value) -> Decision {
        self.pool.decide(input)
    }

    /// Asks a rule that is not about a call ([`engine::TASK`], [`engine::EXCHANGE`]).
    ///
    /// # Errors
    /// Where it gives no answer of the right shape: a refusal.
    pub fn judge<T: DeserializeOwned>(
        &self,
        entry_point: &str,
        input: &impl Serialize,
    ) -> Result<T, Unjudged> {
        self.judgements
            .as_ref()
            .ok_or_else(|| Unjudged::undefined(entry_point))?
            .judge(entry_point, input)
            .inspect_err(|unjudged| count(unjudged.cause))
    }
}

/// What a policy compiles to.
struct Programs {
    calls: Program,
    judgements: Option<Program>,
}

impl Programs {
    fn compile(modules: &[Module]) -> Result<Self, CompileError> {
        Ok(Self {
            calls: engine::compile(modules)?,
            judgements: engine::compile_judgements(modules)?,
        })
    }
}

/// What a thread came to.
fn ended<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Counts what the policy failed at, as a filter counts it.
fn count(cause: DenialCause) {
    if cause.is_failure() {
        metrics::counter!("writ_policy_failures_total").increment(1);
    }
}

/// A policy, written down once for all gateways.
#[derive(Debug)]
struct Written {
    revision: Document<Bytes>,
    program: Document<Bytes>,
    source: Document<Bytes>,
    data: Contents<Bytes>,
}

impl Written {
    fn new(
        revision: &str,
        program: &Program,
        modules: &[Module],
        data: &Map<String, Value>,
    ) -> Result<Self, SourceError> {
        let written = |policy: &Rules| Document::of(policy).map_err(unwritten);
        let mut members = Contents::default();
        members
            .put_each(
                DATA,
                data.iter().map(|(name, member)| (name.clone(), member)),
            )
            .map_err(unwritten)?;
        Ok(Self {
            revision: Document::of(revision).map_err(unwritten)?,
            program: written(&Rules::Program {
                engine: engine::ENGINE.to_owned(),
                program: URL_SAFE_NO_PAD.encode(program.to_bytes()?),
            })?,
            source: written(&Rules::Source {
                modules: modules.to_vec(),
            })?,
            data: members,
        })
    }

    fn put_into(&self, contents: &mut Contents<Bytes>, form: Form) {
        let rules = match form {
            Form::Program => &self.program,
            Form::Source => &self.source,
        };
        contents.insert(POLICY, rules.clone());
        contents.insert(REVISION, self.revision.clone());
        for (name, members) in self.data.parts() {
            contents.insert(name, members.clone());
        }
    }
}

fn unwritten(error: serde_json::Error) -> SourceError {
    CompileError::Serialize(error.to_string()).into()
}

/// The policy that lets nobody do anything.
fn nothing() -> Result<Written, SourceError> {
    let module = Module {
        path: "nothing.rego".to_owned(),
        text: "package writ\n\ncall := {\"allow\": false}\n".to_owned(),
    };
    let modules = [module];
    Written::new("none", &engine::compile(&modules)?, &modules, &Map::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(files: &[(&str, &str)]) -> Result<Policy, SourceError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Policy::configured(Some(dir.path()))
    }

    const ALLOW: &str = "package writ\nimport rego.v1\ncall := {\"allow\": true}\n";

    #[test]
    fn the_embedded_library_loads() {
        assert_eq!(Policy::configured(None).unwrap().revision().len(), 16);
    }

    #[test]
    fn the_revision_follows_sources_and_data_but_not_tests() {
        let plain = load(&[("a.rego", ALLOW)]).unwrap();
        let tested = load(&[
            ("a.rego", ALLOW),
            ("a_test.rego", "package writ_test\nnot rego"),
        ])
        .unwrap();
        let with_data = load(&[("a.rego", ALLOW), ("data.json", "{\"a\":1}")]).unwrap();
        assert_eq!(plain.revision(), tested.revision());
        assert_ne!(plain.revision(), with_data.revision());
    }

    #[test]
    fn a_wrong_policy_is_named_with_its_file() {
        let message = load(&[("broken.rego", "package writ\ncall := {")])
            .unwrap_err()
            .to_string();
        assert!(message.contains("broken.rego"), "{message}");
        let message = load(&[("a.rego", ALLOW), ("data.json", "[1]")])
            .unwrap_err()
            .to_string();
        assert!(message.contains("data.json"), "{message}");
        let hours = include_str!("../../../policies/hours.rego");
        let hourly = [("a.rego", ALLOW), ("hours.rego", hours)];
        let data = (
            "data.json",
            r#"{"hours": {"ledger": {"transfer": {"zone": "UTC"}}}}"#,
        );
        let message = load(&[hourly[0], hourly[1], data]).unwrap_err().to_string();
        assert!(
            message.starts_with("data.json: data.hours.ledger.transfer must have all of"),
            "{message}"
        );
        let message = load(&[]).unwrap_err().to_string();
        assert!(message.contains("no .rego file"), "{message}");
    }
}
