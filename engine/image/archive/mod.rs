//! `load` and `save`: archives of whole images, docker-archive and OCI layout in one.
//!
//! `members.rs` takes an archive off its stream, `docker.rs` and `oci.rs` read what it says it holds and check it
//! against what is there, `load.rs` makes images of that; `save.rs` writes. Every name, length, count and digest of
//! an archive is a claim until it is checked.

mod docker;
mod load;
mod members;
mod oci;
mod save;

use berth_arch::host::Platform;

use crate::ImageId;

#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// Instead of the host's.
    pub platform: Option<Platform>,
}

/// One line of what `load` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// `Loaded image: NAME`
    Name(String),
    /// `Loaded image ID: sha256:...`
    Id(ImageId),
}

impl std::fmt::Display for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => write!(f, "Loaded image: {name}"),
            Self::Id(id) => write!(f, "Loaded image ID: {id}"),
        }
    }
}
