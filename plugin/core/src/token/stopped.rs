//! Whom the kill switch stops although their token is good.

use writ_policy::stops::Stops;

use super::Claims;

/// How `derived_from` names an agent whose token was exchanged: no token's id begins so.
pub const AGENT: &str = "agent:";

/// Why a token is good for nothing now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// All that the subject or an agent had got by some moment was taken back.
    Revoked,
    /// There is a lockdown, and the caller is not on its list.
    LockedOut,
}

impl Claims {
    /// What stops whoever has this token at a server; none where nothing does.
    #[must_use]
    pub fn stopped(&self, stops: &Stops, server: Option<&str>) -> Option<Stopped> {
        let before = self.origins().filter_map(|id| id.strip_prefix(AGENT));
        let mut agents = std::iter::once(self.client_id.as_str()).chain(before);
        let revoked = stops.has_revoked_subject(&self.subject, self.issued_at)
            || agents.any(|agent| stops.has_revoked_agent(agent, self.issued_at));
        if revoked {
            Some(Stopped::Revoked)
        } else if stops.locks_out(&self.subject, &self.client_id, server) {
            Some(Stopped::LockedOut)
        } else {
            None
        }
    }
}
