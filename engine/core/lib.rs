//! The engine: containers on top of images, storage drivers, isolation backends and monitors.
//!
//! Synchronous; the server calls it on blocking threads. [`Engine`] keeps no container state in memory: what is
//! configured is in the store, what happens is in files that the container's monitor replaces, and several engines
//! work on both at once. `containers/` has one file a verb; wire types are Docker's (`berth_api::models`).

mod archive;
mod check;
pub mod config;
pub mod containers;
mod doctor;
pub mod emulation;
mod engine;
mod error;
mod event_stream;
mod events;
mod follow;
mod images;
mod logs;
pub(crate) mod networks;
pub mod registries;
mod root_view;
mod settings;
mod spec;
mod stats;
mod storage;
mod system;
mod time;
mod timestamps;
mod top;
mod user;
mod users;
mod volumes;

pub use archive::{PathStat, PutOptions};
pub use config::{Build, EngineConfig};
pub use containers::attach::{AttachOptions, Stream};
pub use containers::checkpoint::{CheckpointOptions, StartFrom};
pub use containers::commit::CommitOptions;
pub use containers::list::ListOptions;
pub use containers::record::Container;
pub use containers::remove::RemoveOptions;
pub use containers::wait::{WaitCondition, Waited};
pub use engine::Engine;
pub use error::{Error, Result};
pub use event_stream::{Actor, EventMessage, EventOptions, Events};
pub use logs::{LogEvent, LogOptions, Logs, Tail};
pub use spec::init::INSIDE as INIT;
pub use stats::Meter;
pub use storage::Storage;
pub use system::DiskUsage;
pub use timestamps::{now, parse_time, rfc3339};
pub use volumes::{UsageData, VolumeInfo, VolumeList};

/// Docker's `filters`: name to values, any of which matches.
pub type Filters = std::collections::BTreeMap<String, Vec<String>>;
