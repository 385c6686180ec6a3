//! What the image store can answer instead of a result.

use std::io;
use std::path::PathBuf;

use berth_store::rusqlite;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Docker's words: `No such image: NAME`.
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    InvalidArgument(String),
    #[error("{0}")]
    Unsupported(String),
    #[error(transparent)]
    Store(#[from] berth_store::Error),
    #[error(transparent)]
    Driver(#[from] berth_fs_drivers::Error),
    /// An archive or other stream, by what it is (`archive`, `layer sha256:...`).
    #[error("{action} {object}: {source}")]
    Stream { action: &'static str, object: String, source: io::Error },
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
