//! One mount, as a value: what storage drivers return and isolation backends perform.
//!
//! `options.rs` turns mount(8)'s words into flags, `perform.rs` makes the system calls (and nothing else, so
//! that it can run between clone and exec), `overlay.rs` is the way round the one page of options that mount(2)
//! takes, `info.rs` reads /proc/self/mountinfo.

use std::path::PathBuf;

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod info;
        mod options;
        mod overlay;
        mod owners;
        mod part;
        mod perform;
        mod propagation;
        #[cfg(test)]
        mod tests;

        pub use info::{MountInfo, find_mount, holder, mounts, parse_mounts};
        pub use options::words;
        pub use part::part_with_mounts;
        pub use perform::Prepared;
        pub use propagation::{make_rprivate, make_rslave, umount_detach};
    } else {
        pub use crate::freebsd::mount::{Mounted, RDONLY, find_mounted, mount_in, mount_of, mounted, unmount_all};
    }
}

/// mount(8)'s word for a mount whose owners are mapped, with an [`crate::IdMap`].
const OWNERS: &str = "X-mount.idmap=";

/// A mount to be made. Paths may exceed what fits a page of options: `base` is entered first, so that the
/// source and the options can name things relative to it (overlay's layers are given that way).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Mount {
    /// `overlay`, `tmpfs`, `bind` (with `rec` among the options for a recursive one), ...
    pub fstype: String,
    pub source: PathBuf,
    /// Below the root that is being assembled; `/` is the root itself.
    pub target: PathBuf,
    /// In mount(8)'s words: `ro`, `nosuid`, `lowerdir=a:b`, `X-mount.idmap=...` (see [`crate::IdMap`]), ...
    pub options: Vec<String>,
    /// The working directory against which relative names in `source` and `options` are resolved.
    pub base: Option<PathBuf>,
}

impl Mount {
    /// Has the owners of its files be those of `map`: of an overlay, by its layers.
    pub fn map_owners(&mut self, map: &crate::IdMap) {
        self.options.push(format!("{OWNERS}{map}"));
    }

    /// Whether the owners of its files are others than on the disk.
    pub fn has_mapped_owners(&self) -> bool {
        self.options.iter().any(|option| option.starts_with(OWNERS))
    }
}
