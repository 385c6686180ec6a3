//! What the engine's side of this crate can answer instead of a result.

use std::io;
use std::path::{Path, PathBuf};

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    /// Nobody listens: the container does not run, or its monitor has just gone.
    #[error("no monitor runs in {}", .0.display())]
    NotFound(PathBuf),
    /// The other side did not keep to the protocol.
    #[error("{0}")]
    Protocol(String),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
