//! What the kill switch says to whoever asks for a token.

use writ_core::token::{Claims, Stopped};

use super::OAuthError;
use crate::registry::Registry;

/// Refuses what comes of a token that the kill switch stops at this server.
///
/// # Errors
/// `invalid_grant` where it was taken back, `access_denied` in a lockdown.
pub(crate) fn stopped(
    claims: &Claims,
    registry: &Registry,
    server: Option<&str>,
) -> Result<(), OAuthError> {
    match claims.stopped(registry.stops(), server) {
        None => Ok(()),
        Some(Stopped::Revoked) => Err(OAuthError::InvalidGrant(
            "subject_token has been revoked; sign in again".into(),
        )),
        Some(Stopped::LockedOut) => Err(locked_out()),
    }
}

/// What is said in a lockdown.
pub(crate) fn locked_out() -> OAuthError {
    let told = "an administrator has stopped all calls but some; wait until they go on";
    OAuthError::AccessDenied(told.into())
}
