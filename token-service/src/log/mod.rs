//! The log: the audit trail as a Merkle tree (RFC 6962), so that nobody can change, drop, move or insert a record without its
//! being seen, whoever owns the database.
//!
//! A record is committed with what it is about; within a second [`sequence`] makes it a [`leaf`] at the log's end, in the
//! order of the commits, and of its [`tree`]. Every few seconds [`keep`] signs how long the log is and its root, a
//! [`checkpoint`], lays it somewhere else, [`post`]s it and has witnesses [`cosign`] it; [`witness`] is what one does for others. What is old is [`archive`]d, day by day where [`retention`] is set. [`proofs`] answers servers that ask about their tokens, and [`verify`] goes over the whole of it, without the service.

pub mod archive;
pub mod checkpoint;
pub mod cosign;
pub mod erase;
pub mod keep;
pub mod leaf;
pub mod lines;
pub(crate) mod post;
pub(crate) mod proofs;
pub(crate) mod retention;
pub mod sequence;
pub mod tree;
pub mod verify;
pub(crate) mod witness;
