//! The revisions of MCP, told apart as far as they differ on the wire.

/// The first revision without sessions.
const FIRST_STATELESS: &str = "2026-07-28";

/// How a revision of MCP is carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Era {
    /// 2025-11-25 and before: a handshake, then messages within a session.
    #[default]
    Session,
    /// 2026-07-28 and after: every request says in `_meta` and in headers what it is.
    Stateless,
}

impl Era {
    /// The era of a revision; of the session era where none is named. Revisions are named by their date.
    pub(crate) fn of(version: Option<&str>) -> Self {
        match version {
            Some(version)
                if version.len() == FIRST_STATELESS.len() && version >= FIRST_STATELESS =>
            {
                Self::Stateless
            }
            _ => Self::Session,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_revision_and_those_to_come_have_no_sessions() {
        for (version, era) in [
            (None, Era::Session),
            (Some(""), Era::Session),
            (Some("2024-11-05"), Era::Session),
            (Some("2025-11-25"), Era::Session),
            (Some("2026-07-28"), Era::Stateless),
            (Some("2027-01-01"), Era::Stateless),
            (Some("zzz"), Era::Session),
        ] {
            assert_eq!(Era::of(version), era, "{version:?}");
        }
    }
}
