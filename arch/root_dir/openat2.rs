//! The kernel's own resolution: openat2(2) with RESOLVE_IN_ROOT.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Links;
use crate::pretend;

static ABSENT: AtomicBool = AtomicBool::new(false);

/// A `..` that meets a rename or mount elsewhere gives EAGAIN (openat2(2)); after this many the walk takes over.
const ATTEMPTS: usize = 32;

/// `None` if the kernel cannot say: the walk has to.
pub(super) fn open(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    mode: Mode,
    links: Links,
) -> Option<Result<OwnedFd, Errno>> {
    if ABSENT.load(Ordering::Relaxed) || pretend::without("openat2") {
        return None;
    }
    let answer = call(root, path, flags, mode, links);
    match answer {
        Err(Errno::NOSYS) => {
            ABSENT.store(true, Ordering::Relaxed);
            None
        }
        // A seccomp filter that knows no openat2 answers EPERM, but so does an immutable file; E2BIG and
        // EAGAIN are the kernel's "not like this". ENAMETOOLONG is about the whole name, which the walk splits.
        Err(Errno::PERM | Errno::TOOBIG | Errno::AGAIN | Errno::NAMETOOLONG) => None,
        answer => Some(answer),
    }
}

fn call(root: BorrowedFd<'_>, path: &Path, flags: OFlags, mode: Mode, links: Links) -> Result<OwnedFd, Errno> {
    // openat2 refuses a mode that would be ignored, and flags beside O_PATH.
    let creates = flags.contains(OFlags::CREATE) || flags.contains(OFlags::TMPFILE);
    let mode = if creates { mode } else { Mode::empty() };
    let flags = match flags.contains(OFlags::PATH) {
        true => flags & (OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW),
        false => flags,
    } | OFlags::CLOEXEC;
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if links == Links::Refuse {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let mut answer = Err(Errno::AGAIN);
    for _ in 0..ATTEMPTS {
        answer = rustix::fs::openat2(root, path, flags, mode, resolve);
        if !matches!(answer, Err(Errno::AGAIN | Errno::INTR)) {
            break;
        }
    }
    answer
}
