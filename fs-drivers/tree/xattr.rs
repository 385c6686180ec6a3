//! Extended attributes of names in an open directory, symbolic links included.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Sorted by name.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Attributes by which an overlay file system keeps its own books. They are never part of an archive: an image
/// that brought its own could redirect a directory to any other one of the chain.
pub(crate) fn is_overlay_private(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// The host's own labels, which mean nothing elsewhere.
fn belongs_to_the_host(name: &[u8]) -> bool {
    matches!(name, b"security.selinux" | b"security.ima" | b"security.evm" | b"security.SMACK64")
}

/// How xfs keeps access lists, which it shows beside the lists themselves.
fn is_storage_of_lists(name: &[u8]) -> bool {
    matches!(name, b"trusted.SGI_ACL_FILE" | b"trusted.SGI_ACL_DEFAULT")
}

/// What a layer keeps of a file's attributes: all but the host's labels and the books of file systems.
pub(crate) fn is_kept(name: &[u8]) -> bool {
    !is_overlay_private(name) && !belongs_to_the_host(name) && !is_storage_of_lists(name)
}

/// No system call takes a directory, a name and "do not follow" for attributes; the descriptor's entry in /proc
/// stands for the directory.
fn path(dir: impl AsFd, name: &OsStr) -> CString {
    let mut path = format!("{}/{}/", super::descriptors(), dir.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    CString::new(path).expect("file names have no NUL")
}

/// The attributes of `name` that a layer keeps. Empty where the file system has none.
pub(crate) fn list_xattrs(dir: impl AsFd, name: &OsStr) -> io::Result<Xattrs> {
    let path = path(dir, name);
    let mut list = vec![0_u8; 512];
    let length = loop {
        match rustix::fs::llistxattr(&path, &mut list[..]) {
            Ok(length) => break length,
            Err(Errno::RANGE) if list.len() < 1 << 20 => list.resize(list.len() * 4, 0),
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::PERM) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    };
    let mut found = Vec::new();
    for name in list[..length].split(|b| *b == 0).filter(|name| !name.is_empty() && is_kept(name)) {
        if let Some(value) = get(&path, name)? {
            found.push((name.to_vec(), value));
        }
    }
    found.sort_unstable();
    Ok(found)
}

fn get(path: &CString, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut value = vec![0_u8; 256];
    loop {
        match rustix::fs::lgetxattr(path, name, &mut value[..]) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::RANGE) if value.len() < 1 << 20 => value.resize(value.len() * 4, 0),
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// One attribute by name, `None` if it is not set or cannot be.
pub(crate) fn get_xattr(dir: impl AsFd, name: &OsStr, attribute: &str) -> io::Result<Option<Vec<u8>>> {
    match get(&path(dir, name), attribute.as_bytes()) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(None),
        other => other,
    }
}

pub(crate) fn set_xattr(dir: impl AsFd, name: &OsStr, attribute: &[u8], value: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::lsetxattr(path(dir, name), attribute, value, XattrFlags::empty())?)
}

/// Takes off the attributes that a layer keeps, except those in `stay`.
pub(crate) fn remove_xattrs_but(dir: impl AsFd, name: &OsStr, stay: &[&[u8]]) -> io::Result<()> {
    let dir = dir.as_fd();
    for (attribute, _) in list_xattrs(dir, name)? {
        if !stay.contains(&attribute.as_slice()) {
            rustix::fs::lremovexattr(path(dir, name), attribute.as_slice())?;
        }
    }
    Ok(())
}

/// Whether `trusted.*` attributes can be set; in a user namespace they cannot.
pub(crate) fn sets_trusted(fd: &OwnedFd) -> io::Result<bool> {
    let name = c"trusted.overlay.opaque";
    match rustix::fs::fsetxattr(fd, name, b"n", XattrFlags::empty()) {
        Ok(()) => {
            rustix::fs::fremovexattr(fd, name)?;
            Ok(true)
        }
        Err(Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
