//! Directories that are no layers: what volumes need of the code that layers are copied, counted and removed by.
//!
//! Content is hostile here too. Everything goes by descriptors; no link is followed and no mount entered.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;

use crate::Usage;
use crate::tree::{self, Copier, Meta};

/// Copies what is in `source` into the empty directory `target`, and the directory's own attributes. Attributes that
/// the target's file system cannot keep (NFS, FAT) are left out. The failing path is relative.
pub fn copy(source: OwnedFd, target: OwnedFd) -> Result<(), (PathBuf, io::Error)> {
    Copier::new(target).lenient().copy(source)
}

/// Brings all that was written below `top` to the disk.
pub fn sync(top: OwnedFd) -> io::Result<()> {
    tree::sync_tree(top)
}

/// Removes `name` in `parent` with everything in it, however deep. What is not there is removed; a mount point inside
/// is EBUSY.
pub fn remove(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    tree::remove_tree(parent, name)
}

/// What a tree takes on the disk.
pub fn usage(top: OwnedFd) -> io::Result<Usage> {
    tree::usage(top)
}

/// The first name in a directory that is not in `but`.
pub fn first_name(directory: BorrowedFd<'_>, but: &[&str]) -> io::Result<Option<std::ffi::CString>> {
    let names = tree::names(directory)?;
    Ok(names.into_iter().find(|name| !but.iter().any(|known| known.as_bytes() == name.to_bytes())))
}

/// Moves everything in the directory `name` of `parent` up into `target`, on the same file system, gives `target` the
/// directory's attributes and removes it. What has its name there already stays as it is. Interrupted, it can be done
/// again.
pub fn move_up(parent: BorrowedFd<'_>, name: &OsStr, target: BorrowedFd<'_>) -> io::Result<()> {
    let from = tree::open_dir(parent, name)?;
    for entry in tree::names(from.as_fd())? {
        match tree::rename_new(from.as_fd(), tree::os(&entry), target) {
            Ok(()) | Err(Errno::EXIST | Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let meta = Meta::at(parent, name)?;
    tree::apply(parent, target, name, OsStr::new("."), &meta, true)?;
    tree::remove_tree(parent, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, tree::DIRECTORY, rustix::fs::Mode::empty()).unwrap()
    }

    #[test]
    fn a_copy_moves_up_with_its_attributes_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["from/sub", "to", "staged"] {
            std::fs::create_dir_all(path(name)).unwrap();
        }
        std::fs::write(path("from/sub/file"), "new").unwrap();
        std::fs::write(path("from/kept"), "new").unwrap();
        std::os::unix::fs::symlink("/etc", path("from/link")).unwrap();
        std::fs::set_permissions(path("from"), std::fs::Permissions::from_mode(0o1733)).unwrap();
        copy(open(&path("from")), open(&path("staged"))).unwrap();
        std::fs::write(path("to/kept"), "old").unwrap();
        for _ in 0..2 {
            let moved = move_up(open(folder.path()).as_fd(), OsStr::new("staged"), open(&path("to")).as_fd());
            if path("staged").exists() {
                moved.unwrap();
            }
        }
        assert!(!path("staged").exists());
        assert_eq!(std::fs::read_to_string(path("to/sub/file")).unwrap(), "new");
        assert_eq!(std::fs::read_to_string(path("to/kept")).unwrap(), "old");
        assert_eq!(std::fs::read_link(path("to/link")).unwrap(), Path::new("/etc"));
        assert_eq!(std::fs::metadata(path("to")).unwrap().mode() & 0o7777, 0o1733);
        assert_eq!(first_name(open(&path("to")).as_fd(), &["kept", "link"]).unwrap().unwrap().as_c_str(), c"sub");
    }
}
