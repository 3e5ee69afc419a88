//! Parts of a snapshot, as rules are made of them.

use std::collections::HashMap;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use writ_policy::engine::{self, Data, ENGINE, Program};
use writ_policy::snapshot::{Halt, KEYS, POLICY, Part, Policy, REVISION, STOPS};

use super::buckets::{Bucket, Buckets};
use super::{AgentRule, RulesError, ServerRule};
use crate::snapshot::Head;
use crate::snapshot::assembly::Revision;

/// One part, ready for use. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum RulePart {
    /// The policy.
    Policy(Program),
    /// What it is called in records.
    Revision(Rc<str>),
    /// Some of the policy's data.
    Data(Data),
    /// The issuer's keys.
    Keys(Rc<serde_json::Value>),
    /// Who is stopped.
    Stops(Rc<Halt>),
    /// Whether spans are to be reported.
    Spans(bool),
    /// Servers by id.
    Servers(Bucket<Rc<ServerRule>>),
    /// Agents by id.
    Agents(Bucket<AgentRule>),
    /// Ids that were taken back.
    Revoked(Bucket<()>),
}

impl RulePart {
    /// Reads the part `name` of a revision.
    pub(crate) fn read(head: &Head, name: &str, json: &[u8]) -> Result<Self, RulesError> {
        Ok(match Part::read(name, json)? {
            Part::Policy(policy) => Self::Policy(program(policy)?),
            Part::Revision(revision) => Self::Revision(Rc::from(revision)),
            Part::Data(text) => Self::Data(Data::from_json(&text)?),
            Part::Keys(jwks) => Self::Keys(Rc::new(jwks)),
            Part::Stops(halt) => Self::Stops(Rc::new(halt)),
            Part::Spans(wanted) => Self::Spans(wanted),
            Part::Servers(servers) => {
                let mut rules = HashMap::with_capacity(servers.len());
                for (id, entry) in servers {
                    let rule = ServerRule::registered(&id, entry, &head.iss)?;
                    rules.insert(id, Rc::new(rule));
                }
                Self::Servers(Rc::new(rules))
            }
            Part::Agents(agents) => {
                let agents = agents.into_iter();
                let rules = agents.map(|(id, entry)| (id, AgentRule::new(entry)));
                Self::Agents(Rc::new(rules.collect()))
            }
            Part::Revoked(ids) => {
                Self::Revoked(Rc::new(ids.into_iter().map(|id| (id, ())).collect()))
            }
        })
    }
}

/// The program to run: another engine's is of no use, sources always are.
fn program(policy: Policy) -> Result<Program, RulesError> {
    match policy {
        Policy::Program {
            engine, program, ..
        } if engine == ENGINE => {
            let bytes = URL_SAFE_NO_PAD
                .decode(program)
                .map_err(|_| RulesError::Encoding)?;
            Ok(Program::from_bytes(&bytes)?)
        }
        Policy::Program { engine, .. } => Err(RulesError::Engine(engine)),
        Policy::Source { modules, .. } => Ok(engine::compile(&modules)?),
    }
}

/// The parts of a whole revision, by what they are.
#[derive(Debug)]
pub(crate) struct Sorted {
    pub(crate) policy_revision: Rc<str>,
    pub(crate) program: Program,
    /// In parts.
    pub(crate) data: Vec<Data>,
    pub(crate) keys: Rc<serde_json::Value>,
    pub(crate) stops: Rc<Halt>,
    pub(crate) spans: bool,
    pub(crate) servers: Vec<Bucket<Rc<ServerRule>>>,
    pub(crate) agents: Buckets<AgentRule>,
    pub(crate) revoked: Buckets<()>,
}

impl Sorted {
    /// Sorts them.
    pub(crate) fn of(revision: &Revision<RulePart>) -> Result<Self, RulesError> {
        let (mut policy, mut policy_revision, mut keys, mut stops) = (None, None, None, None);
        let (mut data, mut spans) = (Vec::new(), false);
        let (mut servers, mut agents, mut revoked) =
            (Vec::new(), Buckets::default(), Buckets::default());
        for part in revision.parts.values() {
            match part {
                RulePart::Policy(program) => policy = Some(program.clone()),
                RulePart::Revision(revision) => policy_revision = Some(Rc::clone(revision)),
                RulePart::Data(part) => data.push(part.clone()),
                RulePart::Keys(part) => keys = Some(Rc::clone(part)),
                RulePart::Stops(part) => stops = Some(Rc::clone(part)),
                RulePart::Spans(wanted) => spans = *wanted,
                RulePart::Servers(part) => servers.push(Rc::clone(part)),
                RulePart::Agents(part) => agents.add(part),
                RulePart::Revoked(part) => revoked.add(part),
            }
        }
        Ok(Self {
            policy_revision: policy_revision.ok_or(RulesError::Lacks(REVISION))?,
            program: policy.ok_or(RulesError::Lacks(POLICY))?,
            data,
            keys: keys.ok_or(RulesError::Lacks(KEYS))?,
            stops: stops.ok_or(RulesError::Lacks(STOPS))?,
            spans,
            servers,
            agents,
            revoked,
        })
    }
}
