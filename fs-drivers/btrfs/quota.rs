//! Limits of subvolumes by quota groups.
//!
//! Simple quotas (6.7) count what a subvolume had allocated, at next to no cost, and count subvolumes that are made inside of
//! one to the groups of that one. Full quotas count what a subvolume has alone by looking for every reference, and
//! those made inside count for themselves.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::ioctl;
use super::search::{QUOTA_TREE, Range, search, subvolume};

/// Types of items in the quota tree.
const STATUS: u32 = 240;
const INFO: u32 = 242;

/// Our groups are `LEVEL/NUMBER` for the subvolume of that number: a level that nobody counts up to.
const LEVEL: u64 = 0xbe47;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Off,
    Simple,
    Full,
}

/// Which quotas the file system has now.
pub(super) fn mode(fd: impl AsFd) -> io::Result<Mode> {
    const ON: u64 = 1;
    const SIMPLE: u64 = 1 << 3;
    let mut flags = 0;
    let found = search(fd, Range::of(QUOTA_TREE, 0, (STATUS, STATUS)), &mut |item| {
        flags = item.u64_at(16).unwrap_or_default();
        Ok(())
    });
    match found {
        // There is no such tree.
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(Mode::Off),
        other => other?,
    }
    Ok(match (flags & ON, flags & SIMPLE) {
        (0, _) => Mode::Off,
        (_, 0) => Mode::Full,
        _ => Mode::Simple,
    })
}

/// Turns quotas on if they are off, simple ones where the kernel has them. Before the subvolume that is to be limited is
/// made, as it gets its group then.
pub(super) fn turn_on(fd: impl AsFd) -> io::Result<Mode> {
    let found = mode(&fd)?;
    if found != Mode::Off {
        return Ok(found);
    }
    match ioctl::quota_enable(&fd, true) {
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOTTY) => {
            ioctl::quota_enable(&fd, false)?;
            ioctl::quota_rescan_wait(&fd)?;
        }
        // Somebody else was faster.
        Err(Errno::EXIST) => {}
        other => other?,
    }
    mode(fd)
}

/// Lets so many bytes be written to the subvolume `top`, which was just made.
pub(super) fn limit(top: impl AsFd, mode: Mode, bytes: u64) -> io::Result<()> {
    let own = ioctl::subvolume_of(&top)?;
    let group = match mode {
        Mode::Simple => {
            let group = LEVEL << 48 | own;
            ioctl::qgroup(&top, true, group)?;
            ioctl::qgroup_assign(&top, own, group)?;
            group
        }
        Mode::Full | Mode::Off => own,
    };
    Ok(ioctl::qgroup_limit(top, group, bytes)?)
}

/// Lifts the limit of subvolume `own`, best effort: one that is full could not even be removed.
pub(super) fn lift(fd: impl AsFd, own: u64) {
    for group in [LEVEL << 48 | own, own] {
        let _ = ioctl::qgroup_limit(&fd, group, u64::MAX);
    }
}

/// Removes the groups of subvolumes that are gone. Best effort: a group stays as long as what it counted is being deleted, and
/// the next call takes it. The group of the subvolume itself the kernel removes since 6.11.
pub(super) fn forget(fd: impl AsFd, gone: Option<u64>) -> io::Result<()> {
    if let Some(id) = gone {
        let _ = ioctl::qgroup(&fd, false, id);
    }
    for group in groups(&fd)? {
        if subvolume(&fd, group & ((1 << 48) - 1))?.is_none() {
            let _ = ioctl::qgroup(&fd, false, group);
        }
    }
    Ok(())
}

/// The numbers of our groups.
pub(super) fn groups(fd: impl AsFd) -> io::Result<Vec<u64>> {
    let mut found = Vec::new();
    let range = Range { offsets: (LEVEL << 48, ((LEVEL + 1) << 48) - 1), ..Range::of(QUOTA_TREE, 0, (INFO, INFO)) };
    search(fd, range, &mut |item| {
        found.push(item.offset);
        Ok(())
    })?;
    Ok(found)
}
