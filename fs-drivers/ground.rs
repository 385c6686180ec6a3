//! What a state folder stands on, for probes.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::Mode;

use crate::error::At;
use crate::{Result, tree};

/// OVERLAYFS_SUPER_MAGIC (linux/magic.h).
const OVERLAY_MAGIC: u64 = 0x794c_7630;

pub(crate) fn is_overlay(fd: &OwnedFd) -> io::Result<bool> {
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
    let magic = rustix::fs::fstatfs(fd)?.f_type as u64 & 0xffff_ffff;
    Ok(magic == OVERLAY_MAGIC)
}

#[cfg(target_os = "linux")]
fn kind_of(path: &Path) -> Option<String> {
    let mounts = berth_arch::mount::mounts().ok()?;
    Some(berth_arch::mount::find_mount(&mounts, path)?.fstype.clone())
}

#[cfg(not(target_os = "linux"))]
fn kind_of(path: &Path) -> Option<String> {
    let mounts = berth_arch::mount::mounted().ok()?;
    Some(berth_arch::mount::find_mounted(&mounts, path)?.kind.clone())
}

/// The name of the file system that `path` is on, as the list of mounts has it.
pub(crate) fn file_system(path: &Path) -> String {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    kind_of(&path).unwrap_or_else(|| "an unknown file system".to_owned())
}

/// A folder for a trial below the state folder. Gone when dropped.
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn new(root: &Path) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        fs::DirBuilder::new().recursive(true).mode(0o711).create(root).at("create", root)?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = root.join(format!(".probe-{}-{count}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).at("create", &path)?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let (Some(root), Some(name)) = (self.path.parent(), self.path.file_name())
            && let Ok(fd) = rustix::fs::open(root, tree::DIRECTORY, Mode::empty())
        {
            let _ = tree::remove_tree(fd.as_fd(), name);
        }
    }
}
