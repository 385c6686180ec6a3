//! Parts of volumes, mounted where a runtime finds them by name: in this process's own mount namespace, for a mount that is
//! bound has to be in the namespace of who binds it, which a descriptor's is not.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use berth_arch::mount::{part_with_mounts, umount_detach};
use rustix::fs::FileType;

/// The places to mount on. They are taken off and removed when this is dropped: each by itself, and nothing below them.
pub(super) struct Sources {
    folder: PathBuf,
    places: Vec<PathBuf>,
}

impl Sources {
    /// `folder` is made when it is needed.
    pub(super) fn in_folder(folder: PathBuf) -> Self {
        Self { folder, places: Vec::new() }
    }

    /// A name for `found`, an O_PATH descriptor.
    pub(super) fn add(&mut self, found: &OwnedFd) -> io::Result<PathBuf> {
        part_with_mounts()?;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let place = self.folder.join(self.places.len().to_string());
        match FileType::from_raw_mode(rustix::fs::fstat(found)?.st_mode) {
            FileType::Directory => fs::create_dir(&place)?,
            _ => drop(File::create(&place)?),
        }
        self.places.push(place.clone());
        rustix::mount::mount_bind_recursive(format!("/proc/self/fd/{}", found.as_raw_fd()), &place)?;
        Ok(place)
    }

    /// Removes the places that a process that was killed has left. Its mounts have ended with it.
    pub(super) fn clear(folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            remove(&entry.path());
        }
        let _ = fs::remove_dir(folder);
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        for place in self.places.drain(..) {
            let _ = umount_detach(&place);
            remove(&place);
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

/// Not what is mounted there, if something is: that is busy.
fn remove(place: &Path) {
    if fs::remove_dir(place).is_err() {
        let _ = fs::remove_file(place);
    }
}
