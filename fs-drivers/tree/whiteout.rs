//! Whiteouts as overlay file systems keep them: a character device 0/0, or, where devices cannot be made, an empty file
//! without any permission that an attribute marks (fs/overlayfs, "Whiteouts as regular files"; 6.7).

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Meta, get_xattr, set_xattr};

const ATTRIBUTE: &str = "overlay.whiteout";

pub(crate) fn is_whiteout(dir: impl AsFd, name: &OsStr, meta: &Meta) -> io::Result<bool> {
    let marked =
        |space: &str| -> io::Result<bool> { Ok(get_xattr(&dir, name, &format!("{space}{ATTRIBUTE}"))?.is_some()) };
    match meta.kind() {
        FileType::CharacterDevice => Ok(meta.rdev == 0),
        FileType::RegularFile if meta.size == 0 && meta.mode & 0o7777 == 0 => {
            Ok(marked("trusted.")? || marked("user.")?)
        }
        _ => Ok(false),
    }
}

/// Puts a whiteout where nothing is. `space`: `trusted.overlay.` or `user.overlay.`.
pub(crate) fn make_whiteout(dir: impl AsFd, name: &OsStr, space: &str) -> io::Result<()> {
    match rustix::fs::mknodat(&dir, name, FileType::CharacterDevice, Mode::empty(), 0) {
        // Before 5.8, user namespaces may make no device at all.
        Err(Errno::PERM) => {}
        other => return Ok(other?),
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    drop(rustix::fs::openat(&dir, name, flags, Mode::empty())?);
    set_xattr(&dir, name, format!("{space}whiteout").as_bytes(), b"y")
}
