//! What LXC leaves behind when it is killed, and some of it always: control groups, and the file of a lock.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::retry_on_intr;

use super::config::{MONITOR, PIVOT};
use crate::Result;
use crate::cgroup::Cgroup;

/// Where LXC's tools keep their locks, below which each has the path of its container.
const LOCKS: &str = "/run/lxc/lock";

/// Removes the groups of a container whose own are `groups`, with what is in them. Idempotent.
pub(super) fn remove_groups(groups: &[PathBuf]) -> Result<()> {
    let all: Vec<PathBuf> = groups.iter().flat_map(|group| beside(group)).filter(|path| path.is_dir()).collect();
    if all.is_empty() {
        return Ok(());
    }
    let all = Cgroup::load(&all);
    all.kill_all()?;
    all.delete()
}

/// The group itself, and those that `lxc-start` is or was in.
fn beside(group: &Path) -> Vec<PathBuf> {
    let is_payload = |part: &Path| {
        part.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("lxc.payload"))
    };
    // From LXC 3.1 to 4 they are all in the place that was named.
    if let Some(place) = group.ancestors().take(2).find(|part| is_payload(part)).and_then(Path::parent) {
        return vec![group.to_owned(), place.to_owned()];
    }
    let with = |ending: &str| {
        let mut name = group.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    vec![group.to_owned(), with(MONITOR), with(PIVOT)]
}

/// Keeps the folders that containers share from being removed while they are empty, until it is dropped: from before they are
/// made until a container has its files in them.
pub(super) struct Sharing {
    _lock: Option<OwnedFd>,
}

impl Sharing {
    pub(super) fn begin() -> Self {
        let _ = std::fs::create_dir_all(LOCKS);
        Self { _lock: lock(FlockOperation::LockShared) }
    }
}

fn lock(operation: FlockOperation) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(LOCKS, flags, Mode::empty()).ok()?;
    retry_on_intr(|| rustix::fs::flock(&folder, operation)).ok()?;
    Some(folder)
}

/// Removes the container's folder below `lxcpath`, and its lock; the folders above them too, if they are empty and nobody is about
/// to use them. Idempotent.
pub(super) fn remove_files(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
    let (Some(lxcpath), Some(name)) = (folder.parent(), folder.file_name()) else { return };
    let locks = Path::new(LOCKS).join(lxcpath.strip_prefix("/").unwrap_or(lxcpath));
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let _ = std::fs::remove_file(locks.join(hidden));
    let Some(_alone) = lock(FlockOperation::NonBlockingLockExclusive) else { return };
    let _ = std::fs::remove_dir(lxcpath);
    for folder in locks.ancestors().take_while(|folder| *folder != Path::new(LOCKS)) {
        if std::fs::remove_dir(folder).is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_its_groups_found() {
        let of = |group: &str| {
            let paths = beside(Path::new(group));
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of("/c/berth/a"), ["/c/berth/a", "/c/berth/a.monitor", "/c/berth/a.pivot"]);
        assert_eq!(of("/c/berth/a/lxc.payload.a"), ["/c/berth/a/lxc.payload.a", "/c/berth/a"]);
        assert_eq!(of("/c/berth/a/lxc.payload/a"), ["/c/berth/a/lxc.payload/a", "/c/berth/a"]);
    }
}
