//! Looking into a container's root from outside, without running anything.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::Path;

use berth_arch::root_dir::RootDir;
use berth_fs_drivers::{Access, mount::with_mounted};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::root_view::{Answer, RootView};
use crate::user::{self, Identity};
use crate::{Container, Engine, Result};

/// Bytes of /etc/passwd and /etc/group that are looked at.
const LIMIT: u64 = 4 << 20;

impl Engine {
    /// Who the container's programs run as; `user` as in `--user`.
    pub(crate) fn user_identity(&self, container: &Container, user: &str, add: &[String]) -> Result<Identity> {
        let mounts = self.rootfs(container, Access::ReadOnly)?;
        let view = RootView::new(&mounts);
        let quick = |path| view.as_ref().map_or(Answer::Unsure, |view| view.read(Path::new(path), LIMIT));
        let mut files = [quick("etc/passwd"), quick("etc/group")];
        if files.contains(&Answer::Unsure) {
            files = with_mounted(&mounts, |root| ["etc/passwd", "etc/group"].map(|path| read_inside(root, path)))?;
        }
        let [passwd, group] = files.map(|answer| match answer {
            Answer::Found(bytes) => bytes,
            Answer::Missing | Answer::Unsure => Vec::new(),
        });
        user::resolve(user, add, &passwd, &group)
    }
}

fn read_inside(root: &Path, path: &str) -> Answer<Vec<u8>> {
    RootDir::open(root).and_then(|root| read_table(&root, path)).map_or(Answer::Missing, Answer::Found)
}

/// The beginning of a plain file below `root`. Anything else is empty and is not opened: opening alone makes a device
/// do something, or waits.
pub(crate) fn read_table(root: &RootDir, path: &str) -> std::io::Result<Vec<u8>> {
    let found = root.open_at(Path::new(path), OFlags::PATH, Mode::empty())?;
    let kind = rustix::fs::statat(&found, "", AtFlags::EMPTY_PATH)?.st_mode;
    let mut bytes = Vec::new();
    if FileType::from_raw_mode(kind) == FileType::RegularFile {
        // The same file, whatever has its name by now.
        std::fs::File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?.take(LIMIT).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}
