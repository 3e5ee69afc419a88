//! The grants of the token endpoint, one file each.

pub mod authorization_code;
pub mod client_credentials;
pub mod exchange;
mod first_seen;
mod issue;
pub mod jwt_bearer;
mod on_behalf;
pub mod refresh_token;
pub mod token_exchange;
