//! What a backend is given: an OCI runtime Spec and the mounts that make the root.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use berth_arch::mount::Mount;
use oci_spec::runtime::Spec;

/// A container's identity: 64 lower-case hexadecimal digits for the engine's own, and what the OCI command line
/// allows otherwise (`[A-Za-z0-9_+.-]`, at most 128, not starting with a dot).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve characters, as people see it.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl std::str::FromStr for ContainerId {
    type Err = crate::Error;

    fn from_str(text: &str) -> crate::Result<Self> {
        let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'+' | b'.' | b'-');
        if text.is_empty() || text.len() > 128 || text.starts_with('.') || !text.bytes().all(fits) {
            return Err(crate::Error::InvalidArgument(format!("container ID {text:?}")));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ContainerId {
    type Error = crate::Error;

    fn try_from(text: String) -> crate::Result<Self> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl std::fmt::Display for ContainerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A container to be made.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// An empty directory over which the root is mounted, in the container's own mount namespace where there
    /// is one. It is never a mount point for the rest of the host.
    pub mount_point: PathBuf,
    /// What makes the root, in order (the storage driver's answer). Empty: `spec.root.path` is used as it is.
    pub rootfs: Vec<Mount>,
    /// Descriptors that the mounts of `rootfs` name.
    pub lent: Lent,
    pub spec: Spec,
    /// For a container that is to do without its creator.
    pub standalone: Option<Standalone>,
}

/// How a container is made that one process creates and another one starts, and that outlives both: the OCI command
/// line's. Without it a container ends with its creator.
#[derive(Debug, Clone)]
pub struct Standalone {
    /// The OCI bundle's folder, for the state that hooks are told.
    pub folder: PathBuf,
    /// Where the container waits for its start: a socket that the backend makes, in a folder that only the owner of the
    /// container may enter. It is there for as long as the program has not been started.
    pub gate: PathBuf,
    /// Descriptors that the program has from 3 on.
    pub preserved: Lent,
    /// The programs stay in the caller's session keyring.
    pub keep_keyring: bool,
    /// The root is moved over the host's instead of being exchanged with it (for hosts that run from an initramfs).
    pub no_pivot: bool,
}

/// Descriptors for whoever makes the mounts, and for nobody after that: as long as one is open, the kernel waits for the
/// file system's server even when that has been killed.
#[derive(Debug, Clone, Default)]
pub struct Lent(Arc<Mutex<Vec<OwnedFd>>>);

impl Lent {
    pub fn new(descriptors: Vec<OwnedFd>) -> Self {
        Self(Arc::new(Mutex::new(descriptors)))
    }

    /// For the one that makes the mounts. The next finds none.
    pub fn take(&self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
