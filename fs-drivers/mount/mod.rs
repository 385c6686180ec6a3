//! Performs a driver's mounts where the engine itself has to look into a tree.
//!
//! `linux.rs` does it where nobody else sees it, `freebsd.rs` in a folder that nobody else enters. Containers do not come here;
//! their backend mounts by itself.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use berth_arch::mount::Mount;
use berth_arch::root_dir::RootDir;

use crate::error::At;
use crate::{Access, Driver, Error, LayerId, Result};

cfg_if::cfg_if! {
    if #[cfg(target_os = "linux")] {
        mod linux;
        mod private;

        pub use linux::{perform, with_mounted};
        pub use private::{in_private_namespace, part_with_mounts};
    } else {
        mod freebsd;

        pub use freebsd::with_mounted;
    }
}

/// The directory that has what the layer itself holds, in the driver's form of whiteouts: its own, or its tree in a
/// mount that is seen nowhere and ends with the descriptor.
pub fn open_contents(driver: &dyn Driver, id: &LayerId, parents: &[LayerId], access: Access) -> Result<RootDir> {
    match driver.directory(id)? {
        Some(directory) => RootDir::open(&directory).at("open", &directory),
        None => with_mounted(&driver.mounts(id, parents, access)?, |root| RootDir::open(root).at("open", root))?,
    }
}

/// A single bind mount is shown by its own path, without any right to mount.
fn plain(mounts: &[Mount]) -> Option<PathBuf> {
    match mounts {
        [only] if only.fstype == "bind" && !only.has_mapped_owners() => {
            Some(only.base.as_deref().unwrap_or(Path::new("/")).join(&only.source))
        }
        _ => None,
    }
}

/// A directory that is always empty outside of private namespaces: below the driver's folder, or of this user in
/// the folder for temporary files.
fn place(base: Option<&Path>) -> Result<PathBuf> {
    let place = match base {
        Some(base) => base.join(".mnt"),
        None => std::env::temp_dir().join(format!("berth-mnt-{}", berth_arch::ids::own_number_outside())),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(&place) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error).at("create", &place)?,
        _ => {}
    }
    let found = std::fs::symlink_metadata(&place).at("look at", &place)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(Error::Unavailable(format!("{} is not a directory of this user", place.display())));
    }
    Ok(place)
}
