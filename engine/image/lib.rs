//! Images: references, the layer graph, configs and tags, and the archives they come from and go to.
//!
//! The layer graph and its transactions live here; the bytes of a layer are kept by a storage driver
//! (fs-drivers), the records in the store. Depends on `fs-drivers`, `store` and `arch`; knows no containers: who
//! uses an image is asked of the caller, in the same transaction. Everything is synchronous, and several
//! processes may do any of it at once.

mod archive;
mod change;
mod commit;
mod compression;
pub mod config;
mod digest;
mod error;
pub mod formats;
mod hello;
mod images;
mod import;
mod layers;
mod pipe;
pub mod platform;
mod progress;
pub mod reference;
mod spool;
mod transfer;

use std::sync::Arc;

use berth_arch::host::Platform;
use berth_fs_drivers::Driver;
use berth_store::Store;

pub use archive::{LoadOptions, Loaded};
pub use berth_fs_drivers::Error as DriverError;
pub use commit::CommitOptions;
pub use compression::{decompress, decompress_layer};
pub use config::{Healthcheck, History, ImageConfig, RootFs, RunConfig};
pub use digest::{Digest, Hasher, HashingReader, ImageId};
pub use error::{Error, Result};
pub use hello::{HELLO, HELLO_PROGRAM};
pub use images::{
    DiskUsage, Filter, HistoryEntry, Image, ImageUsage, ImageUser, Inspect, LayerUsage, Pruned, RemoveOptions, Removed,
    Summary, Users,
};
pub use import::ImportOptions;
pub use layers::{Checked, ContainerLayer, Damaged, Gathering, Moved, Stop, Supplier, Take, Visit};
pub use progress::{OnProgress, Progress};
pub use reference::Reference;
pub use transfer::{Incoming, KnownBlob, Outgoing, check_config};

/// The images and layers of one state folder. Cheap to make; holds no state of its own.
#[derive(Clone)]
pub struct ImageStore {
    store: Arc<Store>,
    driver: Arc<dyn Driver>,
    platform: Platform,
}

impl ImageStore {
    /// `platform` is what imported images are said to be for.
    pub fn new(store: Arc<Store>, driver: Arc<dyn Driver>, platform: Platform) -> Self {
        Self { store, driver, platform }
    }

    pub fn driver(&self) -> &dyn Driver {
        &*self.driver
    }

    /// The folder that everything is kept in.
    pub fn state_folder(&self) -> &std::path::Path {
        &self.store.paths().state
    }

    pub fn platform(&self) -> &Platform {
        &self.platform
    }
}
