//! Filling an empty volume from the image of the container that is made with it.
//!
//! The copy is made beside its place, brought to the disk, and then renamed to say that it is whole; only a whole one is
//! moved into the volume, name by name. Whoever comes after a crash finds an unfinished copy and throws it away, or a
//! whole one and moves the rest.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use berth_arch::mount::{Mount, Prepared, make_rprivate};
use berth_arch::root_dir::RootDir;
use berth_fs_drivers::mount::{in_private_namespace, with_mounted};
use berth_fs_drivers::{Access, content};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::local::{self, Backing};
use super::record::Volume;
use crate::root_view::{Answer, RootView};
use crate::settings::mounts::Point;
use crate::settings::volumes::VolumeMount;
use crate::{Container, Engine, Error, Result};

/// A copy that is being made, and one that is whole: in the volume's folder, or in the volume where that is not ours.
const FILLING: &str = ".berth-filling";
const FILLED: &str = ".berth-filled";

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// Where a volume's content is.
struct Place {
    data: OwnedFd,
    /// Where the copy is made; on the same file system.
    beside: OwnedFd,
}

impl Engine {
    /// With the volume's lock, before the container is ready: checks what is at the mount's place in the image, and
    /// copies it if the volume is to be filled and empty.
    pub(super) fn fill_volume(
        &self,
        volume: &Volume,
        container: &Container,
        point: &Point,
        mount: &VolumeMount,
    ) -> Result<()> {
        let backing = if volume.is_local() { Some(local::backing(&volume.options)?) } else { None };
        let mounts = self.rootfs(container, Access::ReadOnly)?;
        let inside = point.destination.strip_prefix("/").unwrap_or(&point.destination);
        let seen = RootView::new(&mounts).map_or(Answer::Unsure, |view| view.is_directory(inside));
        // Nothing there, which is the usual case: then nothing has to be mounted to look into it.
        if seen == Answer::Missing && !self.is_file(&mounts, &point.destination)? || mount.subpath.is_some() {
            return Ok(());
        }
        let own = matches!(backing, Some(Backing::Folder));
        if seen == Answer::Found(()) && own && (mount.no_copy || self.has_content(volume)?) {
            return Ok(());
        }
        let no_copy = mount.no_copy
            || match &backing {
                // Gone when the copy was made; each start has an empty one.
                Some(Backing::FileSystem { kind, .. }) => kind == "tmpfs" || kind == "ramfs",
                _ => false,
            };
        with_mounted(&mounts, |root| {
            let root = RootDir::open(root).map_err(Error::io("open", root))?;
            let Some(source) = directory_inside(&root, &point.destination)? else { return Ok(()) };
            if no_copy {
                return Ok(());
            }
            self.with_place(volume, backing.as_ref(), |place| {
                fill(source, place).map_err(|error| match error {
                    Error::Io { action, path, source } => {
                        Error::Io { action, path: Path::new(&format!("volume {}", volume.name)).join(path), source }
                    }
                    other => other,
                })
            })
        })?
    }

    /// Of a local volume that no copy was begun of.
    fn has_content(&self, volume: &Volume) -> Result<bool> {
        let folder = self.volume_folder(&volume.name);
        if std::fs::symlink_metadata(folder.join(FILLED)).is_ok() {
            return Ok(false);
        }
        let data = open(&self.data_folder(&volume.name))?;
        let first = content::first_name(data.as_fd(), &[]).map_err(Error::io("list", &folder))?;
        Ok(first.is_some())
    }

    /// A view from outside does not tell a file from nothing.
    fn is_file(&self, mounts: &[Mount], destination: &Path) -> Result<bool> {
        let view = RootView::new(mounts);
        let inside = destination.strip_prefix("/").unwrap_or(destination);
        Ok(!matches!(view.map(|view| view.read(inside, 1)), Some(Answer::Missing)))
    }

    /// Calls `f` with the volume's content: where it has to be mounted, in a namespace that goes with this.
    fn with_place(
        &self,
        volume: &Volume,
        backing: Option<&Backing>,
        f: impl FnOnce(&Place) -> Result<()> + Send,
    ) -> Result<()> {
        match backing {
            Some(Backing::Folder) => {
                let place = Place {
                    data: open(&self.data_folder(&volume.name))?,
                    beside: open(&self.volume_folder(&volume.name))?,
                };
                f(&place)
            }
            Some(Backing::Host { path, .. }) => f(&Place { data: open(path)?, beside: open(path)? }),
            Some(Backing::FileSystem { kind, device, words }) => {
                let target = self.data_folder(&volume.name);
                let mount = local::file_system(kind, device, words, &target)?;
                in_private_namespace(|| {
                    make_rprivate("/").map_err(|error| Error::io("make mounts private below", "/")(error.into()))?;
                    perform(&mount, volume)?;
                    f(&Place { data: open(&target)?, beside: open(&target)? })
                })?
            }
            None => {
                let plugin = self.plugin(&volume.driver)?;
                let id = crate::containers::random_id()?;
                let path = plugin.mount(&volume.name, &id)?;
                let filled = open(&path).and_then(|data| f(&Place { data, beside: open(&path)? }));
                let taken_off = plugin.unmount(&volume.name, &id);
                filled.and(taken_off)
            }
        }
    }

    /// Before a local volume is mounted: moves what a whole copy still has to give. One look when there is nothing.
    pub(super) fn finish_filling(&self, volume: &Volume) -> Result<()> {
        let folder = self.volume_folder(&volume.name);
        if std::fs::symlink_metadata(folder.join(FILLED)).is_err() {
            return Ok(());
        }
        let _lock = self.lock_volume(&volume.name)?;
        let place = Place { data: open(&self.data_folder(&volume.name))?, beside: open(&folder)? };
        place.finish()
    }
}

/// Mounts a local volume's file system for a look into it.
pub(super) fn perform(mount: &Mount, volume: &Volume) -> Result<()> {
    let wrong = |error: std::io::Error| {
        Error::Unavailable(format!(
            "failed to mount local volume {}: mount {} ({}): {error}",
            volume.name,
            mount.source.display(),
            mount.fstype
        ))
    };
    let target = std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(mount.target.as_os_str()))
        .map_err(|error| wrong(error.into()))?;
    Prepared::new(mount).map_err(wrong)?.perform(&target).map_err(|error| wrong(error.into()))
}

fn open(path: &Path) -> Result<OwnedFd> {
    rustix::fs::open(path, DIRECTORY, Mode::empty()).map_err(|error| Error::io("open", path)(error.into()))
}

/// The directory at `path`, links followed inside the root; `None` if there is nothing.
fn directory_inside(root: &RootDir, path: &Path) -> Result<Option<OwnedFd>> {
    let found = match root.open_at(path, OFlags::PATH, Mode::empty()) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound) => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::NOTDIR.raw_os_error()) => return Ok(None),
        Err(error) => return Err(Error::io("look at", path)(error)),
    };
    let kind = rustix::fs::statat(&found, "", rustix::fs::AtFlags::EMPTY_PATH)
        .map_err(|error| Error::io("look at", path)(error.into()))?
        .st_mode;
    if FileType::from_raw_mode(kind) != FileType::Directory {
        return Err(Error::invalid(format!("cannot mount volume over existing file, file exists {}", path.display())));
    }
    Ok(Some(found))
}

fn fill(source: OwnedFd, place: &Place) -> Result<()> {
    let io = |action: &'static str, path: &str| {
        let path = path.to_owned();
        move |source| Error::Io { action, path: path.into(), source }
    };
    place.finish()?;
    content::remove(place.beside.as_fd(), OsStr::new(FILLING)).map_err(io("remove from", FILLING))?;
    if content::first_name(place.data.as_fd(), &[]).map_err(io("list", "."))?.is_some() {
        return Ok(());
    }
    rustix::fs::mkdirat(&place.beside, FILLING, Mode::RWXU).map_err(|error| io("fill", ".")(error.into()))?;
    let staged = rustix::fs::openat(&place.beside, FILLING, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
        .map_err(|error| io("fill", ".")(error.into()))?;
    let again = rustix::io::fcntl_dupfd_cloexec(&staged, 3).map_err(|error| io("fill", ".")(error.into()))?;
    let copied = content::copy(source, again).map_err(|(path, source)| Error::Io { action: "fill", path, source });
    let copied = copied.and_then(|()| {
        // Nothing may be called whole that a power cut can take a part of.
        if content::first_name(staged.as_fd(), &[]).map_err(io("list", FILLING))?.is_some() {
            let top = rustix::io::fcntl_dupfd_cloexec(&staged, 3).map_err(|error| io("fill", ".")(error.into()))?;
            content::sync(top).map_err(io("sync", "."))?;
        }
        rustix::fs::renameat(&place.beside, FILLING, &place.beside, FILLED)
            .map_err(|error| io("fill", ".")(error.into()))
    });
    if let Err(error) = copied {
        let _ = content::remove(place.beside.as_fd(), OsStr::new(FILLING));
        return Err(error);
    }
    place.finish()
}

impl Place {
    fn finish(&self) -> Result<()> {
        match rustix::fs::statat(&self.beside, FILLED, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {
                content::move_up(self.beside.as_fd(), OsStr::new(FILLED), self.data.as_fd())
                    .map_err(|source| Error::Io { action: "fill", path: FILLED.into(), source })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folders(tempfile::TempDir);

    impl Folders {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["image", "v/_data"] {
                std::fs::create_dir_all(folder.path().join(name)).unwrap();
            }
            std::fs::write(folder.path().join("image/a"), "a").unwrap();
            std::fs::write(folder.path().join("image/b"), "b").unwrap();
            Self(folder)
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.0.path().join(name)
        }

        fn fill(&self) {
            let place = Place { data: open(&self.path("v/_data")).unwrap(), beside: open(&self.path("v")).unwrap() };
            fill(open(&self.path("image")).unwrap(), &place).unwrap();
        }

        fn names(&self) -> Vec<String> {
            let mut names: Vec<_> = std::fs::read_dir(self.path("v/_data"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        }
    }

    #[test]
    fn an_unfinished_copy_is_thrown_away_and_made_again() {
        let folders = Folders::new();
        std::fs::create_dir(folders.path("v").join(FILLING)).unwrap();
        std::fs::write(folders.path("v").join(FILLING).join("half"), "x").unwrap();
        folders.fill();
        assert_eq!(folders.names(), ["a", "b"]);
        assert_eq!(std::fs::read_dir(folders.path("v")).unwrap().count(), 1);
    }

    #[test]
    fn a_whole_copy_is_moved_on_and_not_made_again() {
        let folders = Folders::new();
        std::fs::create_dir(folders.path("v").join(FILLED)).unwrap();
        std::fs::write(folders.path("v").join(FILLED).join("rest"), "x").unwrap();
        std::fs::write(folders.path("v/_data/moved"), "x").unwrap();
        folders.fill();
        assert_eq!(folders.names(), ["moved", "rest"]);
    }

    #[test]
    fn what_has_content_is_not_filled() {
        let folders = Folders::new();
        std::fs::write(folders.path("v/_data/own"), "x").unwrap();
        folders.fill();
        assert_eq!(folders.names(), ["own"]);
    }
}
