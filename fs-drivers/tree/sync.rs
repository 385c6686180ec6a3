//! Brings a tree to the disk, once, and on small hosts out of the page cache.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use berth_arch::root_dir::RootDir;
use rustix::fs::{Advice, FileType};
use rustix::io::Errno;

use super::{Walk, open_dir, open_file, system};

/// Bytes of memory up to which a host is small: there the page cache is for what runs, elsewhere the first container of an image
/// starts from it.
const SMALL: u64 = 1 << 30;

/// `syncfs` (2.6.39); where it is absent or forbidden, each file and directory is synced by itself.
pub(crate) fn sync_tree(top: OwnedFd) -> io::Result<()> {
    let small = berth_arch::host::memory() <= SMALL;
    match system::sync_file_system(&top) {
        Ok(()) => {
            if small {
                // The layer is complete with it or without.
                let _ = drop_behind(top);
            }
            Ok(())
        }
        Err(Errno::NOSYS | Errno::PERM) => sync_each(top, small),
        Err(error) => Err(error.into()),
    }
}

fn sync_each(top: OwnedFd, small: bool) -> io::Result<()> {
    let root = RootDir::from_fd(top);
    let mut walk = Walk::new(&root)?;
    while let Some(found) = walk.next()? {
        match found.meta.kind() {
            FileType::Directory => rustix::fs::fsync(open_dir(&*found.directory, &found.name)?)?,
            FileType::RegularFile => {
                let file = open_file(&*found.directory, &found.name)?;
                rustix::fs::fsync(&file)?;
                if small {
                    drop_cache(&file);
                }
            }
            _ => {}
        }
    }
    Ok(rustix::fs::fsync(&root)?)
}

/// Takes what is on the disk out of the page cache.
fn drop_behind(top: OwnedFd) -> io::Result<()> {
    let root = RootDir::from_fd(top);
    let mut walk = Walk::new(&root)?;
    while let Some(found) = walk.next()? {
        if found.meta.kind() == FileType::RegularFile && found.meta.size > 0 {
            drop_cache(open_file(&*found.directory, &found.name)?);
        }
    }
    Ok(())
}

/// Best effort: pages that are still to be written stay.
fn drop_cache(file: impl AsFd) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
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
        sync_each(open(), false).unwrap();
        sync_each(open(), true).unwrap();
        sync_tree(open()).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_dropped_is_no_longer_in_the_page_cache() {
        use rustix::io::{IoSliceMut, ReadWriteFlags};

        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        let path = folder.path().join("a/f");
        std::fs::write(&path, vec![7; 100_000]).unwrap();
        let open = || rustix::fs::open(folder.path(), crate::tree::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
        let file = std::fs::File::open(&path).unwrap();
        // Of what is in the page cache alone (4.14).
        let cached = || rustix::io::preadv2(&file, &mut [IoSliceMut::new(&mut [0; 10])], 0, ReadWriteFlags::NOWAIT);
        file.sync_all().unwrap();
        if cached() != Ok(10) {
            return eprintln!("skipped: nothing here says what is in the page cache");
        }
        drop_behind(open()).unwrap();
        if cached() == Ok(10) && rustix::fs::statfs(folder.path()).unwrap().f_type == 0x0102_1994 {
            return eprintln!("skipped: tmpfs is the page cache");
        }
        assert_eq!(cached(), Err(Errno::AGAIN));
        assert_eq!(std::fs::read(&path).unwrap(), vec![7; 100_000]);
    }
}
