//! Policies that were not written for Writ, as they are asked and as their programs are written down.

use std::collections::BTreeMap;

use regorus::Value;

use crate::adapter::Adapter;

/// The rule that decides requests in a policy that was not written for Writ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Foreign {
    pub(super) adapter: Adapter,
    pub(super) entry_point: String,
    /// The members of the answer that are rules of their own below the entry point.
    pub(super) members: Vec<String>,
}

/// What the portable form of a program with a [`Foreign`] rule begins with: then the adapter's name, the entry point and
/// its members with spaces between, and a line feed. A filter that knows none of that refuses it.
pub(super) const FOREIGN: &[u8] = b"writ-input ";

impl Foreign {
    /// Reads what the portable form has of it, and answers what follows.
    pub(super) fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (head, rest) = bytes.split_at_checked(end)?;
        let mut words = std::str::from_utf8(head).ok()?.split(' ');
        let foreign = Self {
            adapter: Adapter::named(words.next()?)?,
            entry_point: words.next()?.to_owned(),
            members: words.map(str::to_owned).collect(),
        };
        Some((foreign, rest.get(1..)?))
    }

    /// The answer, from what `run` says that the rules do which are asked.
    pub(super) fn answer<E>(
        &self,
        mut run: impl FnMut(&str) -> Result<Value, E>,
    ) -> Result<Value, E> {
        if self.members.is_empty() {
            return run(&self.entry_point);
        }
        let mut answer = BTreeMap::new();
        for (member, entry_point) in self.members.iter().zip(self.asked()) {
            match run(&entry_point)? {
                Value::Undefined => {}
                value => drop(answer.insert(Value::from(member.as_str()), value)),
            }
        }
        Ok(Value::from(answer))
    }

    /// The rules that are asked.
    pub(super) fn asked(&self) -> Vec<String> {
        let member = |member| format!("{}.{member}", self.entry_point);
        match &self.members[..] {
            [] => vec![self.entry_point.clone()],
            members => members.iter().map(member).collect(),
        }
    }
}
