//! The monitor: one small process per container, its parent and guardian.
//!
//! `config.rs` is what the engine hands it, `state.rs` what it keeps on disk about the container, `protocol.rs`
//! what it says over its socket, `client.rs` and `spawn.rs` the engine's side. Everything else is the monitor itself: one
//! thread, one poll loop, no tokio. Depends on `backends` and `network`, and on nothing else of ours.

pub mod client;
pub mod config;
mod error;
mod files;
pub mod frame;
mod guardian;
pub mod protocol;
mod spawn;
pub mod state;
mod sys;

pub use config::MonitorConfig;
pub use error::{Error, Result};
pub use guardian::{main, main_with};
pub use spawn::{ROLE, reap, spawn, spawn_serving};
pub use state::{ExecState, State, Status};
