//! Storage drivers: how layers are kept on a host's file system and shown as one tree.
//!
//! The trait is in `driver.rs`, the list and the selection in `registry.rs`, one folder a driver. `diff/`
//! turns a layer into a tar archive and back for all of them; `mount/` performs mounts where the engine itself
//! has to look into a tree; `stacked/` is what overlay and AUFS have in common; `tree/` walks, copies and deletes by descriptors, which `content.rs` lends to volumes. Depends on `arch` only; knows
//! neither images nor containers nor backends.

#![cfg_attr(not(target_os = "linux"), allow(dead_code, unused_imports, reason = "for drivers that Linux alone has"))]

#[cfg(test)]
mod conformance;
pub mod content;
pub mod diff;
mod driver;
mod error;
mod folder;
mod full;
mod ground;
pub mod mount;
pub mod registry;
mod size;
mod tree;
mod vfs;
mod zfs;

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod aufs;
        mod btrfs;
        pub mod fuse;
        pub mod lvm;
        mod overlay;
        mod stacked;
    } else {
        mod absent;
    }
}

pub use driver::{
    Access, Change, ChangeKind, Differ, Driver, DriverOptions, Entry, Inheritor, LayerId, LayerOptions, OptionPairs,
    ReadSize, Usage, Whiteouts,
};
pub use error::{Error, Result};
