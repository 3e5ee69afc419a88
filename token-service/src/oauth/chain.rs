//! Who acts for whom, link by link: `act` (RFC 8693 section 4.1), and what a token was derived from.
//!
//! A gateway acts for an agent; a server that calls the next server acts for the gateway it was called through. Every link
//! is looked at again at every exchange: a token that was taken back, or an actor that was switched off, anywhere in the
//! chain ends it.

use serde::{Deserialize, Serialize};
use writ_core::token::{AGENT, Claims};
use writ_policy::input::AgentAuthn;

use super::dpop::Confirmation;
use crate::registry::{Registry, Status};

/// The most servers that one call may go through before the last.
pub const MAX_HOPS: u8 = 4;
/// The most agents that may have handed a task on to one another.
const MAX_AGENTS: usize = 4;
/// More ids than a token of that depth has.
const MAX_TOKENS: usize = 32;

/// An actor and those it acts for (RFC 8693 section 4.1): the outermost is the current one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// Its id: a gateway's, a server's or an agent's.
    pub sub: String,
    /// The key it proved (RFC 9449). Not the token's own `cnf`: whoever gets the token has no proof of that key to ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// Who acted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Actor>>,
}

impl Actor {
    /// This actor, acting for those in `act`.
    #[must_use]
    pub fn new(sub: impl Into<String>, act: Option<Self>) -> Self {
        Self {
            sub: sub.into(),
            cnf: None,
            act: act.map(Box::new),
        }
    }

    /// This actor, having proved a key.
    #[must_use]
    pub fn holding(self, key: Option<Confirmation>) -> Self {
        Self { cnf: key, ..self }
    }

    /// From the current actor to the first.
    pub fn each(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self), |actor| actor.act.as_deref()).map(|a| a.sub.as_str())
    }
}

/// Who may act on a token (RFC 8693 section 4.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MayAct {
    /// The only one who may.
    pub sub: String,
}

/// Where in a chain a token is, as far as the next exchange has to know (claim `chain`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chain {
    /// The servers that the call has come through.
    pub hops: u8,
    /// When the token that it began with ends, in seconds since the epoch: nothing derived from that lives longer.
    pub until: u64,
    /// How well the agent proved who it is.
    pub agent_authn: AgentAuthn,
}

/// Why a chain holds nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Not what this service writes.
    #[error("its chain of actors is malformed")]
    Malformed,
    /// Too deep.
    #[error(
        "the call has come through {MAX_HOPS} servers already: that is the limit; call this server from one nearer the agent"
    )]
    TooDeep,
    /// Too many agents.
    #[error("{MAX_AGENTS} agents have handed this on already: that is the limit")]
    TooManyAgents,
    /// A token or grant was taken back.
    #[error("it, or what it was derived from, has been revoked; sign in again")]
    Revoked,
    /// An actor is not in use.
    #[error("{0} {1:?}, which acted in between, is disabled or not registered")]
    Disabled(&'static str, String),
}

/// A token's place in its chain, read from its claims.
#[derive(Clone, Debug)]
pub struct Links {
    /// Who acted on the way to it; none where an agent got it directly.
    pub act: Option<Actor>,
    /// Where in the chain it is.
    pub chain: Chain,
    /// The ids of this token, its grant, and of those before (`derived_from`), any of which may be taken back; and of all
    /// agents whose tokens were exchanged on the way ([`of_agent`]).
    pub from: Vec<String>,
    /// `txn`, where the token belongs to a chain.
    pub txn: Option<String>,
    /// `iat`, in seconds since the epoch: who was revoked after it has no part in what came of it.
    pub issued_at: Option<u64>,
}

/// The part that an actor plays, by its place in the chain.
#[derive(Clone, Copy)]
enum Part {
    Gateway,
    Server,
    Agent,
}

fn in_use(status: Option<Status>) -> bool {
    status == Some(Status::Approved)
}

/// In `derived_from`: ends with this agent.
#[must_use]
pub fn of_agent(client_id: &str) -> String {
    format!("{AGENT}{client_id}")
}

impl Links {
    /// Reads a token of ours.
    ///
    /// # Errors
    /// [`ChainError::Malformed`].
    pub fn of(claims: &Claims) -> Result<Self, ChainError> {
        fn read<T: serde::de::DeserializeOwned>(
            claims: &Claims,
            name: &str,
        ) -> Result<Option<T>, ChainError> {
            claims
                .others
                .get(name)
                .map(|value| serde_json::from_value(value.clone()))
                .transpose()
                .map_err(|_| ChainError::Malformed)
        }
        let chain = read::<Chain>(claims, "chain")?.unwrap_or(Chain {
            hops: 0,
            until: claims.expires,
            agent_authn: claims.agent_authn,
        });
        let txn = match chain.hops {
            0 if !claims.minted => None,
            _ => read(claims, "txn")?,
        };
        let mut from = read::<Vec<String>>(claims, "derived_from")?.unwrap_or_default();
        from.extend(claims.id.clone());
        from.extend(read::<String>(claims, "grant_id")?);
        if from.len() > MAX_TOKENS {
            return Err(ChainError::Malformed);
        }
        Ok(Self {
            act: read(claims, "act")?,
            chain,
            from,
            txn,
            issued_at: claims.issued_at,
        })
    }

    /// Whether every link holds, as of this registry.
    ///
    /// # Errors
    /// Which does not.
    pub fn check(&self, registry: &Registry, minted: bool) -> Result<(), ChainError> {
        let revoked = |agent: &str| registry.stops().has_revoked_agent(agent, self.issued_at);
        if self
            .txn
            .as_deref()
            .is_some_and(|txn| registry.is_revoked(txn))
        {
            return Err(ChainError::Revoked);
        }
        for id in &self.from {
            match id.strip_prefix(AGENT) {
                Some(id) if !in_use(registry.agent(id).map(|a| a.status)) => {
                    return Err(ChainError::Disabled("agent", id.to_owned()));
                }
                Some(id) if revoked(id) => return Err(ChainError::Revoked),
                None if registry.is_revoked(id) => return Err(ChainError::Revoked),
                _ => {}
            }
        }
        let Some(act) = &self.act else {
            return match self.chain.hops {
                0 if !minted => Ok(()),
                _ => Err(ChainError::Malformed),
            };
        };
        let gateways_and_servers = (0..self.chain.hops).flat_map(|_| [Part::Server, Part::Gateway]);
        let mut parts = minted
            .then_some(Part::Gateway)
            .into_iter()
            .chain(gateways_and_servers);
        let mut agents = 0;
        for id in act.each() {
            let part = parts.next().unwrap_or(Part::Agent);
            let (what, status) = match part {
                Part::Gateway => ("gateway", registry.gateway(id).map(|g| g.status)),
                Part::Server => ("server", registry.server(id).map(|s| s.status)),
                Part::Agent => ("agent", registry.agent(id).map(|a| a.status)),
            };
            if !in_use(status) {
                return Err(ChainError::Disabled(what, id.to_owned()));
            }
            if matches!(part, Part::Agent) {
                agents += 1;
                if revoked(id) {
                    return Err(ChainError::Revoked);
                }
            }
        }
        match (parts.next(), agents) {
            // Whoever comes first is an agent.
            (Some(_), _) | (None, 0) => Err(ChainError::Malformed),
            (None, agents) if agents > MAX_AGENTS => Err(ChainError::TooManyAgents),
            (None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use writ_policy::stops::Stops;

    use super::*;
    use crate::{
        registry::{
            Agent, AuthMethod, Gateway, GatewayKind, GatewayProof, Id, Revocation, Revoked, Server,
        },
        secret::SecretHash,
    };

    fn id(text: &str) -> Id {
        Id::parse(text).unwrap()
    }

    fn registry(disabled: &str, revoked: &[&str]) -> Registry {
        let status = |name: &str| match name == disabled {
            true => Status::Disabled,
            false => Status::Approved,
        };
        let server = |name: &str| Server {
            status: status(name),
            ..Server::new(
                id(name),
                format!("https://{name}.test/mcp"),
                format!("urn:{name}"),
                SecretHash::of("x"),
            )
        };
        let agent = |name: &str| Agent {
            status: status(name),
            ..Agent::new(id(name).into(), name, AuthMethod::None)
        };
        let gateway = |name: &str| Gateway {
            id: id(name),
            kind: GatewayKind::Gateway,
            proof: GatewayProof::Secret(SecretHash::of("x")),
            servers: std::collections::BTreeSet::new(),
            status: status(name),
        };
        Registry::new(
            1,
            vec![server("ledger"), server("bank")],
            vec![agent("assistant"), agent("planner"), agent("revoked")],
            vec![gateway("edge"), gateway("core")],
            std::collections::BTreeSet::new(),
            Revoked::default().and(
                revoked.iter().map(|id| until_2100(id)).collect(),
                "2026-01-01T00:00:00.000000Z",
            ),
            Stops {
                agents: [("revoked".to_owned(), 7)].into(),
                ..Stops::default()
            },
        )
    }

    fn until_2100(id: &str) -> Revocation {
        Revocation {
            number: 1,
            id: id.to_owned(),
            expires_at: "2100-01-01T00:00:00.000000Z".to_owned(),
        }
    }

    fn links(actors: &[&str], hops: u8) -> Links {
        let act = actors
            .iter()
            .rev()
            .fold(None, |before, sub| Some(Actor::new(*sub, before)));
        Links {
            act,
            chain: Chain {
                hops,
                until: 10,
                agent_authn: AgentAuthn::Key,
            },
            from: vec!["root".into(), "grant".into(), "minted".into()],
            txn: Some("transaction".into()),
            issued_at: Some(7),
        }
    }

    const CHAIN: [&str; 5] = ["bank", "core", "ledger", "edge", "assistant"];

    #[test]
    fn a_chain_holds_while_everybody_in_it_is_in_use() {
        assert_eq!(links(&[], 0).check(&registry("", &[]), false), Ok(()));
        assert_eq!(links(&CHAIN, 2).check(&registry("", &[]), false), Ok(()));
        assert_eq!(
            links(&CHAIN[1..], 1).check(&registry("", &[]), true),
            Ok(())
        );
        let handed_on = links(&["planner", "assistant"], 0);
        assert_eq!(handed_on.check(&registry("", &[]), false), Ok(()));
    }

    #[test]
    fn whoever_is_switched_off_ends_it() {
        for who in CHAIN {
            assert!(
                matches!(links(&CHAIN, 2).check(&registry(who, &[]), false), Err(ChainError::Disabled(_, id)) if id == who)
            );
        }
    }

    #[test]
    fn whatever_is_taken_back_ends_it() {
        for what in ["root", "grant", "minted", "transaction"] {
            let registry = registry("", &[what]);
            assert_eq!(
                links(&CHAIN, 2).check(&registry, false),
                Err(ChainError::Revoked)
            );
            assert_eq!(
                links(&[], 0).check(&registry, false),
                Err(ChainError::Revoked)
            );
        }
    }

    #[test]
    fn an_agent_that_was_revoked_since_ends_what_it_had_a_part_in() {
        let registry = registry("", &[]);
        let mut acted = links(&["planner", "revoked"], 0);
        let mut unnamed = links(&["planner", "assistant"], 0);
        unnamed.from.push(of_agent("revoked"));
        for links in [&mut acted, &mut unnamed] {
            assert_eq!(links.check(&registry, false), Err(ChainError::Revoked));
            links.issued_at = Some(8);
            assert_eq!(links.check(&registry, false), Ok(()));
        }
    }

    #[test]
    fn actors_in_the_wrong_place_are_no_chain() {
        let registry = registry("", &[]);
        let wrong = [
            (links(&CHAIN, 1), false),
            (links(&CHAIN, 3), false),
            (links(&CHAIN, 2), true),
            (links(&CHAIN[..4], 2), false),
            (links(&["edge"], 0), true),
            (links(&[], 1), false),
            (links(&[], 0), true),
            (links(&["planner"; 5], 0), false),
        ];
        for (links, minted) in wrong {
            assert!(links.check(&registry, minted).is_err(), "{links:?}");
        }
    }
}
