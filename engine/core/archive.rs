//! Files in and out of containers: `cp`, `export` and `diff`.
//!
//! A container's root is hostile, and a running one changes it meanwhile: every name is resolved inside the root by
//! descriptors. A running container is entered through /proc/PID/root, a stopped one is mounted out of sight.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use berth_api::models::{ChangeType, FilesystemChange};
use berth_arch::mount::{Mount, Prepared, make_rprivate};
use berth_arch::process::Process;
use berth_arch::root_dir::RootDir;
use berth_fs_drivers::diff::{self, FilesOptions};
use berth_fs_drivers::mount::{in_private_namespace, with_mounted};
use berth_fs_drivers::{Access, ChangeKind};
use berth_monitor::{State, Status};
use rustix::fs::{FileType, Mode, OFlags};
use serde::Serialize;

use crate::containers::inside::read_table;
use crate::settings::mounts::{Kind, Point};
use crate::volumes::mount::{Glimpse, open_subpath};
use crate::{Container, Engine, Error, Result};

/// What is at a path of a container (`X-Docker-Container-Path-Stat`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PathStat {
    pub name: String,
    pub size: u64,
    /// Go's `os.FileMode`.
    pub mode: u32,
    pub mtime: String,
    /// Where a link leads to inside the container; empty for everything else.
    #[serde(rename = "linkTarget")]
    pub link_target: String,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct PutOptions {
    /// A directory does not replace something else, nor the other way round.
    pub no_overwrite_dir_non_dir: bool,
    /// Give the files to the container's user instead of the archive's owners.
    pub copy_uid_gid: bool,
}

impl Engine {
    pub fn changes(&self, name: &str) -> Result<Vec<FilesystemChange>> {
        let container = self.find(name)?;
        let mut changes = Vec::new();
        self.images().changes(layer(&container)?, &mut |change| {
            let kind = match change.kind {
                ChangeKind::Modified => ChangeType::_0,
                ChangeKind::Added => ChangeType::_1,
                ChangeKind::Deleted => ChangeType::_2,
            };
            changes.push(FilesystemChange { path: format!("/{}", change.path.display()), kind });
            Ok(())
        })?;
        Ok(changes)
    }

    /// The container's own tree as an archive, without what is mounted into it.
    pub fn export(&self, name: &str, out: &mut (dyn Write + Send)) -> Result<()> {
        let container = self.find(name)?;
        self.images().export(layer(&container)?, out)?;
        self.emit_container(&container, "export", &[]);
        Ok(())
    }

    pub fn stat_path(&self, name: &str, path: &Path) -> Result<PathStat> {
        let container = self.find(name)?;
        let target = Target::new(&container, path)?;
        self.in_root(&container, Access::ReadOnly, |root| target.stat(&root))
    }

    /// The file or tree at `path` as an archive. `told` gets what it is before the first byte is written.
    pub fn get_archive(
        &self,
        name: &str,
        path: &Path,
        told: &mut (dyn FnMut(&PathStat) + Send),
        out: &mut (dyn Write + Send),
    ) -> Result<()> {
        let container = self.find(name)?;
        let target = Target::new(&container, path)?;
        self.in_root(&container, Access::ReadOnly, |root| {
            let stat = target.stat(&root)?;
            told(&stat);
            let top = if stat.name == "/" { Path::new("") } else { Path::new(&stat.name) };
            // An entry named `.` for a directory's content.
            diff::pack_path(&root, &target.itself(), top, None, &mut *out)?;
            out.flush().map_err(Error::io("send", path))
        })?;
        self.emit_container(&container, "archive-path", &[]);
        Ok(())
    }

    /// Unpacks `archive` (tar, compressed or not) below the directory at `path`.
    pub fn put_archive(
        &self,
        name: &str,
        path: &Path,
        options: PutOptions,
        archive: &mut (dyn Read + Send),
    ) -> Result<()> {
        let container = self.find(name)?;
        let target = Target::new(&container, path)?;
        let user = container.config.user.clone().filter(|user| options.copy_uid_gid && !user.is_empty());
        let mounts = binds(&container)?;
        // Deep ones come last.
        match mounts.iter().rfind(|point| target.path.starts_with(&point.destination)) {
            Some(point) if point.read_only => {
                return Err(Error::Forbidden("mounted volume is marked read-only".to_owned()));
            }
            None if container.host_config.readonly_rootfs.unwrap_or_default() => {
                return Err(Error::Forbidden("container rootfs is marked read-only".to_owned()));
            }
            _ => {}
        }
        let mut options = FilesOptions {
            keep_kinds: options.no_overwrite_dir_non_dir,
            owner: None,
            in_user_namespace: self.host().user.in_user_namespace,
        };
        self.in_root(&container, Access::ReadWrite, |root| {
            let found = root.stat(&target.path).map_err(|error| target.missing(error))?;
            if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
                return Err(Error::InvalidArgument("extraction point is not a directory".to_owned()));
            }
            options.owner = user.map(|user| owner(&root, &user)).transpose()?;
            let archive = berth_image::decompress(archive).map_err(Error::io("read the archive for", path))?;
            diff::unpack_files(archive, root, &target.path, options).map_err(|error| match error {
                // What was sent is not what it says it is.
                berth_fs_drivers::Error::InvalidArgument(_) => Error::InvalidArgument(error.to_string()),
                berth_fs_drivers::Error::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                    Error::InvalidArgument(source.to_string())
                }
                other => other.into(),
            })?;
            Ok(())
        })?;
        self.emit_container(&container, "extract-to-dir", &[]);
        Ok(())
    }

    /// Calls `f` with the container's root, with everything that is mounted into it.
    fn in_root<T: Send>(
        &self,
        container: &Container,
        access: Access,
        f: impl FnOnce(RootDir) -> Result<T> + Send,
    ) -> Result<T> {
        let state = self.state(container)?;
        if matches!(state.status, Status::Running | Status::Paused) {
            return f(root_of(&state)?);
        }
        let mounts = self.rootfs(container, access)?;
        let binds = binds(container)?;
        if binds.is_empty() {
            return with_mounted(&mounts, |path| f(open_root(path)?))?;
        }
        let mut glimpses = Vec::new();
        let found = binds.iter().try_for_each(|point| {
            glimpses.push(match &point.kind {
                Kind::Volume(volume) => self.glimpse(volume)?,
                Kind::Bind(bind) => Some(Glimpse::Path(bind.source.clone())),
                Kind::Tmpfs(_) => None,
            });
            Ok(())
        });
        let done = found.and_then(|()| {
            in_private_namespace(|| {
                make_rprivate("/").map_err(|error| Error::io("make mounts private below", "/")(error.into()))?;
                with_mounted(&mounts, |path| {
                    let root = open_root(path)?;
                    for (point, glimpse) in binds.iter().zip(&glimpses) {
                        if let Some(glimpse) = glimpse {
                            mount_into(&root, point, glimpse)?;
                        }
                    }
                    // Opened again: the mounts lie below the old one as well, but not over its top.
                    f(root)
                })?
            })?
        });
        for glimpse in glimpses.iter().flatten() {
            self.end_glimpse(glimpse);
        }
        done
    }
}

/// The host's folders and files and the volumes that the container sees, shallow ones first.
fn binds(container: &Container) -> Result<Vec<Point>> {
    let mut points = container.points()?;
    points.retain(|point| !matches!(point.kind, Kind::Tmpfs(_)));
    points.sort_by_key(|point| point.destination.components().count());
    Ok(points)
}

/// The container's user, by the container's own tables.
fn owner(root: &RootDir, user: &str) -> Result<(u32, u32)> {
    let read = |path: &str| read_table(root, path).unwrap_or_default();
    let found = crate::user::resolve(user, &[], &read("/etc/passwd"), &read("/etc/group"))?;
    Ok((found.uid, found.gid))
}

fn layer(container: &Container) -> Result<i64> {
    container.layer.ok_or_else(|| Error::Internal(format!("container {} has no layer; remove it", container.id)))
}

fn open_root(path: &Path) -> Result<RootDir> {
    RootDir::open(path).map_err(Error::io("open", path))
}

/// The root that the container's first process sees.
fn root_of(state: &State) -> Result<RootDir> {
    let gone = |_| Error::Conflict("the container ended in this moment; try again".to_owned());
    let start = state.sandbox.as_ref().map(|sandbox| sandbox.start_time);
    let process = Process::open(state.pid, start).map_err(gone)?;
    let root = RootDir::open(Path::new(&format!("/proc/{}/root", state.pid))).map_err(gone)?;
    // The number may have gone to another process before its root was opened.
    if process.is_alive() { Ok(root) } else { Err(gone(io::ErrorKind::NotFound.into())) }
}

/// Binds a folder or file of the host, or a volume, over its place in the root. A place that is not there is passed over.
fn mount_into(root: &RootDir, point: &Point, glimpse: &Glimpse) -> Result<()> {
    use std::os::fd::AsRawFd;
    let destination = &point.destination;
    let subpath = match &point.kind {
        Kind::Volume(volume) => volume.subpath.as_deref(),
        _ => None,
    };
    let perform = |fstype: &str, source: &Path, options: &[String]| -> io::Result<()> {
        // Found anew for each step: a descriptor names what lies below what is mounted over it.
        let place = root.open_at(destination, OFlags::PATH, Mode::empty())?;
        let target = format!("/proc/self/fd/{}", place.as_raw_fd());
        let mount = Mount {
            fstype: fstype.to_owned(),
            source: source.to_owned(),
            target: target.clone().into(),
            options: options.to_vec(),
            base: None,
        };
        Ok(Prepared::new(&mount)?.perform(&std::ffi::CString::new(target)?)?)
    };
    if !matches!(root.exists(destination), Ok(true)) {
        return Ok(());
    }
    let bind = |path: &Path| match subpath {
        None => perform("bind", path, &["rbind".to_owned()]),
        Some(subpath) => {
            let found = open_subpath(path, subpath).map_err(io::Error::other)?;
            perform("bind", Path::new(&format!("/proc/self/fd/{}", found.as_raw_fd())), &["rbind".to_owned()])
        }
    };
    let mounted = match glimpse {
        Glimpse::Path(path) | Glimpse::Plugin { path, .. } => bind(path),
        Glimpse::FileSystem(mount) => {
            perform(&mount.fstype, &mount.source, &mount.options).and_then(|()| match subpath {
                // What is mounted is over its own place: the part of it goes there too.
                Some(_) => {
                    let whole = root.open_at(destination, OFlags::PATH, Mode::empty())?;
                    bind(Path::new(&format!("/proc/self/fd/{}", whole.as_raw_fd())))
                }
                None => Ok(()),
            })
        }
    };
    let read_only = ["bind", "remount", "ro"].map(str::to_owned);
    mounted
        .and_then(|()| if point.read_only { perform("none", Path::new("none"), &read_only) } else { Ok(()) })
        .map_err(Error::io("bind into the container", destination))
}

/// A path that a client named.
struct Target {
    container: String,
    /// Absolute. A `/` or `/.` at its end is kept: it means what a link leads to.
    path: PathBuf,
    given: PathBuf,
}

impl Target {
    fn new(container: &Container, given: &Path) -> Result<Self> {
        let bytes = given.as_os_str().as_bytes();
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(Error::InvalidArgument(format!("invalid path {:?}", given.display().to_string())));
        }
        let path = Path::new("/").join(given);
        Ok(Self { container: container.id.clone(), path, given: given.to_owned() })
    }

    /// What is behind a link counts if the path ends in `/` or `/.`.
    fn follows(&self) -> bool {
        let bytes = self.path.as_os_str().as_bytes();
        bytes.ends_with(b"/") || bytes.ends_with(b"/.")
    }

    /// The path of what [`Target::stat`] tells of: a last component that is a link is not followed for a `/` alone.
    fn itself(&self) -> PathBuf {
        if self.follows() { self.path.join(".") } else { self.path.clone() }
    }

    /// As Go's `filepath.Base`.
    fn name(&self) -> String {
        let bytes = self.path.as_os_str().as_bytes();
        let end = bytes.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
        match bytes[..end].rsplit(|&byte| byte == b'/').next() {
            None | Some(b"") => "/".to_owned(),
            Some(name) => String::from_utf8_lossy(name).into_owned(),
        }
    }

    fn stat(&self, root: &RootDir) -> Result<PathStat> {
        let found = if self.follows() { root.stat(&self.path) } else { root.stat_no_follow(&self.path) };
        let found = found.map_err(|error| self.missing(error))?;
        let kind = FileType::from_raw_mode(found.st_mode);
        if self.follows() && kind != FileType::Directory {
            return Err(self.missing(io::Error::from_raw_os_error(rustix::io::Errno::NOTDIR.raw_os_error())));
        }
        let link_target =
            if kind == FileType::Symlink { resolved(root, &self.path).display().to_string() } else { String::new() };
        #[allow(clippy::unnecessary_cast, reason = "the fields' types differ between architectures")]
        let seconds = i128::from(found.st_mtime as i64) * 1_000_000_000 + i128::from(found.st_mtime_nsec as i64);
        let mtime = jiff::Timestamp::from_nanosecond(seconds).unwrap_or_default();
        Ok(PathStat {
            name: self.name(),
            size: u64::try_from(found.st_size).unwrap_or_default(),
            mode: go_mode(found.st_mode),
            mtime: mtime.to_string(),
            link_target,
        })
    }

    fn missing(&self, error: io::Error) -> Error {
        match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Error::NotFound(format!(
                "Could not find the file {} in container {}",
                self.given.display(),
                self.container
            )),
            _ => Error::Io { action: "look at", path: self.given.clone(), source: error },
        }
    }
}

/// Where the links at `path` lead to inside the root, however far they hold.
fn resolved(root: &RootDir, path: &Path) -> PathBuf {
    const MOST: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST {
        let Ok(target) = root.read_link(&path) else { break };
        let folder = path.parent().unwrap_or(Path::new("/"));
        path = normal(&folder.join(target));
    }
    path
}

/// Without `.`, `..` and doubled slashes, as text.
fn normal(path: &Path) -> PathBuf {
    let mut parts: Vec<&OsStr> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => parts.push(name),
            std::path::Component::ParentDir => drop(parts.pop()),
            _ => {}
        }
    }
    Path::new("/").join(parts.iter().collect::<PathBuf>())
}

/// Go's `os.FileMode`: the type in the high bits, as `io/fs` numbers them.
#[allow(clippy::unnecessary_cast, reason = "the mode's type differs between architectures")]
fn go_mode(mode: rustix::fs::RawMode) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => 1 << 31,
        FileType::Symlink => 1 << 27,
        FileType::BlockDevice => 1 << 26,
        FileType::Fifo => 1 << 25,
        FileType::Socket => 1 << 24,
        FileType::CharacterDevice => 1 << 26 | 1 << 21,
        _ => 0,
    };
    let mode = mode as u32;
    let bits = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    bits.iter().filter(|(bit, _)| mode & bit != 0).fold(kind | mode & 0o777, |sum, (_, go)| sum | go)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o040755), 1 << 31 | 0o755);
        assert_eq!(go_mode(0o104755), 1 << 23 | 0o755);
        assert_eq!(go_mode(0o041777), 1 << 31 | 1 << 20 | 0o777);
        assert_eq!(go_mode(0o020620), 1 << 26 | 1 << 21 | 0o620);
        assert_eq!(go_mode(0o120777), 1 << 27 | 0o777);
    }

    #[test]
    fn paths_are_normal_and_stay_below_the_root() {
        for (path, expected) in [("/a/../../b", "/b"), ("/a/./b//c", "/a/b/c"), ("..", "/"), ("/", "/")] {
            assert_eq!(normal(Path::new(path)), Path::new(expected), "{path}");
        }
    }
}
