//! Names inside a root that may be hostile, for the time between clone and exec: `arch::RootDir` without memory.
//!
//! `openat2` where the kernel has it; else, and to make what is missing, a walk that opens one component after the
//! other and never leaves the stack of directories that it came through.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
/// More components than any sane name has; a deeper one is ENAMETOOLONG.
const DEPTH: usize = 64;
/// As the kernel's own limit (path_resolution(7)).
const LINKS: usize = 40;
const LENGTH: usize = 4096;

/// What to make of a name that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Refuse,
    MakeDirectory,
    MakeFile,
}

/// What to do about links on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// Follow them inside the root.
    Follow,
    /// ELOOP: for /proc and /sys, which must be where they seem to be.
    Refuse,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Root<'a> {
    pub(super) directory: BorrowedFd<'a>,
    /// Whether `openat2` may be tried.
    pub(super) openat2: bool,
}

impl Root<'_> {
    /// Opens `path` with O_PATH.
    pub(super) fn open(&self, path: &CStr, links: Links, missing: Missing) -> Result<OwnedFd> {
        if self.openat2 {
            match self.at_once(path, links) {
                Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {}
                Err(Errno::NOENT) if missing != Missing::Refuse => {
                    if let Ok(made) = self.make_last(path, links, missing) {
                        return Ok(made);
                    }
                }
                answer => return answer,
            }
        }
        Walk::new(self.directory)?.run(path, links, missing)
    }

    /// The frequent case that only the last component is missing.
    fn make_last(&self, path: &CStr, links: Links, missing: Missing) -> Result<OwnedFd> {
        let bytes = path.to_bytes_with_nul();
        let slash = bytes.iter().rposition(|&byte| byte == b'/').ok_or(Errno::NOENT)?;
        let name = CStr::from_bytes_with_nul(&bytes[slash + 1..]).map_err(|_| Errno::INVAL)?;
        let mut parent = [0_u8; LENGTH];
        parent.get_mut(..=slash).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(&bytes[..=slash]);
        if slash + 1 == LENGTH || matches!(name.to_bytes(), b"" | b"." | b"..") {
            return Err(Errno::INVAL);
        }
        let parent = CStr::from_bytes_until_nul(&parent).map_err(|_| Errno::INVAL)?;
        let directory = self.at_once(parent, links)?;
        make(directory.as_fd(), name, missing == Missing::MakeFile)?;
        self.at_once(path, links)
    }

    fn at_once(&self, path: &CStr, links: Links) -> Result<OwnedFd> {
        let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        if links == Links::Refuse {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        rustix::fs::openat2(self.directory, path, PATH, Mode::empty(), resolve)
    }
}

/// The directories from the root to where the walk is, so that `..` needs no trust in the file system.
struct Walk {
    stack: [Option<OwnedFd>; DEPTH],
    depth: usize,
    rest: Rest,
}

/// The part of the name that is still to be walked.
struct Rest {
    text: [u8; LENGTH],
    start: usize,
    end: usize,
}

impl Walk {
    fn new(root: BorrowedFd<'_>) -> Result<Self> {
        let mut stack = [const { None }; DEPTH];
        stack[0] = Some(rustix::fs::openat(root, c".", PATH | OFlags::DIRECTORY, Mode::empty())?);
        Ok(Self { stack, depth: 0, rest: Rest { text: [0; LENGTH], start: 0, end: 0 } })
    }

    fn run(mut self, path: &CStr, links: Links, missing: Missing) -> Result<OwnedFd> {
        let mut followed = 0;
        self.rest.put_before(path.to_bytes())?;
        while let Some((name, last)) = self.rest.next() {
            let name = CStr::from_bytes_until_nul(&name).map_err(|_| Errno::NAMETOOLONG)?;
            match name.to_bytes() {
                b"." => continue,
                b".." => {
                    self.up();
                    continue;
                }
                _ => {}
            }
            let file = self.component(name, last, missing)?;
            match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
                FileType::Symlink if links == Links::Refuse || followed == LINKS => return Err(Errno::LOOP),
                FileType::Symlink => {
                    followed += 1;
                    self.follow(&file)?;
                }
                FileType::Directory => self.down(file)?,
                _ if last => return Ok(file),
                _ => return Err(Errno::NOTDIR),
            }
        }
        self.stack[self.depth].take().ok_or(Errno::BADF)
    }

    fn here(&self) -> Result<BorrowedFd<'_>> {
        self.stack[self.depth].as_ref().map(AsFd::as_fd).ok_or(Errno::BADF)
    }

    fn up(&mut self) {
        if self.depth > 0 {
            self.stack[self.depth] = None;
            self.depth -= 1;
        }
    }

    fn down(&mut self, directory: OwnedFd) -> Result<()> {
        if self.depth + 1 == DEPTH {
            return Err(Errno::NAMETOOLONG);
        }
        self.depth += 1;
        self.stack[self.depth] = Some(directory);
        Ok(())
    }

    fn component(&self, name: &CStr, last: bool, missing: Missing) -> Result<OwnedFd> {
        let here = self.here()?;
        let open = || rustix::fs::openat(here, name, PATH | OFlags::NOFOLLOW, Mode::empty());
        match (open(), missing) {
            (Err(Errno::NOENT), Missing::MakeDirectory | Missing::MakeFile) => {
                make(here, name, last && missing == Missing::MakeFile)?;
                open()
            }
            (answer, _) => answer,
        }
    }

    /// A link's text goes before the rest; an absolute one starts at the root. Magic links of a proc file system
    /// are read as text like all others, so they lead nowhere else.
    fn follow(&mut self, link: &OwnedFd) -> Result<()> {
        let mut text = [0_u8; LENGTH];
        let length = rustix::fs::readlinkat_raw(link, c"", &mut text[..])?;
        let text = &text[..length];
        if text.first() == Some(&b'/') {
            while self.depth > 0 {
                self.up();
            }
        }
        self.rest.put_before(text)
    }
}

impl Rest {
    /// The next component, ended by NUL, and whether nothing comes after it.
    fn next(&mut self) -> Option<([u8; 256], bool)> {
        while self.start < self.end && self.text[self.start] == b'/' {
            self.start += 1;
        }
        let rest = &self.text[self.start..self.end];
        let length = rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len());
        if length == 0 {
            return None;
        }
        // Longer than NAME_MAX leaves no place for the NUL, which the caller takes for ENAMETOOLONG.
        let mut name = [0_u8; 256];
        let kept = length.min(name.len());
        name[..kept].copy_from_slice(&rest[..kept]);
        let last = rest[length..].iter().all(|&byte| byte == b'/');
        self.start += length;
        Some((name, last))
    }

    fn put_before(&mut self, text: &[u8]) -> Result<()> {
        let left = self.end - self.start;
        let total = text.len() + 1 + left;
        if total > LENGTH {
            return Err(Errno::NAMETOOLONG);
        }
        self.text.copy_within(self.start..self.end, text.len() + 1);
        self.text[..text.len()].copy_from_slice(text);
        self.text[text.len()] = b'/';
        self.start = 0;
        self.end = total;
        Ok(())
    }
}

fn make(directory: BorrowedFd<'_>, name: &CStr, file: bool) -> Result<()> {
    let made = if file {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(directory, name, flags, Mode::from_raw_mode(0o644)).map(drop)
    } else {
        rustix::fs::mkdirat(directory, name, Mode::from_raw_mode(0o755))
    };
    match made {
        Err(Errno::EXIST) => Ok(()),
        answer => answer,
    }
}

/// `/proc/self/fd/N`, by which mount(2) takes a file that is already open.
pub(super) struct FdPath([u8; 32]);

impl FdPath {
    pub(super) fn new(fd: BorrowedFd<'_>) -> Self {
        use std::os::fd::AsRawFd;
        let mut text = [0_u8; 32];
        let prefix = b"/proc/self/fd/";
        text[..prefix.len()].copy_from_slice(prefix);
        write_decimal(&mut text[prefix.len()..], fd.as_raw_fd().unsigned_abs());
        Self(text)
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// Writes `number` at the start of `place` and returns how many digits it took.
pub(super) fn write_decimal(place: &mut [u8], mut number: u32) -> usize {
    let mut digits = [0_u8; 10];
    let mut count = 0;
    loop {
        digits[count] = b'0' + (number % 10) as u8;
        number /= 10;
        count += 1;
        if number == 0 {
            break;
        }
    }
    for (byte, digit) in place.iter_mut().zip(digits[..count].iter().rev()) {
        *byte = *digit;
    }
    count
}

/// The kind of a file system (linux/magic.h), whose type differs between architectures.
#[allow(clippy::unnecessary_cast)]
pub(super) fn file_system(found: &rustix::fs::StatFs) -> u32 {
    found.f_type as u32
}
