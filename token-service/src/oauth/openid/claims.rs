//! What is said about a user, by the scopes that were granted (OpenID Connect Core section 5.4).

use serde::Serialize;

use super::IdentityScope;
use crate::store::users::User;

/// Standard claims (OpenID Connect Core section 5.1), and `groups`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PersonClaims {
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
}

impl PersonClaims {
    /// What these scopes let a client know about a user.
    #[must_use]
    pub fn of(user: &User, granted: &[IdentityScope]) -> Self {
        let has = |scope| granted.contains(&scope);
        let email = user.email.clone().filter(|_| has(IdentityScope::Email));
        Self {
            name: user
                .display_name
                .clone()
                .filter(|_| has(IdentityScope::Profile)),
            email_verified: email.is_some().then_some(user.email_verified),
            email,
            preferred_username: has(IdentityScope::Profile).then(|| user.name.clone()),
            groups: has(IdentityScope::Groups).then(|| user.groups.clone()),
        }
    }
}
