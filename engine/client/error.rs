//! What can go wrong between a client and an engine.

use std::io;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine refused; `message` is its own words, `status` an HTTP status.
    #[error("{message}")]
    Api { status: u16, message: String },
    #[error("invalid host {0:?}: expected unix:///PATH or tcp://HOST:PORT")]
    InvalidHost(String),
    #[error("cannot connect to the engine at {endpoint}: {source}")]
    Connect { endpoint: String, source: io::Error },
    #[error("talk to the engine: {0}")]
    Http(#[source] hyper::Error),
    /// What was being sent could not be read, in the words of whoever read it.
    #[error("{0}")]
    Body(String),
    #[error("read the engine's answer to {path}: {source}")]
    Decode { path: String, source: serde_json::Error },
    #[error("encode the request to {path}: {message}")]
    Encode { path: String, message: String },
}

impl Error {
    /// The HTTP status, when the engine answered at all.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api { status, .. } => Some(*status),
            _ => None,
        }
    }
}

impl From<hyper::Error> for Error {
    fn from(error: hyper::Error) -> Self {
        match std::error::Error::source(&error) {
            Some(source) if error.is_user() => Self::Body(source.to_string()),
            _ => Self::Http(error),
        }
    }
}
