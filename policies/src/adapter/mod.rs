//! Policies that were written for something else: their input in the shape that they know, their answer read as it was
//! meant.
//!
//! A policy says so in its metadata ([`metadata`]). Whatever else runs it sees none of this: the engine translates both ways.

mod answer;
mod members;
pub(crate) mod metadata;
mod shape;

use regorus::Value;

use crate::decision::Decision;
use crate::engine::Module;

/// The shape of a policy's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adapter {
    /// AuthZEN 1.0: `subject`, `action`, `resource`, `context`.
    AuthZen,
    /// OPA's plugin for Envoy: `attributes.request.http`, `parsed_path`, `parsed_body`.
    Envoy,
    /// MCP gateways: `request.http`, `request.mcp.tool.params`.
    McpGateway,
}

/// Every name that may be declared, with the shape; [`crate::input::Input`]'s own has none.
const NAMES: [(&str, Option<Adapter>); 4] = [
    ("writ", None),
    ("authzen", Some(Adapter::AuthZen)),
    ("envoy", Some(Adapter::Envoy)),
    ("mcp_gateway", Some(Adapter::McpGateway)),
];

/// A policy's declaration of another shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declaration {
    /// The shape.
    pub(crate) adapter: Adapter,
    /// The module that declares it.
    pub(crate) path: String,
    /// The line that it is declared on, from 1.
    pub(crate) line: usize,
    /// The rule to ask; where the declaration is the package's, the first of these that it defines.
    pub(crate) rules: Vec<String>,
}

/// What is wrong with a declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undeclared {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// The shape that the modules declare, if it is not Writ's own.
pub(crate) fn declaration(modules: &[Module]) -> Result<Option<Declaration>, Undeclared> {
    let mut declaration: Option<Declaration> = None;
    for module in modules {
        for declared in metadata::declared(&module.text) {
            let wrong = |message: String| Undeclared {
                path: module.path.clone(),
                line: declared.line,
                message,
            };
            let [(member, name)] = &declared.members[..] else {
                return Err(wrong("`custom.writ` has one member, `input`".to_owned()));
            };
            let known = NAMES.iter().find(|(known, _)| known == name);
            let (true, Some((_, adapter))) = (member == "input", known) else {
                let names: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                return Err(wrong(format!(
                    "no input `{name}` is known: write `custom: {{writ: {{input: …}}}}` with one of {}",
                    names.join(", ")
                )));
            };
            let Some(adapter) = *adapter else { continue };
            if let Some(other) = &declaration {
                return Err(wrong(format!(
                    "{}:{} declares an input already; a policy has one",
                    other.path, other.line
                )));
            }
            declaration = Some(Declaration {
                adapter,
                path: module.path.clone(),
                line: declared.line,
                rules: match declared.rule {
                    Some(rule) => vec![rule],
                    None => adapter.rules().iter().map(|r| (*r).to_owned()).collect(),
                },
            });
        }
    }
    Ok(declaration)
}

impl Adapter {
    /// The name that a policy declares it by.
    pub(crate) fn name(self) -> &'static str {
        let named = NAMES.iter().find(|(_, adapter)| *adapter == Some(self));
        named.map_or("", |(name, _)| name)
    }

    /// The shape of that name, Writ's own excepted.
    pub(crate) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name)?.1
    }

    /// What policies for it call the rule that is asked.
    fn rules(self) -> &'static [&'static str] {
        match self {
            Self::AuthZen => &["decision", "allow"],
            Self::Envoy => &["allow"],
            Self::McpGateway => &["result"],
        }
    }

    /// The input in this shape, from Writ's own.
    pub(crate) fn input(self, input: &Value) -> Value {
        match self {
            Self::AuthZen => shape::authzen(input),
            Self::Envoy => shape::envoy(input),
            Self::McpGateway => shape::mcp_gateway(input),
        }
    }

    /// The members that a policy gives `rule` one by one, and the modules with these as rules of their own: the engine's
    /// bytecode has no rule that others make up.
    pub(crate) fn members(self, rule: &str, modules: &mut [Module]) -> Vec<String> {
        match self {
            Self::McpGateway => members::apart(rule, modules),
            Self::AuthZen | Self::Envoy => Vec::new(),
        }
    }

    /// The decision that an answer stands for.
    pub(crate) fn decision(answer: &Value) -> Decision {
        answer::decision(answer)
    }
}
