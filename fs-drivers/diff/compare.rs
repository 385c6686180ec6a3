//! Compares two trees.
//!
//! Two files are the same if type, permissions, owner, device number, link text, attributes, size and modification
//! time are. As in containerd, the content is read only where both times have no fraction of a second: then a
//! program may have set them. Directories count with their times too, as both sides come from one copy.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_arch::root_dir::RootDir;
use rustix::fs::FileType;

use crate::tree::{self, Meta};
use crate::{Change, ChangeKind};

/// Calls `visit` with each change from `lower` (nothing if `None`) to `upper`.
pub(super) fn compare(
    lower: Option<&Path>,
    upper: &Path,
    visit: &mut dyn FnMut(Change<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let lower = lower.map(RootDir::open).transpose()?;
    let upper = RootDir::open(upper)?;
    Comparison { lower, upper, path: PathBuf::new(), pending: Vec::new(), visit }.directory()
}

struct Comparison<'a> {
    lower: Option<RootDir>,
    upper: RootDir,
    path: PathBuf,
    /// Directories above that have not been reported: they are when something below them is.
    pending: Vec<PathBuf>,
    visit: &'a mut dyn FnMut(Change<'_>) -> io::Result<()>,
}

impl Comparison<'_> {
    /// Compares the directory `self.path`. Directories are opened from the root each time, so that depth costs no
    /// descriptors.
    fn directory(&mut self) -> io::Result<()> {
        let upper = names(&self.upper, &self.path)?;
        let lower = match &self.lower {
            Some(lower) => names(lower, &self.path)?,
            None => Vec::new(),
        };
        let (mut ups, mut downs) = (upper.into_iter().peekable(), lower.into_iter().peekable());
        loop {
            let (up, down) = match (ups.peek(), downs.peek()) {
                (None, None) => return Ok(()),
                (Some(up), Some(down)) => (up <= down, down <= up),
                (up, down) => (up.is_some(), down.is_some()),
            };
            let up = up.then(|| ups.next()).flatten();
            let down = down.then(|| downs.next()).flatten();
            self.pair(up, down)?;
        }
    }

    fn pair(&mut self, up: Option<CString>, down: Option<CString>) -> io::Result<()> {
        let (Some(name), both) = (up.as_ref().or(down.as_ref()), up.is_some() && down.is_some()) else {
            return Ok(());
        };
        self.path.push(tree::os(name));
        if up.is_none() {
            self.report(ChangeKind::Deleted)?;
        } else if both {
            self.common()?;
        } else {
            self.added()?;
        }
        self.path.pop();
        Ok(())
    }

    fn added(&mut self) -> io::Result<()> {
        self.report(ChangeKind::Added)?;
        let parent = self.upper.parent_no_links(&self.path)?;
        if Meta::at(&parent.directory, &parent.name)?.is_dir() {
            drop(parent);
            let lower = self.lower.take();
            self.directory()?;
            self.lower = lower;
        }
        Ok(())
    }

    fn common(&mut self) -> io::Result<()> {
        let lower_root = self.lower.as_ref().expect("a name in both trees");
        let upper = self.upper.parent_no_links(&self.path)?;
        let lower = lower_root.parent_no_links(&self.path)?;
        let up = Meta::at(&upper.directory, &upper.name)?;
        let down = Meta::at(&lower.directory, &lower.name)?;
        // A file that got another name is packed with it, or the two would come out as two files.
        let linked = !up.is_dir() && up.nlink > down.nlink;
        let same = !linked
            && same((lower.directory.as_fd(), &lower.name, &down), (upper.directory.as_fd(), &upper.name, &up))?;
        drop((upper, lower));
        if !same {
            self.report(ChangeKind::Modified)?;
        }
        match (down.is_dir(), up.is_dir()) {
            (true, true) => {
                if same {
                    self.pending.push(self.path.clone());
                }
                self.directory()?;
                if self.pending.last() == Some(&self.path) {
                    self.pending.pop();
                }
                Ok(())
            }
            (false, true) => {
                let lower = self.lower.take();
                self.directory()?;
                self.lower = lower;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn report(&mut self, kind: ChangeKind) -> io::Result<()> {
        for path in std::mem::take(&mut self.pending) {
            (self.visit)(Change { path: &path, kind: ChangeKind::Modified })?;
        }
        (self.visit)(Change { path: &self.path, kind })
    }
}

fn names(root: &RootDir, path: &Path) -> io::Result<Vec<CString>> {
    let found = root.parent_no_links(path)?;
    let directory: OwnedFd = tree::open_dir(&found.directory, &found.name)?;
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
    if kind == FileType::RegularFile && up.mtime.1 == 0 && up.size > 0 {
        return same_content(&tree::open_file(low_dir, low_name)?, &tree::open_file(up_dir, up_name)?);
    }
    Ok(true)
}

fn same_content(lower: &OwnedFd, upper: &OwnedFd) -> io::Result<bool> {
    let (mut down, mut up) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut position = 0;
    loop {
        let read = read_full(lower, &mut down, position)?;
        if read_full(upper, &mut up, position)? != read || down[..read] != up[..read] {
            return Ok(false);
        }
        if read < down.len() {
            return Ok(true);
        }
        position += read as u64;
    }
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
