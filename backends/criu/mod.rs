//! criu, which writes the processes of a container to files and makes them again: a program of the host, called for each
//! checkpoint and each restore.
//!
//! `program.rs` finds it, `rpc.rs` talks to it in the encoding of `wire.rs`, `options.rs` is what can be asked for, `log.rs`
//! reads why it has failed, `call.rs` is what the backends use. Knows nothing of containers; which parts of one are its own,
//! the backend says.

mod call;
mod log;
mod options;
mod program;
mod rpc;
mod wire;

pub(crate) use self::call::{Dump, Restore};
pub use self::program::probe;
