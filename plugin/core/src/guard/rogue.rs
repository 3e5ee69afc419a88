//! A credential that should not have come here: what kind it is and whose, never what it is.

use writ_policy::credential::{Credential, jwt_issuer};

use crate::token::{Claims, TokenError};

/// How much of a foreign token's `iss` is kept, in bytes.
const MAX_ISSUER: usize = 256;

/// A credential that should not have come here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rogue {
    /// What it is.
    pub credential: Credential,
    /// Whose it is, when it is ours and has been verified.
    pub owner: Option<Owner>,
    /// `iss` of a JWT, which nobody has checked.
    pub issuer: Option<String>,
}

/// The holder of a token of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `sub`.
    pub subject: String,
    /// `client_id`.
    pub agent: String,
    /// `jti`.
    pub token_id: Option<String>,
}

impl Rogue {
    /// A token that verified as ours, with its claims.
    #[must_use]
    pub fn of(credential: Credential, claims: &Claims) -> Self {
        Self {
            credential,
            owner: Some(Owner {
                subject: claims.subject.clone(),
                agent: claims.client_id.clone(),
                token_id: claims.id.clone(),
            }),
            issuer: None,
        }
    }

    /// Something of which only the form is known.
    #[must_use]
    pub fn unknown(credential: Credential) -> Self {
        Self {
            credential,
            owner: None,
            issuer: None,
        }
    }

    /// Something that did not verify, and looks like `kind` if it is no JWT.
    #[must_use]
    pub fn unverified(text: &str, kind: Credential, error: &TokenError, own_issuer: &str) -> Self {
        let Some(mut issuer) = jwt_issuer(text) else {
            return Self::unknown(kind);
        };
        let credential = match error {
            _ if issuer != own_issuer => Credential::Jwt,
            TokenError::Expired => Credential::Expired,
            _ => Credential::Forged,
        };
        issuer.truncate(issuer.floor_char_boundary(MAX_ISSUER));
        Self {
            credential,
            owner: None,
            issuer: Some(issuer),
        }
    }
}
