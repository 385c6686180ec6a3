//! The Docker Engine API over HTTP, on top of `berth-core`.
//!
//! `route.rs` is the table of endpoints, one file a resource holds the handlers, `status.rs` gives errors their HTTP
//! statuses, `hijack.rs` carries attached streams between clients and monitors, `listener.rs` and `daemon.rs` make a
//! daemon of it, `activation.rs`, `notify.rs` and `pidfile.rs` a service. The engine is synchronous and is called on blocking threads. The same connection code serves a
//! daemon's sockets and the in-memory stream of an engine that runs inside the command line.

mod activation;
mod archive;
mod attach;
mod berth;
mod blocking;
mod call;
mod checkpoints;
mod complete;
mod connection;
mod containers;
mod daemon;
mod events;
mod exec;
mod hijack;
mod images;
mod listener;
mod logs;
mod networks;
mod notify;
mod pidfile;
mod registries;
mod reply;
mod route;
mod stats;
mod status;
mod sys;
mod system;
mod told;
mod volumes;
mod watch;
mod words;

pub use activation::given_sockets;
pub use connection::{Api, serve_connection, service};
pub use daemon::{ServeOptions, serve};
pub use listener::Address;
