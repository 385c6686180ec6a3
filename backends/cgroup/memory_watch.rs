//! Hearing of a want of memory when it happens.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{EventfdFlags, PollFlags};
use rustix::fs::{Mode, OFlags};

use super::files;
use super::layout::Version;
use super::limits::{Group, Groups, find};

/// v1: an eventfd (memory-controller documentation, "OOM Control"). v2: `memory.events`, which poll(2) reports as
/// urgent when something in it has changed (cgroup-v2.rst).
#[derive(Debug)]
pub struct MemoryWatch {
    fd: OwnedFd,
    version: Version,
    /// On v2, the kills so far.
    seen: u64,
    /// Of the group.
    folder: PathBuf,
}

impl MemoryWatch {
    pub(super) fn new(groups: &Groups) -> Option<Self> {
        let group = find(groups, "memory")?;
        let fd = match group.version {
            Version::V1 => notified(group).ok()?,
            Version::V2 => open(group, "memory.events").ok()?,
        };
        let mut watch = Self { fd, version: group.version, seen: 0, folder: group.dir.clone() };
        if watch.version == Version::V2 {
            // Until it has been read once, it counts as changed.
            watch.happened();
        }
        Some(watch)
    }

    pub fn poll_flags(&self) -> PollFlags {
        match self.version {
            Version::V1 => PollFlags::IN,
            Version::V2 => PollFlags::PRI,
        }
    }

    /// After poll(2) has reported it: whether the kernel had to kill since the last call.
    pub fn happened(&mut self) -> bool {
        let mut buffer = [0; 512];
        if self.version == Version::V1 {
            let mut count = [0; 8];
            if rustix::io::read(&self.fd, &mut count) != Ok(8) {
                return false;
            }
            // The removal of the group counts as one, too, and it may have been somebody else who removed it.
            return u64::from_ne_bytes(count) > u64::from(!self.folder.exists());
        }
        let length = rustix::io::pread(&self.fd, &mut buffer, 0).unwrap_or(0);
        let counts = files::parse_flat_keyed(&String::from_utf8_lossy(&buffer[..length]));
        let kills = counts.get("oom_kill").copied().unwrap_or(0);
        std::mem::replace(&mut self.seen, kills) < kills
    }
}

impl AsFd for MemoryWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn open(group: &Group, file: &str) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(group.dir.join(file), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn notified(group: &Group) -> std::io::Result<OwnedFd> {
    let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let control = open(group, "memory.oom_control")?;
    let line = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
    files::write(&group.dir, "cgroup.event_control", &line)?;
    Ok(event)
}
