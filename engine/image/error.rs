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
    /// What others were to give did not come: a registry that cannot be reached, a connection that broke.
    #[error("{0}")]
    Unreachable(String),
    /// Access was denied by others.
    #[error("{0}")]
    Denied(String),
    /// Somebody asked for the work to end.
    #[error("stopped")]
    Stopped,
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

impl Error {
    /// Whether the same may succeed another time, with what there is of it by now.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Stopped)
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
