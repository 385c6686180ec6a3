//! Extended attributes of names in an open directory, symbolic links included.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;

use super::system::Named;

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

/// The attributes of `name` that a layer keeps. Empty where the file system has none.
pub(crate) fn list_xattrs(dir: impl AsFd, name: &OsStr) -> io::Result<Xattrs> {
    let named = Named::new(dir, name)?;
    let mut found = Vec::new();
    for name in named.list()?.into_iter().filter(|name| is_kept(name)) {
        if let Some(value) = named.get(&name)? {
            found.push((name, value));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// One attribute by name, `None` if it is not set or cannot be.
pub(crate) fn get_xattr(dir: impl AsFd, name: &OsStr, attribute: &str) -> io::Result<Option<Vec<u8>>> {
    match Named::new(dir, name)?.get(attribute.as_bytes()) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(None),
        other => other,
    }
}

pub(crate) fn set_xattr(dir: impl AsFd, name: &OsStr, attribute: &[u8], value: &[u8]) -> io::Result<()> {
    Named::new(dir, name)?.set(attribute, value)
}

/// Takes off the attributes that a layer keeps, except those in `stay`.
pub(crate) fn remove_xattrs_but(dir: impl AsFd, name: &OsStr, stay: &[&[u8]]) -> io::Result<()> {
    let dir = dir.as_fd();
    let named = Named::new(dir, name)?;
    for (attribute, _) in list_xattrs(dir, name)? {
        if !stay.contains(&attribute.as_slice()) {
            named.remove(&attribute)?;
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
/// Whether `trusted.*` attributes can be set; in a user namespace they cannot.
pub(crate) fn sets_trusted(fd: &std::os::fd::OwnedFd) -> io::Result<bool> {
    let name = c"trusted.overlay.opaque";
    match rustix::fs::fsetxattr(fd, name, b"n", rustix::fs::XattrFlags::empty()) {
        Ok(()) => {
            rustix::fs::fremovexattr(fd, name)?;
            Ok(true)
        }
        Err(rustix::io::Errno::PERM) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
