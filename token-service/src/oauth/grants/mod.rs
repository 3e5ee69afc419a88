//! The grants of the token endpoint, one file each.

pub mod authorization_code;
pub mod client_credentials;
pub mod exchange;
mod issue;
mod on_behalf;
pub mod refresh_token;
