//! Volumes: what outlives containers and is shared between them.
//!
//! `record.rs` is the row, `local.rs` what berth's own driver keeps on disk, `plugin/` the drivers of others. What a
//! container has of volumes is settled in `settle.rs` and made together with it in `create.rs`, filled from its image in
//! `fill.rs` and mounted at its start in `mount.rs`. A volume in phase `creating` or `removing` belongs to whoever holds
//! its lock; rows of `volume_uses` keep the others from being removed.

mod create;
mod fill;
mod list;
pub(crate) mod local;
pub(crate) mod mount;
pub(crate) mod plugin;
mod prune;
pub(crate) mod record;
mod remove;
mod settle;

pub(crate) use create::Making;
pub use list::{UsageData, VolumeInfo, VolumeList};
