//! The client of the HTTP API: one connector, whatever the engine is behind (a unix socket, TCP, or a stream to
//! an engine in the same process), and requests that answer JSON, a stream of bytes, or a connection of their own.
//!
//! Knows HTTP and the shape of the API's errors; which endpoints there are is the command line's business.

mod connector;
mod error;
mod request;

pub use connector::{Connector, Endpoint, Io, Stream};
pub use error::{Error, Result};
pub use hyper::body::Incoming;
pub use hyper::{HeaderMap, Method};
/// A frame of an answer's body.
pub type Frame = hyper::body::Frame<bytes::Bytes>;
pub use request::{Body, Client, Upgraded, collect, segment, streamed};
