//! What tells a container's processes from all others, whatever they do: fork twice, take a session or an environment of
//! their own, outlive their parents.
//!
//! It is the root. A process inherits it, cannot be without, and changes it only with CAP_SYS_CHROOT, and then to a
//! directory below it; its mount namespace only with CAP_SYS_ADMIN. Neither name is ever used again while the container
//! is remembered: its root is mounted of its own layer, or at its own place.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::namespace::setup;
use crate::{Error, Result};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mark {
    /// A mount namespace of the container's own.
    Namespace {
        /// Of /proc/PID/ns/mnt; none before Linux 3.8. The kernel gives it out again after the namespace's end.
        inode: Option<u64>,
        /// The file system of the root, whose number is given out again as well.
        device: u64,
        /// What is mounted at the root, which is nobody else's.
        root: String,
    },
    /// The root is at or below a place on the host.
    Place(PathBuf),
}

impl Mark {
    /// Of the container whose first process is `pid`. InvalidArgument if this very process has the same.
    pub(super) fn of(pid: i32, place: Option<&Path>) -> Result<Self> {
        let mark = match place {
            Some(place) => Self::below(place),
            None => {
                let path = format!("/proc/{pid}/root");
                let device = std::fs::metadata(&path).map_err(setup(format!("look at {path}")))?.dev();
                let root = root_of(pid).ok_or_else(|| {
                    Error::InvalidArgument(format!("root of the container: it is no mount in /proc/{pid}/mountinfo"))
                })?;
                Self::Namespace { inode: namespace_of(pid), device, root }
            }
        };
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let hosts = matches!(&mark, Self::Namespace { root, .. } if root_of(own).as_ref() == Some(root));
        // Otherwise to end the container would be to end the host, or others that have the host's root in a namespace that
        // comes to have the same number.
        if hosts || mark.is_on(own) || !mark.is_on(pid) {
            return Err(Error::InvalidArgument(
                "root of the container: its processes cannot be told from the host's; use a folder of its own".into(),
            ));
        }
        Ok(mark)
    }

    pub(super) fn below(place: &Path) -> Self {
        Self::Place(place.to_owned())
    }

    /// Whether `pid` is one of the container's. A zombie, which has no root any more, is not.
    pub(super) fn is_on(&self, pid: i32) -> bool {
        match self {
            Self::Place(place) => {
                let root = std::fs::read_link(format!("/proc/{pid}/root"));
                root.is_ok_and(|root| root.starts_with(place))
            }
            Self::Namespace { inode, device, root } => {
                if inode.is_some() && namespace_of(pid) != *inode {
                    return false;
                }
                match root_of(pid) {
                    Some(found) => found == *root,
                    // It has changed its root to a directory below, as it may here.
                    None => {
                        inode.is_some()
                            && std::fs::metadata(format!("/proc/{pid}/root")).is_ok_and(|found| found.dev() == *device)
                    }
                }
            }
        }
    }
}

fn namespace_of(pid: i32) -> Option<u64> {
    Some(std::fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?.ino())
}

/// What is mounted at a process's root: the file system's number, the part of it, its type, source and options
/// (proc_pid_mountinfo(5)). `None` if its root is no mount.
fn root_of(pid: i32) -> Option<String> {
    let table = std::fs::read(format!("/proc/{pid}/mountinfo")).ok()?;
    let last = table.split(|&byte| byte == b'\n').rfind(|line| field(line, 4) == Some(b"/"))?;
    let dash = last.windows(3).position(|part| part == b" - ")?;
    let shown = [field(last, 2)?, b" ", field(last, 3)?, b" ", last.get(dash + 3..)?].concat();
    Some(OsStr::from_bytes(&shown).to_string_lossy().into_owned())
}

fn field(line: &[u8], number: usize) -> Option<&[u8]> {
    line.split(|&byte| byte == b' ').nth(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_the_host_has_too_is_refused() {
        let own = std::process::id() as i32;
        let error = Mark::of(own, None).unwrap_err().to_string();
        assert!(error.contains("cannot be told from the host's"), "{error}");
        assert!(Mark::of(own, Some(Path::new("/nowhere"))).is_err());
        assert!(Mark::of(own, Some(Path::new("/"))).is_err());
    }
}
