//! What can go wrong with a network.

use std::io;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0}")]
    NotFound(String),
    /// Somebody else has it: an address, a port, a name.
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    InvalidArgument(String),
    /// The host cannot give what was asked for; says the reason and the remedy.
    #[error("{0}")]
    Unavailable(String),
    /// `action` names the thing: `add the bridge berth0`.
    #[error("{action}: {source}")]
    Io { action: String, source: io::Error },
}

impl Error {
    /// For `map_err`.
    pub fn io<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source: source.into() }
    }

    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}
