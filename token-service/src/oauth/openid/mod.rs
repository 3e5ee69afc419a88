//! OpenID Connect: who the user is, for applications that want to know no more than that, or that beside a server.
//!
//! [`IdentityScope`] is what may be asked about a user, [`PersonClaims`] the answer, which travels in an
//! [`IdToken`](id_token::IdToken) and from [`userinfo`].

mod claims;
pub mod id_token;
mod scopes;
pub mod userinfo;

pub use claims::PersonClaims;
pub use scopes::IdentityScope;
