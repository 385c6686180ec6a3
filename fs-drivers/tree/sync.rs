//! Brings a tree to the disk, once.

use std::io;
use std::os::fd::OwnedFd;

use berth_arch::root_dir::RootDir;
use rustix::fs::FileType;
use rustix::io::Errno;

use super::{Walk, open_dir, open_file, system};

/// `syncfs` (2.6.39); where it is absent or forbidden, each file and directory is synced by itself.
pub(crate) fn sync_tree(top: OwnedFd) -> io::Result<()> {
    match system::sync_file_system(&top) {
        Ok(()) => Ok(()),
        Err(Errno::NOSYS | Errno::PERM) => sync_each(top),
        Err(error) => Err(error.into()),
    }
}

fn sync_each(top: OwnedFd) -> io::Result<()> {
    let root = RootDir::from_fd(top);
    let mut walk = Walk::new(&root)?;
    while let Some(found) = walk.next()? {
        match found.meta.kind() {
            FileType::Directory => rustix::fs::fsync(open_dir(&*found.directory, &found.name)?)?,
            FileType::RegularFile => rustix::fs::fsync(open_file(&*found.directory, &found.name)?)?,
            _ => {}
        }
    }
    Ok(rustix::fs::fsync(&root)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_can_be_synced_where_the_file_system_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/f"), "x").unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.path().join("a/link")).unwrap();
        let open = || rustix::fs::open(folder.path(), crate::tree::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        sync_each(open()).unwrap();
        sync_tree(open()).unwrap();
    }
}
