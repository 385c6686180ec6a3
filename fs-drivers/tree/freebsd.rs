//! What FreeBSD has of its own for trees: attributes in two name spaces (extattr(2)), file flags (chflags(2)), and devices that
//! tell one mount from another. What it lacks is answered so that the general way is taken.
//!
//! Attributes `user.NAME` are those of the user's name space; all others are kept with their whole names in the system's.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, c_int, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{DIRECTORY, Meta};

/// sys/extattr.h
const USER: c_int = 1;
const SYSTEM: c_int = 2;
/// No value is longer on Linux either (XATTR_SIZE_MAX).
const LONGEST: usize = 64 << 10;

unsafe extern "C" {
    fn fchflags(fd: c_int, flags: libc::c_ulong) -> c_int;
}

fn check(answer: isize) -> Result<usize, Errno> {
    usize::try_from(answer)
        .map_err(|_| Errno::from_raw_os_error(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)))
}

fn parts(attribute: &[u8]) -> io::Result<(c_int, CString)> {
    match attribute.strip_prefix(b"user.") {
        Some(name) => Ok((USER, CString::new(name)?)),
        None => Ok((SYSTEM, CString::new(attribute)?)),
    }
}

/// A name whose extended attributes are read and set: a file or directory, opened. Others have none here.
pub(super) struct Named(Option<OwnedFd>);

impl Named {
    pub(super) fn new(dir: impl AsFd, name: &OsStr) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let kind = Meta::at(&dir, name)?.kind();
        if !matches!(kind, rustix::fs::FileType::RegularFile | rustix::fs::FileType::Directory) {
            return Ok(Self(None));
        }
        match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Self(Some(fd))),
            // A link took its place.
            Err(Errno::LOOP | Errno::MLINK) => Ok(Self(None)),
            Err(error) => Err(error.into()),
        }
    }

    /// The names of all attributes. Empty where the file system has none.
    pub(super) fn list(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        let Some(fd) = &self.0 else { return Ok(names) };
        for space in [USER, SYSTEM] {
            let mut list = vec![0_u8; LONGEST];
            let buffer = list.as_mut_ptr().cast::<c_void>();
            // SAFETY: the buffer has the length that is given.
            let answer = check(unsafe { libc::extattr_list_fd(fd.as_raw_fd(), space, buffer, LONGEST) });
            match answer {
                Ok(length) => list.truncate(length),
                // The system's are root's to see.
                Err(Errno::OPNOTSUPP | Errno::PERM | Errno::NOSYS) => continue,
                Err(error) => return Err(error.into()),
            }
            // Each name is a byte of length and as many of text.
            let mut rest = list.as_slice();
            while let Some((&length, after)) = rest.split_first() {
                let Some((name, after)) = after.split_at_checked(length.into()) else { break };
                names.push(if space == USER { [b"user.", name].concat() } else { name.to_vec() });
                rest = after;
            }
        }
        Ok(names)
    }

    pub(super) fn get(&self, attribute: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(fd) = &self.0 else { return Ok(None) };
        let (space, name) = parts(attribute)?;
        let mut value = vec![0_u8; LONGEST];
        let buffer = value.as_mut_ptr().cast::<c_void>();
        // SAFETY: the name ends with NUL, and the buffer has the length that is given.
        match check(unsafe { libc::extattr_get_fd(fd.as_raw_fd(), space, name.as_ptr(), buffer, LONGEST) }) {
            Ok(length) => {
                value.truncate(length);
                Ok(Some(value))
            }
            Err(error) if error.raw_os_error() == libc::ENOATTR || error == Errno::OPNOTSUPP => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn set(&self, attribute: &[u8], value: &[u8]) -> io::Result<()> {
        match &self.0 {
            Some(fd) => set_open_xattr(fd, attribute, value),
            None => Err(Errno::OPNOTSUPP.into()),
        }
    }

    pub(super) fn remove(&self, attribute: &[u8]) -> io::Result<()> {
        let Some(fd) = &self.0 else { return Ok(()) };
        let (space, name) = parts(attribute)?;
        // SAFETY: the name ends with NUL and outlives the call.
        let answer = unsafe { libc::extattr_delete_fd(fd.as_raw_fd(), space, name.as_ptr()) };
        Ok(check(answer as isize).map(drop)?)
    }
}

/// Of an open file.
pub(crate) fn set_open_xattr(file: &OwnedFd, attribute: &[u8], value: &[u8]) -> io::Result<()> {
    let (space, name) = parts(attribute)?;
    let (data, length) = (value.as_ptr().cast::<c_void>(), value.len());
    // SAFETY: the name ends with NUL, and the value has the length that is given.
    let answer = unsafe { libc::extattr_set_fd(file.as_raw_fd(), space, name.as_ptr(), data, length) };
    Ok(check(answer as isize).map(drop)?)
}

/// Opens the directory `name` if it is on the same mount as `parent`, whose device is `dev`; EBUSY if it is not. Every mount
/// has a device number of its own here, nullfs too.
pub(crate) fn open_same_mount(parent: BorrowedFd<'_>, name: &OsStr, dev: u64) -> io::Result<OwnedFd> {
    let fd = rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?;
    if Meta::of(&fd)?.dev == dev { Ok(fd) } else { Err(Errno::BUSY.into()) }
}

/// No directory is a file system's own to destroy.
pub(super) fn removed_as_one(_parent: BorrowedFd<'_>, _name: &OsStr, _top: &OwnedFd, _meta: &Meta) -> io::Result<bool> {
    Ok(false)
}

/// Takes all flags off. Best effort.
pub(super) fn clear_flags(fd: &OwnedFd) {
    // SAFETY: integers only; the descriptor is borrowed for the call.
    unsafe { fchflags(fd.as_raw_fd(), 0) };
}

/// There is no such call: each file is synced by itself.
pub(super) fn sync_file_system(_fd: &OwnedFd) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Data is shared by the file system's own doing (ZFS, block cloning) or not at all.
pub(crate) fn clone_data(_to: impl AsFd, _from: &OwnedFd) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}

/// Copies in the kernel (copy_file_range(2), 13.0) as far as that goes; where the copy goes on.
pub(super) fn copy_in_kernel(from: &OwnedFd, to: &OwnedFd, start: u64, end: u64) -> io::Result<u64> {
    let mut position = start;
    while position < end {
        let length = usize::try_from(end - position).unwrap_or(usize::MAX).min(1 << 30);
        let Ok(offset) = libc::off_t::try_from(position) else { break };
        let (mut source, mut target) = (offset, offset);
        let (ours, theirs) = (from.as_raw_fd(), to.as_raw_fd());
        // SAFETY: both offsets outlive the call; the descriptors are borrowed for it.
        match check(unsafe { libc::copy_file_range(ours, &raw mut source, theirs, &raw mut target, length, 0) }) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(copied) => position += copied as u64,
            Err(Errno::INTR) => {}
            // Memory will do.
            Err(Errno::NOSYS | Errno::PERM | Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::BADF) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(position)
}

/// What has become a link meanwhile is not followed.
pub(super) fn chmod_itself(to: BorrowedFd<'_>, name: &OsStr, meta: &Meta) -> io::Result<()> {
    if Meta::at(to, name)?.kind() != meta.kind() {
        return Err(io::Error::other("something else has taken its place"));
    }
    Ok(rustix::fs::chmodat(to, name, meta.permissions(), AtFlags::SYMLINK_NOFOLLOW)?)
}

/// It cannot be had so.
pub(super) fn rename_new(_from: BorrowedFd<'_>, _name: &OsStr, _target: BorrowedFd<'_>) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}
