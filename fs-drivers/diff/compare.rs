//! Compares two trees.
//!
//! Two files are the same if type, permissions, owner, device number, link text, attributes, size and modification
//! time are. As in containerd, the content is read where both times have no fraction of a second, as then a
//! program may have set them; and where the upper one is the time of the file's last change of any kind, as the clock ticks slowly. Directories count with their times too, as both sides come from one copy.

use std::collections::HashSet;
use std::ffi::{CString, OsStr};
use std::io;
use std::iter::Peekable;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_arch::root_dir::RootDir;
use rustix::fs::FileType;

use crate::tree::{self, Directories, Meta, next_data};
use crate::{Change, ChangeKind};

/// What one tree has to do with the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kinship {
    None,
    /// It began as the other, on a file system of its own, in which every inode has kept its number: one that has its number
    /// and the time of its last change still is what it was.
    Clone,
}

/// Calls `visit` with each change from `lower` (nothing if `None`) to `upper`.
pub(super) fn compare(
    lower: Option<&Path>,
    upper: &Path,
    kinship: Kinship,
    visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let lower = lower.map(RootDir::open).transpose()?.map(Directories::new);
    let upper = Directories::new(RootDir::open(upper)?);
    Comparison { lower, upper, kinship, touched: None, path: PathBuf::new(), pending: Vec::new(), visit }.run()
}

/// As [`compare`], of open directories, leaving out what is known not to differ.
pub(crate) fn compare_open(
    lower: Option<OwnedFd>,
    upper: OwnedFd,
    touched: Option<&Touched>,
    visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let open = |fd| Directories::new(RootDir::from_fd(fd));
    let (lower, upper) = (lower.map(open), open(upper));
    let kinship = Kinship::None;
    Comparison { lower, upper, kinship, touched, path: PathBuf::new(), pending: Vec::new(), visit }.run()
}

/// What may differ between a tree and a snapshot of it, in which every inode has kept its number.
#[derive(Debug)]
pub(crate) struct Touched {
    /// The upper tree's device.
    pub(crate) dev: u64,
    /// Inodes that may have changed, directories that names came to or went from among them. What has one of
    /// these numbers above need not be what has it below; what has another is the same.
    pub(crate) inodes: HashSet<u64>,
    /// Directories above that have one of those in them, however deep.
    pub(crate) directories: HashSet<u64>,
}

struct Comparison<'a> {
    lower: Option<Directories<RootDir>>,
    upper: Directories<RootDir>,
    kinship: Kinship,
    touched: Option<&'a Touched>,
    path: PathBuf,
    /// Directories above that have not been reported: they are when something below them is.
    pending: Vec<PathBuf>,
    visit: &'a mut dyn FnMut(Change<'_>) -> io::Result<()>,
}

/// A directory that is being compared.
struct Level {
    upper: Peekable<std::vec::IntoIter<CString>>,
    lower: Peekable<std::vec::IntoIter<CString>>,
}

impl Level {
    /// The next name, and whether it is above and below.
    fn next(&mut self) -> Option<(CString, bool, bool)> {
        let (up, down) = match (self.upper.peek(), self.lower.peek()) {
            (Some(up), Some(down)) => (up <= down, down <= up),
            (up, down) => (up.is_some(), down.is_some()),
        };
        let upper = up.then(|| self.upper.next()).flatten();
        let lower = down.then(|| self.lower.next()).flatten();
        Some((upper.or(lower)?, up, down))
    }
}

/// A directory above whose content is to be compared next.
enum Inner {
    /// With the directory of the same name below.
    Both,
    /// With nothing.
    Upper,
}

impl Comparison<'_> {
    /// What is left of the directories above waits in a list: depth costs no stack.
    fn run(&mut self) -> io::Result<()> {
        let mut levels = vec![self.level(Inner::Both)?];
        while let Some(level) = levels.last_mut() {
            let Some((name, up, down)) = level.next() else {
                levels.pop();
                if self.pending.last() == Some(&self.path) {
                    self.pending.pop();
                }
                self.path.pop();
                continue;
            };
            self.path.push(tree::os(&name));
            let inner = match (up, down) {
                (false, _) => {
                    self.report(ChangeKind::Deleted)?;
                    None
                }
                (true, false) => self.added()?,
                (true, true) => self.common()?,
            };
            match inner {
                Some(inner) => levels.push(self.level(inner)?),
                None => drop(self.path.pop()),
            }
        }
        Ok(())
    }

    fn level(&mut self, inner: Inner) -> io::Result<Level> {
        let lower = match (&mut self.lower, inner) {
            (Some(lower), Inner::Both) => names(lower, &self.path)?,
            _ => Vec::new(),
        };
        let upper = names(&mut self.upper, &self.path)?;
        Ok(Level { upper: upper.into_iter().peekable(), lower: lower.into_iter().peekable() })
    }

    fn added(&mut self) -> io::Result<Option<Inner>> {
        self.report(ChangeKind::Added)?;
        let (parent, name) = self.upper.parent(&self.path)?;
        Ok(Meta::at(parent, name)?.is_dir().then_some(Inner::Upper))
    }

    fn common(&mut self) -> io::Result<Option<Inner>> {
        let (upper, name) = self.upper.parent(&self.path)?;
        let (lower, _) = self.lower.as_mut().expect("a name in both trees").parent(&self.path)?;
        let up = Meta::at(&upper, name)?;
        let down = Meta::at(&lower, name)?;
        if self.is_untouched(&down, &up) {
            if !up.is_dir() || self.touched.is_some_and(|touched| !touched.directories.contains(&up.ino)) {
                return Ok(None);
            }
            self.pending.push(self.path.clone());
            return Ok(Some(Inner::Both));
        }
        // A file that got another name is packed with it, or the two would come out as two files.
        let linked = !up.is_dir() && up.nlink > down.nlink;
        let same =
            !linked && (self.is_kept(&down, &up) || same((lower.as_fd(), name, &down), (upper.as_fd(), name, &up))?);
        if !same {
            self.report(ChangeKind::Modified)?;
        }
        Ok(match (down.is_dir(), up.is_dir()) {
            (true, true) => {
                if same {
                    self.pending.push(self.path.clone());
                }
                Some(Inner::Both)
            }
            (false, true) => Some(Inner::Upper),
            _ => None,
        })
    }

    /// Whether the inode is the same below and above, and was not written since.
    fn is_untouched(&self, down: &Meta, up: &Meta) -> bool {
        self.touched
            .is_some_and(|touched| (up.dev, up.ino) == (touched.dev, down.ino) && !touched.inodes.contains(&up.ino))
    }

    /// Whether the inode above is the one below, and nothing of it was changed.
    fn is_kept(&self, down: &Meta, up: &Meta) -> bool {
        let marks = |meta: &Meta| (meta.ino, meta.ctime, meta.mtime, meta.mode, meta.size);
        self.kinship == Kinship::Clone && marks(down) == marks(up)
    }

    fn report(&mut self, kind: ChangeKind) -> io::Result<()> {
        for path in std::mem::take(&mut self.pending) {
            (self.visit)(Change { path: &path, kind: ChangeKind::Modified })?;
        }
        (self.visit)(Change { path: &self.path, kind })
    }
}

fn names(tree: &mut Directories<RootDir>, path: &Path) -> io::Result<Vec<CString>> {
    let directory = tree::open_dir(tree.open(path)?, OsStr::new("."))?;
    tree::names(directory.as_fd())
}

type Side<'a> = (BorrowedFd<'a>, &'a OsStr, &'a Meta);

/// Whether nothing that a layer keeps differs.
pub(crate) fn same(lower: Side<'_>, upper: Side<'_>) -> io::Result<bool> {
    let ((low_dir, low_name, down), (up_dir, up_name, up)) = (lower, upper);
    if (down.dev, down.ino) == (up.dev, up.ino) {
        return Ok(true);
    }
    if (down.mode, down.uid, down.gid, down.mtime) != (up.mode, up.uid, up.gid, up.mtime) {
        return Ok(false);
    }
    let kind = up.kind();
    let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
    if (is_device && down.rdev != up.rdev) || (!up.is_dir() && down.size != up.size) {
        return Ok(false);
    }
    if kind == FileType::Symlink {
        let read = |dir, name| rustix::fs::readlinkat(dir, name, Vec::new());
        if read(low_dir, low_name)? != read(up_dir, up_name)? {
            return Ok(false);
        }
    }
    if tree::list_xattrs(low_dir, low_name)? != tree::list_xattrs(up_dir, up_name)? {
        return Ok(false);
    }
    // Set by a program, or last written when it was last touched at all, which may be in the same tick of the kernel's clock as
    // the lower one was.
    let doubtful = up.mtime.1 == 0 || up.mtime == up.ctime;
    if kind == FileType::RegularFile && doubtful && up.size > 0 {
        return same_content(&tree::open_file(low_dir, low_name)?, &tree::open_file(up_dir, up_name)?, up.size);
    }
    Ok(true)
}

/// Both have the same size. Where both have holes nothing is read.
fn same_content(lower: &OwnedFd, upper: &OwnedFd, size: u64) -> io::Result<bool> {
    let (mut down, mut up) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut position = 0;
    while position < size {
        let data = |file| Ok::<_, io::Error>(next_data(file, position, size)?.map_or(size, |(start, _)| start));
        position = data(lower)?.min(data(upper)?);
        let read = read_full(lower, &mut down, position)?;
        if read_full(upper, &mut up, position)? != read || down[..read] != up[..read] {
            return Ok(false);
        }
        if read < down.len() {
            break;
        }
        position += read as u64;
    }
    Ok(true)
}

fn read_full(file: &OwnedFd, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(file, &mut buffer[filled..], position + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
