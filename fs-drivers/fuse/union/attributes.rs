//! What files are like, and changing it.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, INodeNo, TimeOrNow};
use rustix::fs::{FileType, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::Union;
use super::layers::UPPER;
use super::listing::file_type;
use super::nodes::Stack;
use crate::tree::{Meta, is_overlay_private};

/// What is to be changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) atime: Option<TimeOrNow>,
    pub(super) mtime: Option<TimeOrNow>,
    /// Somebody without the right to keep them: set-id bits go.
    pub(super) kills_ids: bool,
}

impl Union {
    pub(super) fn attributes(&self, id: u64) -> io::Result<FileAttr> {
        let nodes = self.nodes();
        let stat = nodes.place(&self.layers, id)?.stat()?;
        let stack = &nodes.get(id)?.stack;
        let mut attr = file_attr(id, &stat, stack);
        if nodes.is_pinned(id) && stack.top() != UPPER {
            // The lower file stays, but its only name has gone.
            attr.nlink = 0;
        }
        Ok(attr)
    }

    pub(super) fn change(&self, id: u64, changes: &Changes) -> io::Result<FileAttr> {
        self.copy_up(id, changes.size)?;
        {
            let nodes = self.nodes();
            let place = nodes.place(&self.layers, id)?;
            if changes.uid.is_some() || changes.gid.is_some() {
                place.chown(changes.uid, changes.gid)?;
            }
            if let Some(mode) = changes.mode {
                if place.meta()?.kind() == FileType::Symlink {
                    return Err(Errno::OPNOTSUPP.into());
                }
                place.chmod(mode)?;
            }
            if let Some(size) = changes.size {
                let file = place.open(OFlags::WRONLY | OFlags::NONBLOCK)?;
                rustix::fs::ftruncate(&file, size)?;
            }
            if changes.kills_ids
                && let meta = place.meta()?
                && meta.kind() == FileType::RegularFile
                && let Some(mode) = without_ids(meta.mode)
            {
                place.chmod(mode)?;
            }
            if changes.atime.is_some() || changes.mtime.is_some() {
                let times =
                    Timestamps { last_access: timespec(changes.atime), last_modification: timespec(changes.mtime) };
                place.set_times(&times)?;
            }
        }
        self.attributes(id)
    }

    pub(super) fn link_text(&self, id: u64) -> io::Result<Vec<u8>> {
        Ok(self.nodes().place(&self.layers, id)?.link_text()?.into_bytes())
    }

    /// The length of the value, and as much of it as `value` takes.
    pub(super) fn get_attribute(&self, id: u64, name: &OsStr, value: &mut [u8]) -> io::Result<usize> {
        if is_overlay_private(name.as_bytes()) {
            return Err(Errno::NODATA.into());
        }
        self.nodes().place(&self.layers, id)?.get_attribute(name, value)
    }

    pub(super) fn list_attributes(&self, id: u64) -> io::Result<Vec<u8>> {
        let list = self.nodes().place(&self.layers, id)?.list_attributes()?;
        let names = list.split_inclusive(|&byte| byte == 0);
        Ok(names.filter(|name| !is_overlay_private(name)).flatten().copied().collect())
    }

    /// The union's own books are nobody else's to write.
    pub(super) fn set_attribute(&self, id: u64, name: &OsStr, value: &[u8], flags: u32) -> io::Result<()> {
        if is_overlay_private(name.as_bytes()) {
            return Err(Errno::PERM.into());
        }
        self.copy_up(id, None)?;
        self.nodes().place(&self.layers, id)?.set_attribute(name, value, flags)
    }

    pub(super) fn remove_attribute(&self, id: u64, name: &OsStr) -> io::Result<()> {
        if is_overlay_private(name.as_bytes()) {
            return Err(Errno::NODATA.into());
        }
        self.get_attribute(id, name, &mut [])?;
        self.copy_up(id, None)?;
        self.nodes().place(&self.layers, id)?.remove_attribute(name)
    }
}

/// The mode without what a write by somebody else takes away; `None` if nothing is.
pub(super) fn without_ids(mode: u32) -> Option<u32> {
    let mut kept = mode & !0o4000;
    if mode & 0o010 != 0 {
        kept &= !0o2000;
    }
    (kept != mode).then_some(kept)
}

#[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
pub(super) fn file_attr(id: u64, stat: &Stat, stack: &Stack) -> FileAttr {
    let meta = Meta::from(*stat);
    // One of several directories does not know how many there are in the others: 1 is what tools take for unknown.
    FileAttr {
        ino: INodeNo(id),
        size: meta.size,
        blocks: meta.blocks,
        atime: system_time(meta.atime),
        mtime: system_time(meta.mtime),
        ctime: system_time((stat.st_ctime as i64, stat.st_ctime_nsec as u32)),
        crtime: UNIX_EPOCH,
        kind: file_type(meta.kind()),
        perm: (meta.mode & 0o7777) as u16,
        nlink: if stack.is_merged() { 1 } else { u32::try_from(meta.nlink).unwrap_or(u32::MAX) },
        uid: meta.uid,
        gid: meta.gid,
        rdev: device_word(meta.rdev),
        blksize: stat.st_blksize as u32,
        flags: 0,
    }
}

/// As the kernel puts a device into 32 bits (new_encode_dev).
fn device_word(device: u64) -> u32 {
    let (major, minor) = (rustix::fs::major(device as _), rustix::fs::minor(device as _));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}

pub(super) fn device_of(word: u32) -> u64 {
    #[allow(clippy::useless_conversion, reason = "the type differs between platforms")]
    u64::from(rustix::fs::makedev((word & 0xf_ff00) >> 8, (word & 0xff) | ((word >> 12) & 0xf_ff00)))
}

fn system_time((seconds, nanoseconds): (i64, u32)) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let time = if seconds < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    time.and_then(|time| time.checked_add(Duration::from_nanos(nanoseconds.into()))).unwrap_or(UNIX_EPOCH)
}

fn timespec(time: Option<TimeOrNow>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
        Some(TimeOrNow::Now) => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW },
        Some(TimeOrNow::SpecificTime(time)) => match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Timespec { tv_sec: after.as_secs() as _, tv_nsec: after.subsec_nanos() as _ },
            // fuser takes the nanoseconds off, where the kernel means them to be added (0.18, time.rs).
            Err(before) => {
                let before = before.duration();
                Timespec { tv_sec: -(before.as_secs() as i64) as _, tv_nsec: before.subsec_nanos() as _ }
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_come_back_from_their_word() {
        for (major, minor) in [(0, 0), (1, 3), (7, 300), (4095, 1_048_575)] {
            let device = rustix::fs::makedev(major, minor);
            assert_eq!(device_of(device_word(device as _)), device as _);
        }
    }

    #[test]
    fn a_group_bit_without_execution_is_a_mark_of_locking_and_stays() {
        assert_eq!(without_ids(0o106_755), Some(0o100_755));
        assert_eq!(without_ids(0o102_644), None);
        assert_eq!(without_ids(0o100_755), None);
    }
}
