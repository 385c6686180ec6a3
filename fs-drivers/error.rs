//! What a storage driver can answer instead of a result.

use std::io;
use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("layer {0} does not exist")]
    NotFound(String),
    #[error("layer {0} exists already")]
    Conflict(String),
    #[error("invalid {0}")]
    InvalidArgument(String),
    /// No driver, or not the one that was named, works here. One line a driver with its reason.
    #[error("{0}")]
    Unavailable(String),
    /// Asked for, and not possible with this driver on this file system. Says what would have to be different.
    #[error("{0}")]
    Unsupported(String),
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    /// What the operating system said, if it was that.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Io { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}

/// Says what was being done to which path when the operating system refused.
pub(crate) trait At<T> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T>;
}

impl<T, E: Into<io::Error>> At<T> for std::result::Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|error| Error::Io { action, path: path.as_ref().to_path_buf(), source: error.into() })
    }
}
