//! What the engine can answer instead of a result. The server maps the variants to HTTP statuses.

use std::io;
use std::path::PathBuf;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Docker's words: `No such container: NAME`.
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    InvalidArgument(String),
    /// What is to be written is read-only.
    #[error("{0}")]
    Forbidden(String),
    /// A registry does not know who asks, or does not let him.
    #[error("{0}")]
    Unauthorized(String),
    /// It is so already (started, stopped): HTTP 304, no message on the wire.
    #[error("{0}")]
    NotModified(String),
    /// The host cannot give what was asked for; says the option, the reason and the remedy.
    #[error("{0}")]
    Unavailable(String),
    /// berth does not do this (yet).
    #[error("{0}")]
    Unsupported(String),
    /// The program of a container or execution could not be run. Exit code 127 (not found) or 126.
    #[error("{message}")]
    Program { message: String, code: i32 },
    /// Something in the engine or its processes went wrong.
    #[error("{0}")]
    Internal(String),
    #[error("{action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] berth_store::Error),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::InvalidArgument(message.into())
    }
}

impl From<berth_network::Error> for Error {
    fn from(error: berth_network::Error) -> Self {
        use berth_network::Error as Network;
        match error {
            Network::NotFound(message) => Self::NotFound(message),
            Network::Conflict(message) => Self::Conflict(message),
            Network::InvalidArgument(message) => Self::InvalidArgument(message),
            Network::Unavailable(message) => Self::Unavailable(message),
            Network::Io { .. } => Self::Internal(error.to_string()),
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<berth_image::Error> for Error {
    fn from(error: berth_image::Error) -> Self {
        use berth_image::Error as Image;
        match error {
            Image::NotFound(message) => Self::NotFound(message),
            Image::Conflict(message) => Self::Conflict(message),
            Image::InvalidArgument(message) => Self::InvalidArgument(message),
            Image::Unsupported(message) => Self::Unsupported(message),
            Image::Unreachable(message) => Self::Unavailable(message),
            Image::Denied(message) => Self::Unauthorized(message),
            Image::Stopped => Self::Unavailable(error.to_string()),
            Image::Store(error) => Self::Store(error),
            Image::Driver(error) => error.into(),
            Image::Stream { ref source, .. } => match source.kind() {
                // What was sent is not what it says it is.
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::InvalidArgument(error.to_string()),
                _ => Self::Internal(error.to_string()),
            },
            Image::Io { action, path, source } => Self::Io { action, path, source },
        }
    }
}

impl From<berth_fs_drivers::Error> for Error {
    fn from(error: berth_fs_drivers::Error) -> Self {
        use berth_fs_drivers::Error as Driver;
        match error {
            Driver::Unavailable(message) => Self::Unavailable(message),
            Driver::Unsupported(message) => Self::Unsupported(message),
            Driver::Io { action, path, source } => Self::Io { action, path, source },
            Driver::NotFound(_) | Driver::Conflict(_) | Driver::InvalidArgument(_) => Self::Internal(error.to_string()),
        }
    }
}

impl From<berth_backends::Error> for Error {
    fn from(error: berth_backends::Error) -> Self {
        use berth_backends::Error as Backend;
        match &error {
            Backend::NotFound(message) => Self::NotFound(message.clone()),
            Backend::InvalidArgument(_) => Self::InvalidArgument(error.to_string()),
            Backend::Unavailable(message) => Self::Unavailable(message.clone()),
            Backend::Exec { source, .. } => Self::Program {
                code: if source.kind() == io::ErrorKind::NotFound { 127 } else { 126 },
                message: error.to_string(),
            },
            Backend::Setup { .. } => Self::Internal(error.to_string()),
        }
    }
}
