//! Everything about deciding: what a decision is asked ([`input`]), what it answers ([`decision`]), the
//! Rego engine between the two ([`engine`]), the document the filter works from ([`snapshot`]) with what is
//! stopped ([`stops`]), what reaches a server past
//! its gateway ([`credential`]) and what is reported for the audit trail ([`event`]).
//!
//! Shared by the filter and the token service so that both decide from the same shapes with the same engine.
//! No I/O, no clock, no randomness: they come in as values.

pub mod adapter;
#[cfg(feature = "authoring")]
pub mod authoring;
mod bounds;
pub mod builtins;
pub mod credential;
pub mod decision;
pub mod defined;
pub mod engine;
pub mod event;
pub mod input;
pub mod library;
mod nesting;
mod refused;
pub mod registration;
pub mod release;
pub mod snapshot;
pub mod stops;
mod walk;

/// Values of policy documents, as the engine holds them: arguments are parsed straight into these.
pub use regorus::Value;
pub use regorus::value::{Array, Object};
