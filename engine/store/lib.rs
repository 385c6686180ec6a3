//! The store: one SQLite database under the state root, and the locks and atomic files beside it.
//!
//! Several processes work on it at once. What a row means is up to the crates above (engine/image for layers,
//! images and tags, engine/core for containers); the shape and the constraints are in `schema/`.

mod database;
mod file;
mod heap;
mod lock;
mod paths;

pub use database::Store;
pub use file::{create_private, read_json, write_atomic, write_json};
pub use lock::Lock;
pub use paths::Paths;
pub use rusqlite;

use std::io;
use std::path::PathBuf;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{action} the database {}: {source}", path.display())]
    Database { action: &'static str, path: PathBuf, source: rusqlite::Error },
    /// Made by a newer berth.
    #[error("the state in {} has format {found}, and this program knows up to {known}; use the newer berth", path.display())]
    Newer { path: PathBuf, found: i64, known: i64 },
    /// A constraint of the schema refused a change.
    #[error("{0}")]
    Constraint(String),
    #[error("query the database: {0}")]
    Query(#[source] rusqlite::Error),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            rusqlite::Error::SqliteFailure(code, message) if code.code == rusqlite::ErrorCode::ConstraintViolation => {
                Self::Constraint(message.clone().unwrap_or_else(|| code.to_string()))
            }
            _ => Self::Query(error),
        }
    }
}
