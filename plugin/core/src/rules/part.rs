//! Parts of a snapshot, as rules are made of them.

use std::collections::HashMap;
use std::rc::Rc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use writ_policy::engine::{self, Data, ENGINE, Program};
use writ_policy::snapshot::{DATA, Halt, KEYS, POLICY, Part, Policy, STOPS};

use super::buckets::{Bucket, Buckets};
use super::{AgentRule, RulesError, ServerRule};
use crate::snapshot::Head;
use crate::snapshot::assembly::Revision;

/// One part, ready for use. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum RulePart {
    /// The policy: its revision, and what it is compiled to.
    Policy(Rc<str>, Program),
    /// The policy's data.
    Data(Data),
    /// The issuer's keys.
    Keys(Rc<serde_json::Value>),
    /// Who is stopped.
    Stops(Rc<Halt>),
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
            Part::Policy(policy) => {
                let revision = Rc::from(policy.revision());
                Self::Policy(revision, program(policy)?)
            }
            Part::Data(text) => Self::Data(Data::from_json(&text)?),
            Part::Keys(jwks) => Self::Keys(Rc::new(jwks)),
            Part::Stops(halt) => Self::Stops(Rc::new(halt)),
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
    pub(crate) data: Data,
    pub(crate) keys: Rc<serde_json::Value>,
    pub(crate) stops: Rc<Halt>,
    pub(crate) servers: Vec<Bucket<Rc<ServerRule>>>,
    pub(crate) agents: Buckets<AgentRule>,
    pub(crate) revoked: Buckets<()>,
}

impl Sorted {
    /// Sorts them.
    pub(crate) fn of(revision: &Revision<RulePart>) -> Result<Self, RulesError> {
        let (mut policy, mut data, mut keys, mut stops) = (None, None, None, None);
        let (mut servers, mut agents, mut revoked) =
            (Vec::new(), Buckets::default(), Buckets::default());
        for part in revision.parts.values() {
            match part {
                RulePart::Policy(revision, program) => {
                    policy = Some((Rc::clone(revision), program.clone()));
                }
                RulePart::Data(part) => data = Some(part.clone()),
                RulePart::Keys(part) => keys = Some(Rc::clone(part)),
                RulePart::Stops(part) => stops = Some(Rc::clone(part)),
                RulePart::Servers(part) => servers.push(Rc::clone(part)),
                RulePart::Agents(part) => agents.add(part),
                RulePart::Revoked(part) => revoked.add(part),
            }
        }
        let (policy_revision, program) = policy.ok_or(RulesError::Lacks(POLICY))?;
        Ok(Self {
            policy_revision,
            program,
            data: data.ok_or(RulesError::Lacks(DATA))?,
            keys: keys.ok_or(RulesError::Lacks(KEYS))?,
            stops: stops.ok_or(RulesError::Lacks(STOPS))?,
            servers,
            agents,
            revoked,
        })
    }
}
