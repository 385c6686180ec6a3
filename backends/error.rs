//! What a backend can answer instead of a result.

use std::io;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    NotFound(String),
    #[error("invalid {0}")]
    InvalidArgument(String),
    /// What was asked for cannot be had on this host; says the option, the backend, the reason and the remedy.
    #[error("{0}")]
    Unavailable(String),
    /// The program itself could not be executed. `source.kind()` tells: NotFound is exit code 127, the rest 126.
    #[error("exec: {program:?}: {source}")]
    Exec { program: String, source: io::Error },
    /// A step of the set-up was refused by the kernel.
    #[error("{step}: {source}")]
    Setup { step: String, source: io::Error },
}

/// Says what was being done when the kernel refused.
pub(crate) fn setup<E: Into<io::Error>>(step: impl Into<String>) -> impl FnOnce(E) -> Error {
    move |error| Error::Setup { step: step.into(), source: error.into() }
}
