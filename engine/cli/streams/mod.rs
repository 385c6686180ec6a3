//! The user's end of a container's streams: the terminal, pipes, signals, and the connection that carries them.

pub(crate) mod attached;
mod chunked;
mod detach_keys;
mod input;
mod output;
pub(crate) mod signals;

pub(crate) use chunked::{BodyWriter, body_from, body_reader, body_writer, chunks};
pub(crate) use detach_keys::{or_default as detach_keys_or_default, parse as parse_detach_keys};
