//! The folders that make up the union, and names in them.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::super::options::Options;
use crate::tree::{self, Meta};

/// The layer that the union is of, and that is written to if any is.
pub(super) const UPPER: u16 = 0;
/// What one system call takes as a path, less what stands before it in /proc.
const PATH_AT_ONCE: usize = 3800;
const PATH: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

#[derive(Debug)]
pub(super) struct Layers {
    /// Topmost first. The first one is the layer that the union is of.
    roots: Vec<OwnedFd>,
    /// On the file system of the layer: things are made here and then renamed into their place.
    work: OwnedFd,
    writable: bool,
    /// /proc/self/fd.
    descriptors: OwnedFd,
    /// Of the first layer: where the numbers of inodes are taken as they are.
    dev: u64,
    /// Where the books are kept: `trusted.overlay.` or `user.overlay.`.
    space: &'static str,
    /// Nothing has to survive a crash of the host.
    pub(super) volatile: bool,
    counter: AtomicU64,
}

/// A name in an open directory.
#[derive(Debug)]
pub(super) struct Place<'a> {
    directory: Directory<'a>,
    pub(super) name: CString,
    /// `name` is an entry of /proc/self/fd, which is to be followed, once.
    pinned: Option<i32>,
}

#[derive(Debug)]
enum Directory<'a> {
    Borrowed(BorrowedFd<'a>),
    Owned(OwnedFd),
}

impl AsFd for Place<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.directory {
            Directory::Borrowed(fd) => *fd,
            Directory::Owned(fd) => fd.as_fd(),
        }
    }
}

impl Place<'_> {
    fn flags(&self) -> AtFlags {
        if self.pinned.is_some() { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW }
    }

    pub(super) fn meta(&self) -> io::Result<Meta> {
        Ok(rustix::fs::statat(self, self.name.as_c_str(), self.flags())?.into())
    }

    pub(super) fn stat(&self) -> io::Result<rustix::fs::Stat> {
        Ok(rustix::fs::statat(self, self.name.as_c_str(), self.flags())?)
    }

    pub(super) fn find(&self) -> io::Result<Option<Meta>> {
        match self.meta() {
            Ok(meta) => Ok(Some(meta)),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The file itself, never what it links to.
    pub(super) fn open(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let follow = if self.pinned.is_some() { OFlags::empty() } else { OFlags::NOFOLLOW };
        Ok(rustix::fs::openat(self, self.name.as_c_str(), flags | follow | OFlags::CLOEXEC, Mode::empty())?)
    }

    pub(super) fn chown(&self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (uid, gid) = (uid.map(rustix::fs::Uid::from_raw), gid.map(rustix::fs::Gid::from_raw));
        Ok(rustix::fs::chownat(self, self.name.as_c_str(), uid, gid, self.flags())?)
    }

    /// Not of a link: the last name would be followed.
    pub(super) fn chmod(&self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode((mode & 0o7777) as _);
        Ok(rustix::fs::chmodat(self, self.name.as_c_str(), mode, AtFlags::empty())?)
    }

    pub(super) fn set_times(&self, times: &rustix::fs::Timestamps) -> io::Result<()> {
        Ok(rustix::fs::utimensat(self, self.name.as_c_str(), times, self.flags())?)
    }

    pub(super) fn link_text(&self) -> io::Result<CString> {
        if self.pinned.is_some() {
            // What the entry of /proc leads to, and not its own text.
            let link = self.open(OFlags::PATH)?;
            return Ok(rustix::fs::readlinkat(link, c"", Vec::new())?);
        }
        Ok(rustix::fs::readlinkat(self, self.name.as_c_str(), Vec::new())?)
    }

    /// A second name for it.
    pub(super) fn link_to(&self, to: &Place<'_>) -> io::Result<()> {
        let flags = if self.pinned.is_some() { AtFlags::SYMLINK_FOLLOW } else { AtFlags::empty() };
        Ok(rustix::fs::linkat(self, self.name.as_c_str(), to, to.name.as_c_str(), flags)?)
    }

    pub(super) fn unlink(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(self, self.name.as_c_str(), AtFlags::empty())?)
    }

    pub(super) fn os_name(&self) -> &OsStr {
        tree::os(&self.name)
    }

    fn attribute_path(&self) -> (CString, bool) {
        let (path, follow) = match self.pinned {
            Some(fd) => (format!("{}/{fd}", tree::descriptors()).into_bytes(), true),
            None => {
                let mut path = format!("{}/{}/", tree::descriptors(), self.as_fd().as_raw_fd()).into_bytes();
                path.extend_from_slice(self.name.as_bytes());
                (path, false)
            }
        };
        (CString::new(path).expect("made of C strings"), follow)
    }

    /// Puts the value into `value` and returns its length; ERANGE if it does not fit. Empty: asks for the length.
    pub(super) fn get_attribute(&self, name: &OsStr, value: &mut [u8]) -> io::Result<usize> {
        let (path, follow) = self.attribute_path();
        Ok(match (follow, value.is_empty()) {
            (true, true) => rustix::fs::getxattr_query(&path, name)?,
            (true, false) => rustix::fs::getxattr(&path, name, value)?,
            (false, true) => rustix::fs::lgetxattr_query(&path, name)?,
            (false, false) => rustix::fs::lgetxattr(&path, name, value)?,
        })
    }

    pub(super) fn list_attributes(&self) -> io::Result<Vec<u8>> {
        let (path, follow) = self.attribute_path();
        // The kernel's own limit (XATTR_LIST_MAX).
        let mut list = vec![0; 1024];
        loop {
            let answer = match follow {
                true => rustix::fs::listxattr(&path, &mut list[..]),
                false => rustix::fs::llistxattr(&path, &mut list[..]),
            };
            match answer {
                Ok(length) => {
                    list.truncate(length);
                    return Ok(list);
                }
                Err(Errno::RANGE) if list.len() < 1 << 16 => list.resize(1 << 16, 0),
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(super) fn set_attribute(&self, name: &OsStr, value: &[u8], flags: u32) -> io::Result<()> {
        let flags = rustix::fs::XattrFlags::from_bits_retain(flags);
        let answer = match self.attribute_path() {
            (path, true) => rustix::fs::setxattr(&path, name, value, flags),
            (path, false) => rustix::fs::lsetxattr(&path, name, value, flags),
        };
        Ok(answer?)
    }

    pub(super) fn remove_attribute(&self, name: &OsStr) -> io::Result<()> {
        let answer = match self.attribute_path() {
            (path, true) => rustix::fs::removexattr(&path, name),
            (path, false) => rustix::fs::lremovexattr(&path, name),
        };
        Ok(answer?)
    }
}

impl Layers {
    pub(super) fn open(base: &OwnedFd, options: &Options) -> io::Result<Self> {
        let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |name: &str| rustix::fs::openat(base, name, directory, Mode::empty());
        let mut roots = Vec::new();
        if let Some(upper) = &options.upper {
            roots.push(open(upper)?);
        }
        for lower in &options.lower {
            roots.push(open(lower)?);
        }
        let Some(first) = roots.first() else { return Err(Errno::INVAL.into()) };
        let dev = Meta::of(first)?.dev;
        let work = open(options.work.as_ref().ok_or(Errno::INVAL)?)?;
        let writable = options.upper.is_some();
        let descriptors = rustix::fs::open(tree::descriptors(), directory.difference(OFlags::NOFOLLOW), Mode::empty())?;
        let space = if options.user_xattr { "user.overlay." } else { "trusted.overlay." };
        let layers = Self {
            roots,
            work,
            writable,
            descriptors,
            dev,
            space,
            volatile: options.volatile,
            counter: AtomicU64::new(0),
        };
        if writable {
            layers.clear_work()?;
        }
        Ok(layers)
    }

    /// What a server that was killed left half-made.
    fn clear_work(&self) -> io::Result<()> {
        for name in tree::names(rustix::fs::openat(&self.work, ".", tree::DIRECTORY, Mode::empty())?.as_fd())? {
            tree::remove_tree(self.work.as_fd(), tree::os(&name))?;
        }
        Ok(())
    }

    pub(super) fn is_writable(&self) -> bool {
        self.writable
    }

    pub(super) fn count(&self) -> u16 {
        self.roots.len() as u16
    }

    pub(super) fn top(&self) -> &OwnedFd {
        &self.roots[0]
    }

    /// `path` in a layer; empty for its root.
    pub(super) fn place(&self, layer: u16, path: &[u8]) -> io::Result<Place<'_>> {
        let mut rest = if path.is_empty() { b"." } else { path };
        let mut directory = Directory::Borrowed(self.roots[usize::from(layer)].as_fd());
        while rest.len() > PATH_AT_ONCE {
            let end = rest[..PATH_AT_ONCE].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            let (head, tail) = (OsStr::from_bytes(&rest[..end]), &rest[end + 1..]);
            let here = match &directory {
                Directory::Borrowed(fd) => *fd,
                Directory::Owned(fd) => fd.as_fd(),
            };
            directory = Directory::Owned(rustix::fs::openat(here, head, PATH | OFlags::DIRECTORY, Mode::empty())?);
            rest = tail;
        }
        Ok(Place { directory, name: c_string(rest)?, pinned: None })
    }

    pub(super) fn place_in(&self, layer: u16, parent: &[u8], name: &[u8]) -> io::Result<Place<'_>> {
        self.place(layer, &join(parent, name))
    }

    /// Something that is open, by its number.
    pub(super) fn pinned(&self, fd: BorrowedFd<'_>) -> Place<'_> {
        let number = fd.as_raw_fd();
        let name = CString::new(number.to_string()).expect("digits");
        Place { directory: Directory::Borrowed(self.descriptors.as_fd()), name, pinned: Some(number) }
    }

    /// A name in the work folder that nobody uses.
    pub(super) fn fresh(&self) -> io::Result<Place<'_>> {
        if !self.writable {
            return Err(Errno::ROFS.into());
        }
        let name = format!("{:x}", self.counter.fetch_add(1, Ordering::Relaxed));
        Ok(Place { directory: Directory::Borrowed(self.work.as_fd()), name: CString::new(name)?, pinned: None })
    }

    /// The number that a file of `layer` is known by. Of files that were copied up: that of the original.
    pub(super) fn number(&self, layer: u16, meta: &Meta) -> u64 {
        self.number_of(layer, meta.dev, meta.ino)
    }

    fn number_of(&self, layer: u16, dev: u64, ino: u64) -> u64 {
        match ino {
            // Taken by the union's root and by the absence of anything.
            0 | 1 => ino | 1 << 62,
            _ if dev != self.dev => ino ^ (u64::from(layer) + 1) << 47,
            _ => ino,
        }
    }

    pub(super) fn number_of_entry(&self, layer: u16, ino: u64) -> u64 {
        self.number_of(layer, self.dev, ino)
    }

    fn own(&self, name: &str) -> String {
        format!("{}{name}", self.space)
    }

    /// The length of one of the union's own attributes; `None` if it is not set, or is none of the union's, whose are as long as
    /// `value` at most. One that cannot be read is an error and not absent: what is below would show through.
    fn own_attribute(&self, place: &Place<'_>, name: &str, value: &mut [u8]) -> io::Result<Option<usize>> {
        match place.get_attribute(OsStr::new(&self.own(name)), value) {
            Ok(length) => Ok(Some(length)),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENODATA | libc::EOPNOTSUPP | libc::EPERM | libc::ERANGE) => Ok(None),
                _ => Err(error),
            },
        }
    }

    pub(super) fn is_opaque(&self, place: &Place<'_>) -> io::Result<bool> {
        let mut value = [0; 2];
        let length = self.own_attribute(place, "opaque", &mut value)?;
        Ok(length.is_some_and(|length| value[..length] == *b"y"))
    }

    pub(super) fn set_opaque(&self, place: &Place<'_>) -> io::Result<()> {
        place.set_attribute(OsStr::new(&self.own("opaque")), b"y", 0)
    }

    /// Which lower file an upper one is the copy of.
    pub(super) fn origin(&self, place: &Place<'_>) -> io::Result<Option<u64>> {
        let mut value = [0; 8];
        let length = self.own_attribute(place, "berth.origin", &mut value)?;
        Ok((length == Some(8)).then(|| u64::from_le_bytes(value)))
    }

    /// Whether something in a directory of the upper layer alone is a copy.
    pub(super) fn has_copies(&self, place: &Place<'_>) -> io::Result<bool> {
        Ok(self.own_attribute(place, "berth.copies", &mut [0; 2])?.is_some())
    }

    pub(super) fn set_copies(&self, place: &Place<'_>) -> io::Result<()> {
        place.set_attribute(OsStr::new(&self.own("berth.copies")), b"y", 0)
    }

    /// Links and devices cannot have it in a user namespace, and do without.
    pub(super) fn set_origin(&self, place: &Place<'_>, number: u64) -> io::Result<()> {
        match place.set_attribute(OsStr::new(&self.own("berth.origin")), &number.to_le_bytes(), 0) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP)) => Ok(()),
            other => other,
        }
    }

    /// Whether an empty regular file may be a whiteout: where devices cannot be made, or in layers that were written there.
    pub(super) fn hides_by_files(&self, _layer: u16) -> bool {
        self.space == "user.overlay."
    }

    pub(super) fn is_whiteout(&self, place: &Place<'_>, meta: &Meta) -> io::Result<bool> {
        tree::is_whiteout(place, place.os_name(), meta)
    }

    /// Puts a whiteout where nothing is.
    pub(super) fn make_whiteout(&self, place: &Place<'_>) -> io::Result<()> {
        tree::make_whiteout(place, place.os_name(), self.space)
    }

    pub(super) fn remove_aside(&self, aside: &Place<'_>) -> io::Result<()> {
        tree::remove_tree(aside.as_fd(), aside.os_name())
    }

    /// Brings a file to the disk before it takes the place of another, unless that is worth nothing.
    pub(super) fn settle(&self, file: &OwnedFd) -> io::Result<()> {
        if self.volatile { Ok(()) } else { Ok(rustix::fs::fsync(file)?) }
    }
}

pub(super) fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    if parent.is_empty() { name.to_vec() } else { [parent, b"/", name].concat() }
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    Ok(CString::new(bytes)?)
}
