//! The revisions of MCP, told apart as far as they differ on the wire.

/// The first revision without sessions, whose requests say in `_meta` and in headers what they are.
const FIRST_STATELESS: &str = "2026-07-28";

/// Whether a revision is one without sessions. Revisions are named by their date.
pub(crate) fn is_stateless(version: Option<&str>) -> bool {
    version
        .is_some_and(|version| version.len() == FIRST_STATELESS.len() && version >= FIRST_STATELESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_revision_and_those_to_come_have_no_sessions() {
        for (version, stateless) in [
            (None, false),
            (Some(""), false),
            (Some("2024-11-05"), false),
            (Some("2025-11-25"), false),
            (Some("2026-07-28"), true),
            (Some("2027-01-01"), true),
            (Some("zzz"), false),
        ] {
            assert_eq!(is_stateless(version), stateless, "{version:?}");
        }
    }
}
