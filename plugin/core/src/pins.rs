//! Whether servers define their tools as somebody approved them: every list that passes is held against the pins of the
//! snapshot.
//!
//! For calls it counts what the latest list that went through this worker showed. So a tool that was changed under way is
//! called no more, until a list shows it as it was approved, or what it shows is.

use std::collections::HashMap;
use std::rc::Rc;

use writ_policy::pin::{Digest, Hints};

use crate::rules::{Rules, ServerRule};
use crate::token::cache::Cache;

/// Definitions whose digest is remembered, per worker, and the longest of them in bytes: most lists show what the last one
/// did.
const REMEMBERED: usize = 2048;
const LONGEST: usize = 2048;

/// So many definitions of one tool are told of; one that changes with every list has been told of often enough then.
const TOLD: usize = 8;

/// Server id and name of a tool.
type Tool = (String, String);

/// How a tool is defined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody has approved anything.
    Unpinned,
    /// As it was approved, with annotations that say this.
    Approved(Hints),
    /// In another way.
    Changed,
}

impl Standing {
    /// What policies are told of its annotations.
    pub(crate) fn hints(self) -> Option<Hints> {
        match self {
            Self::Approved(hints) => Some(hints),
            Self::Unpinned | Self::Changed => None,
        }
    }
}

/// What a worker has seen of pinned tools.
#[derive(Debug)]
pub(crate) struct Definitions {
    changed: HashMap<Tool, Changes>,
    remembered: Cache<Tool, Rc<(Box<str>, Digest)>>,
}

/// A tool that some list showed with another definition than the approved one.
#[derive(Debug, Default)]
struct Changes {
    /// What the latest list showed, if that is not what was approved.
    shown: Option<Digest>,
    /// What has been told of.
    told: Vec<Digest>,
}

impl Default for Definitions {
    fn default() -> Self {
        Self {
            changed: HashMap::new(),
            remembered: Cache::new(REMEMBERED),
        }
    }
}

impl Definitions {
    /// How a tool is defined in a list, with the digest of its definition where that is to be told of.
    pub(crate) fn see(
        &mut self,
        server: &ServerRule,
        tool: &str,
        definition: &str,
    ) -> (Standing, Option<Digest>) {
        let Some(pin) = server.pins.get(tool) else {
            return (Standing::Unpinned, None);
        };
        let key = (server.id.clone(), tool.to_owned());
        let shown = self.digest(&key, definition);
        if shown == pin.digest {
            if let Some(changes) = self.changed.get_mut(&key) {
                changes.shown = None;
            }
            return (Standing::Approved(pin.hints), None);
        }
        let changes = self.changed.entry(key).or_default();
        changes.shown = Some(shown);
        let is_news = changes.told.len() < TOLD && !changes.told.contains(&shown);
        if is_news {
            changes.told.push(shown);
        }
        (Standing::Changed, is_news.then_some(shown))
    }

    /// How a tool that is called is defined, as far as is known here.
    pub(crate) fn of(&self, server: &ServerRule, tool: &str) -> Standing {
        let Some(pin) = server.pins.get(tool) else {
            return Standing::Unpinned;
        };
        let shown = match self.changed.is_empty() {
            true => None,
            false => self.changed.get(&(server.id.clone(), tool.to_owned())),
        };
        match shown.and_then(|changes| changes.shown) {
            Some(shown) if shown != pin.digest => Standing::Changed,
            _ => Standing::Approved(pin.hints),
        }
    }

    /// Forgets what nobody has pinned any more.
    pub(crate) fn keep(&mut self, rules: &Rules) {
        self.changed.retain(|(server, tool), _| {
            let server = rules.servers.get(server);
            server.is_some_and(|server| server.pins.contains_key(tool))
        });
    }

    fn digest(&mut self, tool: &Tool, definition: &str) -> Digest {
        if let Some(known) = self.remembered.get(tool)
            && *known.0 == *definition
        {
            return known.1;
        }
        let digest = Digest::of(definition.as_bytes());
        if definition.len() <= LONGEST {
            let known = Rc::new((definition.into(), digest));
            self.remembered.insert(tool.clone(), known);
        }
        digest
    }
}
