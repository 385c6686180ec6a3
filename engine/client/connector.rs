//! Where the engine is, and how to get a stream to it.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Error, Result};

/// A stream in both directions.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub type Stream = Box<dyn Io>;
type Dial = dyn Fn() -> io::Result<Stream> + Send + Sync;

/// An engine's address, as in `-H` and `DOCKER_HOST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Unix(PathBuf),
    /// `HOST:PORT`.
    Tcp(String),
}

impl FromStr for Endpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::InvalidHost(text.to_owned());
        if let Some(path) = text.strip_prefix("unix://") {
            return if path.is_empty() { Err(invalid()) } else { Ok(Self::Unix(path.into())) };
        }
        let Some(address) = text.strip_prefix("tcp://") else { return Err(invalid()) };
        let address = address.trim_end_matches('/');
        match address.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(Self::Tcp(address.to_owned())),
            _ => Err(invalid()),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// Makes streams to one engine.
#[derive(Clone)]
pub enum Connector {
    Endpoint(Endpoint),
    /// The engine in this process: each call gives a new in-memory stream to it.
    InProcess(Arc<Dial>),
}

impl Connector {
    pub fn in_process(dial: impl Fn() -> io::Result<Stream> + Send + Sync + 'static) -> Self {
        Self::InProcess(Arc::new(dial))
    }

    pub fn is_in_process(&self) -> bool {
        matches!(self, Self::InProcess(_))
    }

    pub(crate) fn connect(&self) -> Pin<Box<dyn Future<Output = Result<Stream>> + Send + '_>> {
        Box::pin(async move {
            let connected: io::Result<Stream> = match self {
                Self::InProcess(dial) => dial(),
                Self::Endpoint(Endpoint::Unix(path)) => {
                    tokio::net::UnixStream::connect(path).await.map(|stream| Box::new(stream) as Stream)
                }
                Self::Endpoint(Endpoint::Tcp(address)) => {
                    tokio::net::TcpStream::connect(address).await.and_then(|stream| {
                        stream.set_nodelay(true)?;
                        Ok(Box::new(stream) as Stream)
                    })
                }
            };
            connected.map_err(|source| Error::Connect { endpoint: self.to_string(), source })
        })
    }
}

impl std::fmt::Display for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Endpoint(endpoint) => endpoint.fmt(f),
            Self::InProcess(_) => f.write_str("this process"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_parsed_as_docker_writes_them() {
        assert_eq!("unix:///run/x.sock".parse::<Endpoint>().unwrap(), Endpoint::Unix("/run/x.sock".into()));
        assert_eq!("tcp://[::1]:2375/".parse::<Endpoint>().unwrap(), Endpoint::Tcp("[::1]:2375".into()));
        for bad in ["", "unix://", "tcp://", "tcp://host", "tcp://host:port", "ssh://host", "/run/x.sock"] {
            assert!(bad.parse::<Endpoint>().is_err(), "{bad}");
        }
    }
}
