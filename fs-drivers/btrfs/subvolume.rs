//! Subvolumes: made, and removed with all that a container made inside of them.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::{ioctl, search};
use crate::tree::{self, Meta};

/// BTRFS_SUPER_MAGIC (linux/magic.h).
const MAGIC: u64 = 0x9123_683e;

/// Whether the open file is on btrfs.
pub(crate) fn is_btrfs(fd: impl AsFd) -> io::Result<bool> {
    #[allow(clippy::unnecessary_cast, reason = "the field's type differs between architectures")]
    let magic = rustix::fs::fstatfs(fd)?.f_type as u64 & 0xffff_ffff;
    Ok(magic == MAGIC)
}

/// Whether the open directory is the top of a subvolume.
pub(crate) fn is_top(directory: impl AsFd, meta: &Meta) -> io::Result<bool> {
    Ok(meta.ino == ioctl::TOP && meta.is_dir() && is_btrfs(directory)?)
}

/// Removes the subvolume `name` of `parent` at once, with those inside of it. Says whether it did: without the right to,
/// its content can still be deleted file by file, and then the empty subvolume like a directory (4.18).
pub(crate) fn destroy(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<bool> {
    match ioctl::destroy(parent, name) {
        Err(Errno::NOTEMPTY) => {
            destroy_nested(&tree::open_dir(parent, name)?);
            settled(ioctl::destroy(parent, name))
        }
        other => settled(other),
    }
}

fn settled(answer: Result<(), Errno>) -> io::Result<bool> {
    match answer {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::PERM | Errno::ACCESS | Errno::NOTEMPTY | Errno::NOTTY | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Those inside of the subvolume `top`, the innermost first, by their numbers, so that no name of a container's is followed.
/// What cannot be removed so stays: whoever deletes file by file comes to it again.
fn destroy_nested(top: &OwnedFd) {
    let nested = ioctl::subvolume_of(top).map_err(io::Error::from).and_then(|id| search::nested(top, id));
    for id in nested.unwrap_or_default().into_iter().rev() {
        let _ = ioctl::destroy_by_id(top, id);
    }
}

/// Lets the content of a read-only subvolume be deleted.
pub(crate) fn make_writable(top: impl AsFd) -> io::Result<()> {
    Ok(ioctl::make_writable(top)?)
}
