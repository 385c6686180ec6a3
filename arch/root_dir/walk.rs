//! Resolution by hand, for kernels without openat2: one component at a time, each opened by its descriptor
//! without following links, so that nothing which is renamed or replaced meanwhile leads outside. `..` goes back
//! to the directory that was passed through, never through the kernel's idea of a parent.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{DIRECTORY, Links};

/// As the kernel's MAXSYMLINKS (path_resolution(7)).
const MAX_LINKS: usize = 40;
/// Directories of the current path that are held open; those further up are found again by name.
const MAX_HELD: usize = 64;
/// How often a last component may change between link and file under our hands.
const ATTEMPTS: usize = 128;

pub(super) struct Walk<'a> {
    root: BorrowedFd<'a>,
    links: Links,
    create: Option<Mode>,
    /// The directories from below the root to where the walk is.
    levels: Vec<Level>,
    /// Components still to be resolved, the next one last.
    pending: Vec<OsString>,
    followed: usize,
}

struct Level {
    name: OsString,
    fd: Option<OwnedFd>,
}

/// What stands at a name.
enum Step {
    Directory(OwnedFd),
    Link(OsString),
}

impl<'a> Walk<'a> {
    pub(super) fn new(root: BorrowedFd<'a>, links: Links) -> Self {
        Self { root, links, create: None, levels: Vec::new(), pending: Vec::new(), followed: 0 }
    }

    /// Makes directories that are missing on the way, and the last one.
    pub(super) fn create_missing(mut self, mode: Mode) -> Self {
        self.create = Some(mode);
        self
    }

    pub(super) fn open(mut self, path: &Path, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::CLOEXEC;
        self.push(path.as_os_str());
        let mut attempts = 0;
        loop {
            let Some(name) = self.pending.pop() else {
                return rustix::fs::openat(self.current(), c".", flags, mode);
            };
            match name.as_bytes() {
                b"." => {}
                b".." => self.leave()?,
                _ if self.pending.is_empty() && self.create.is_none() => {
                    if let Some(fd) = self.open_last(&name, flags, mode)? {
                        return Ok(fd);
                    }
                    attempts += 1;
                    if attempts > ATTEMPTS {
                        return Err(Errno::AGAIN);
                    }
                }
                _ => self.enter(name)?,
            }
        }
    }

    /// Puts the components of `path` before the pending ones. A slash at the end asks for a directory, which a
    /// last component `.` does too.
    fn push(&mut self, path: &OsStr) {
        let bytes = path.as_bytes();
        if bytes.last() == Some(&b'/') {
            self.pending.push(OsString::from("."));
        }
        let names = bytes.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        self.pending.extend(names.rev().map(|name| OsStr::from_bytes(name).to_owned()));
    }

    fn current(&self) -> BorrowedFd<'_> {
        self.levels.last().map_or(self.root, |level| level.fd.as_ref().map_or(self.root, |fd| fd.as_fd()))
    }

    fn enter(&mut self, name: OsString) -> Result<(), Errno> {
        let step = match self.look(&name) {
            Err(Errno::NOENT) if self.create.is_some() => {
                match rustix::fs::mkdirat(self.current(), &name, self.create.unwrap_or(Mode::empty())) {
                    Ok(()) | Err(Errno::EXIST) => self.look(&name)?,
                    Err(error) => return Err(error),
                }
            }
            step => step?,
        };
        match step {
            Step::Directory(fd) => {
                self.levels.push(Level { name, fd: Some(fd) });
                // The oldest held one is let go; a hostile name could be thousands deep.
                if let Some(far) = self.levels.len().checked_sub(MAX_HELD + 1) {
                    self.levels[far].fd = None;
                }
                Ok(())
            }
            Step::Link(target) => self.follow(&target),
        }
    }

    /// `..`: back to the directory before; the root's parent is the root.
    fn leave(&mut self) -> Result<(), Errno> {
        self.levels.pop();
        if self.levels.last().is_some_and(|level| level.fd.is_none()) {
            let mut fd = rustix::fs::openat(self.root, c".", DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            for level in &self.levels {
                let flags = DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                fd = rustix::fs::openat(&fd, &level.name, flags, Mode::empty())?;
            }
            if let Some(last) = self.levels.last_mut() {
                last.fd = Some(fd);
            }
        }
        Ok(())
    }

    fn follow(&mut self, target: &OsStr) -> Result<(), Errno> {
        self.followed += 1;
        if self.links == Links::Refuse || self.followed > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        if target.is_empty() {
            return Err(Errno::NOENT);
        }
        if target.as_bytes()[0] == b'/' {
            self.levels.clear();
        }
        self.push(target);
        Ok(())
    }

    fn look(&self, name: &OsStr) -> Result<Step, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(self.current(), name, flags | OFlags::DIRECTORY, Mode::empty()) {
            Ok(fd) => return Ok(Step::Directory(fd)),
            Err(Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(error),
        }
        // One descriptor answers both questions, so that a swap between them cannot matter.
        let fd = rustix::fs::openat(self.current(), name, flags, Mode::empty())?;
        match kind(fd.as_fd())? {
            FileType::Directory => Ok(Step::Directory(fd)),
            FileType::Symlink => Ok(Step::Link(link_text(fd.as_fd())?)),
            _ => Err(Errno::NOTDIR),
        }
    }

    /// Opens the last component, or follows it and returns `None`.
    fn open_last(&mut self, name: &OsStr, flags: OFlags, mode: Mode) -> Result<Option<OwnedFd>, Errno> {
        let exclusive = flags.contains(OFlags::CREATE) && flags.contains(OFlags::EXCL);
        let stays = flags.contains(OFlags::NOFOLLOW) || exclusive;
        let opened = rustix::fs::openat(self.current(), name, flags | OFlags::NOFOLLOW, mode);
        match &opened {
            Ok(_) if stays || !flags.contains(OFlags::PATH) => return opened.map(Some),
            // O_PATH with NOFOLLOW opens a link itself.
            Ok(fd) => {
                if kind(fd.as_fd())? != FileType::Symlink {
                    return opened.map(Some);
                }
                let target = link_text(fd.as_fd())?;
                self.follow(&target)?;
                return Ok(None);
            }
            Err(Errno::LOOP | Errno::NOTDIR) if !stays => {}
            Err(error) => return Err(*error),
        }
        match rustix::fs::readlinkat(self.current(), name, Vec::new()) {
            Ok(target) => self.follow(OsStr::from_bytes(target.as_bytes()))?,
            // Not a link, or not any more: what changed between the two calls is tried again.
            Err(Errno::INVAL) => match self.kind_of(name)? {
                FileType::Directory | FileType::Symlink => self.pending.push(name.to_owned()),
                _ if opened.is_err_and(|error| error == Errno::NOTDIR) => return Err(Errno::NOTDIR),
                _ => self.pending.push(name.to_owned()),
            },
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    fn kind_of(&self, name: &OsStr) -> Result<FileType, Errno> {
        let stat = rustix::fs::statat(self.current(), name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }
}

/// Of a descriptor opened with O_PATH; fstat refuses those before 3.6.
fn kind(fd: BorrowedFd<'_>) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?.st_mode))
}

fn link_text(fd: BorrowedFd<'_>) -> Result<OsString, Errno> {
    let text = rustix::fs::readlinkat(fd, c"", Vec::new())?;
    Ok(OsStr::from_bytes(text.as_bytes()).to_owned())
}
