//! Access to files below a root that nobody can lead out of it.
//!
//! `openat2` with RESOLVE_IN_ROOT where the kernel has it (Linux 5.6), else a walk by descriptors that resolves each
//! link by hand. Used for container roots, unpacked archives and everything else whose names are hostile.
//! Both are tried on the same trees by `tests.rs`.

#[cfg(target_os = "linux")]
mod openat2;
#[cfg(test)]
mod tests;
mod walk;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// A directory taken as the root of every name that is resolved through it: absolute names and links start
/// there, and `..` stops there.
#[derive(Debug)]
pub struct RootDir(OwnedFd);

/// The last component of a name and the directory that holds it, both inside the root.
#[derive(Debug)]
pub struct Parent {
    /// Opened with O_PATH: good for the `*at` calls, not for reading or syncing.
    pub directory: OwnedFd,
    pub name: OsString,
}

/// What to do with links among the components of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    Follow,
    /// ELOOP at the first one.
    Refuse,
}

impl RootDir {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(path, DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Opens `path` inside the root, following links inside it (add NOFOLLOW for the last component).
    /// Close-on-exec is always set. An empty path is the root.
    pub fn open_at(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        self.resolve(path, flags, mode, Links::Follow)
    }

    /// The directory that holds the last component of `path`; that component itself is not followed. An empty
    /// path or one that ends in `..` or is the root gives `name` = `.`.
    pub fn parent(&self, path: &Path) -> io::Result<Parent> {
        self.parent_with(path, Links::Follow)
    }

    /// Opens the directory `path` (O_PATH), making what is missing with `mode` less the umask. Components that
    /// exist and are links are followed inside the root; the missing target of a link is made there.
    pub fn create_dir_all(&self, path: &Path, mode: Mode) -> io::Result<OwnedFd> {
        match self.open_at(path, DIRECTORY, Mode::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(walk::Walk::new(self.as_fd(), Links::Follow).create_missing(mode).open(path, DIRECTORY, mode)?)
            }
            other => other,
        }
    }

    /// As [`RootDir::parent`], but a component that is a link is an error (ELOOP): for unpacking archives.
    pub fn parent_no_links(&self, path: &Path) -> io::Result<Parent> {
        self.parent_with(path, Links::Refuse)
    }

    /// The text of the link `path`; EINVAL if it is something else.
    pub fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let parent = self.parent(path)?;
        let target = rustix::fs::readlinkat(&parent.directory, &parent.name, Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }

    /// What `path` is; a link as last component is described itself.
    pub fn stat_no_follow(&self, path: &Path) -> io::Result<Stat> {
        let parent = self.parent(path)?;
        Ok(rustix::fs::statat(&parent.directory, &parent.name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// What `path` is, links followed inside the root.
    pub fn stat(&self, path: &Path) -> io::Result<Stat> {
        let fd = self.open_at(path, OFlags::PATH, Mode::empty())?;
        // fstat refuses O_PATH descriptors before 3.6.
        Ok(rustix::fs::statat(&fd, "", AtFlags::EMPTY_PATH)?)
    }

    /// Whether `path` leads to something, links followed inside the root.
    pub fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.open_at(path, OFlags::PATH, Mode::empty()) {
            Ok(_) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => Ok(false),
                _ => Err(error),
            },
        }
    }

    fn parent_with(&self, path: &Path, links: Links) -> io::Result<Parent> {
        let (directory, name) = split(path);
        let directory = self.resolve(directory, DIRECTORY, Mode::empty(), links)?;
        Ok(Parent { directory, name: name.to_owned() })
    }

    fn resolve(&self, path: &Path, flags: OFlags, mode: Mode, links: Links) -> io::Result<OwnedFd> {
        #[cfg(target_os = "linux")]
        if let Some(answer) = openat2::open(self.as_fd(), path, flags, mode, links) {
            return Ok(answer?);
        }
        Ok(walk::Walk::new(self.as_fd(), links).open(path, flags, mode)?)
    }
}

/// The directory part and the last component. Slashes at the end do not count; `.` and `..` at the end belong
/// to the directory.
fn split(path: &Path) -> (&Path, &OsStr) {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let trimmed = &bytes[..end];
    let start = trimmed.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let as_path = |bytes| Path::new(OsStr::from_bytes(bytes));
    match &trimmed[start..] {
        b"" | b"." | b".." => (as_path(trimmed), OsStr::new(".")),
        name => (as_path(&trimmed[..start]), OsStr::from_bytes(name)),
    }
}

impl AsFd for RootDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
