//! The Docker Engine API's wire types and stream framing. No I/O, nothing of ours below.
//!
//! The types are Docker's own (generated from its specification, `bollard-stubs`); here are what that lacks:
//! query strings and filters as the server reads them, the framing of multiplexed streams, the versions, and
//! berth's additions.

pub mod check;
pub mod doctor;
pub mod filters;
pub mod query;
pub mod stream;
pub mod version;

pub use bollard_stubs::models;
pub use filters::Filters;
pub use query::Query;
pub use version::ApiVersion;

/// The body of every answer that is an error.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct ErrorBody {
    pub message: String,
}
