//! The mounts of FreeBSD, which are all in one place: made by name, known and taken off by number.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, OsString, c_char, c_int};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::ptr;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::pairs::{Call, Pairs};
use super::sys::last_error;

/// MNT_RDONLY of sys/mount.h.
pub const RDONLY: u32 = 0x1;
const MNT_FORCE: c_int = 0x0008_0000;

/// Mounts `source` by the file system `kind` on `name` in `directory`, with MNT_* flags and the file system's own options. With
/// the name `.` nothing that is renamed meanwhile leads elsewhere; another name must not be a link. An empty source is the
/// directory itself. The process has one thread, or none that relies on its working directory.
pub fn mount_in(
    directory: impl AsFd,
    name: &OsStr,
    kind: &str,
    source: &OsStr,
    flags: u32,
    options: &[(&str, String)],
) -> io::Result<()> {
    let mut pairs = Pairs::default();
    pairs.text("fstype", kind.as_bytes())?;
    pairs.text("fspath", name.as_bytes())?;
    // mount_nullfs(8) names what is shown `target`, the others `from`.
    let source = if source.is_empty() { OsStr::new(".") } else { source };
    pairs.text(if kind == "nullfs" { "target" } else { "from" }, source.as_bytes())?;
    for (name, value) in options {
        pairs.text(name, value.as_bytes())?;
    }
    let flags = c_int::from_ne_bytes(flags.to_ne_bytes());
    in_directory(directory, || pairs.call(Call::Mount, flags))??;
    Ok(())
}

/// Runs `act` in the directory `fd` and goes back.
fn in_directory<T>(fd: impl AsFd, act: impl FnOnce() -> T) -> Result<T, Errno> {
    let open = |fd| -> Result<OwnedFd, Errno> {
        rustix::fs::openat(fd, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    let before = open(rustix::fs::CWD)?;
    // Whether one of O_PATH can be entered is not certain; one to read from can.
    rustix::process::fchdir(open(fd.as_fd())?)?;
    let answer = act();
    rustix::process::fchdir(&before)?;
    Ok(answer)
}

/// One of the host's mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mounted {
    id: [i32; 2],
    pub kind: String,
    pub source: OsString,
    /// As the kernel found it: absolute, without links.
    pub on: PathBuf,
}

/// All mounts, in the order they were made (getfsstat(2)).
pub fn mounted() -> io::Result<Vec<Mounted>> {
    // SAFETY: without a buffer the mounts are counted.
    let count = unsafe { libc::getfsstat(ptr::null_mut(), 0, libc::MNT_NOWAIT) };
    let room = usize::try_from(count).map_err(|_| last_error())? + 16;
    let mut found: Vec<libc::statfs> = Vec::with_capacity(room);
    let bytes = libc::c_long::try_from(room * size_of::<libc::statfs>()).map_err(|_| Errno::OVERFLOW)?;
    // SAFETY: the vector has room for the bytes that are given.
    let count = unsafe { libc::getfsstat(found.as_mut_ptr(), bytes, libc::MNT_NOWAIT) };
    let count = usize::try_from(count).map_err(|_| last_error())?;
    // SAFETY: the kernel wrote that many records, and never more than there was room for.
    unsafe { found.set_len(count.min(room)) };
    Ok(found.iter().map(Mounted::of).collect())
}

/// The mount that the open file is on.
pub fn mount_of(fd: impl AsFd) -> io::Result<Mounted> {
    Ok(Mounted::of(&rustix::fs::fstatfs(fd)?))
}

/// The mount that `path` (absolute, without links) is on: the longest mount point, and of several the last.
pub fn find_mounted<'a>(table: &'a [Mounted], path: &Path) -> Option<&'a Mounted> {
    let holds = table.iter().filter(|mounted| path.starts_with(&mounted.on));
    holds.max_by_key(|mounted| mounted.on.as_os_str().len())
}

impl Mounted {
    fn of(one: &libc::statfs) -> Self {
        let text = |field: &[c_char]| {
            OsString::from_vec(field.iter().map(|c| c.to_ne_bytes()[0]).take_while(|&c| c != 0).collect())
        };
        Self {
            // SAFETY: an fsid is two integers (sys/_types.h), which libc keeps to itself.
            id: unsafe { ptr::from_ref(&one.f_fsid).cast::<[i32; 2]>().read() },
            kind: text(&one.f_fstypename).to_string_lossy().into_owned(),
            source: text(&one.f_mntfromname),
            on: PathBuf::from(text(&one.f_mntonname)),
        }
    }

    /// unmount(2) by the file system's number, so that no name leads to another one. EBUSY without `force` while it is used;
    /// gone is unmounted.
    pub fn unmount(&self, force: bool) -> io::Result<()> {
        let name = CString::new(format!("FSID:{}:{}", self.id[0], self.id[1])).map_err(|_| Errno::INVAL)?;
        let flags = libc::MNT_BYFSID | if force { MNT_FORCE } else { 0 };
        // SAFETY: the name ends with NUL and outlives the call.
        match unsafe { libc::unmount(name.as_ptr(), flags) } {
            0 => Ok(()),
            _ => match last_error() {
                Errno::NOENT | Errno::INVAL => Ok(()),
                error => Err(error.into()),
            },
        }
    }
}

/// Takes off whatever is mounted on `root` (absolute, without links) and below it, the last first. Idempotent.
pub fn unmount_all(root: &Path) -> io::Result<()> {
    for mounted in mounted()?.iter().rev().filter(|mounted| mounted.on.starts_with(root)) {
        match mounted.unmount(false) {
            // Whoever still looks at it has to let go.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => mounted.unmount(true)?,
            answer => answer?,
        }
    }
    Ok(())
}
