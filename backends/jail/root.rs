//! Makes and undoes the mounts of a jail.
//!
//! FreeBSD mounts by name. A name inside a container's root is never given to it: the directory is opened inside the root,
//! entered, and what is mounted on is `.`, or a file in it that is none but a plain one.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use berth_arch::mount::{Mounted, mount_in, mounted};
use berth_arch::root_dir::RootDir;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::devices;
use super::mounts::{Mount, Mounts, RDONLY};
use super::refuse::cannot;
use crate::Result;
use crate::error::setup;

/// Makes all mounts below `root`, an empty directory without links in its path. Not atomic: [`unmount_all`] undoes.
pub(super) fn mount_all(root: &Path, mounts: &Mounts, warnings: &mut Vec<String>) -> Result<()> {
    if mounts.root_is_read_only() {
        // Places that are missing are made while the root can be written to, if it can.
        for mount in &mounts.root {
            perform(root, &Mount { flags: mount.flags & !RDONLY, ..mount.clone() })?;
        }
        let dir = open(root)?;
        for mount in mounts.inside.iter().filter(|mount| !mount.if_present) {
            let _ = place(&dir, mount);
        }
        drop(dir);
        unmount_all(root)?;
    }
    for mount in &mounts.root {
        let over_root = mount.target.as_os_str().is_empty();
        let read_only = if over_root && mounts.read_only { RDONLY } else { 0 };
        perform(root, &Mount { flags: mount.flags | read_only, ..mount.clone() })?;
    }
    for mount in &mounts.inside {
        perform(root, mount)?;
        let others = mounted().map_err(setup("list the mounts"))?;
        let below = |other: &&Mounted| other.on.starts_with(&mount.source) && other.on != mount.source;
        if mount.kind == "nullfs"
            && !mount.source.as_os_str().is_empty()
            && let Some(hidden) = others.iter().filter(|other| !other.on.starts_with(root)).find(below)
        {
            warnings.push(format!(
                "mount /{}: nullfs shows one file system, so what is mounted on {} is not seen there",
                mount.target.display(),
                hidden.on.display()
            ));
        }
    }
    Ok(())
}

/// Idempotent. Its processes are gone, or it never had any.
pub(super) fn unmount_all(root: &Path) -> Result<()> {
    berth_arch::mount::unmount_all(root).map_err(setup(format!("unmount what is below {}", root.display())))
}

fn open(root: &Path) -> Result<RootDir> {
    RootDir::open(root).map_err(setup(format!("open {}", root.display())))
}

/// Where to mount: a directory, or a file's directory and its name.
struct Place {
    directory: OwnedFd,
    file: Option<std::ffi::OsString>,
}

fn perform(root: &Path, mount: &Mount) -> Result<()> {
    let step = || format!("mount {} on /{}", mount.kind, mount.target.display());
    let dir = open(root)?;
    if mount.if_present {
        match dir.stat(&mount.target) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
            Ok(_) => {
                let option = format!("hiding or protecting the file /{}", mount.target.display());
                return Err(cannot(
                    &option,
                    "directories alone can be covered",
                    "run it with --security-opt systempaths=unconfined",
                ));
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => return Ok(()),
            Err(error) => return Err(setup(step())(error)),
        }
    }
    let place = place(&dir, mount).map_err(setup(step()))?;
    let name = place.file.as_deref().unwrap_or(OsStr::new("."));
    mount_in(&place.directory, name, mount.kind, mount.source.as_os_str(), mount.flags, &mount.options)
        .map_err(setup(step()))?;
    if mount.devices.is_empty() {
        return Ok(());
    }
    let mounts = mounted().map_err(setup("list the mounts"))?;
    let devfs = mounts.iter().rfind(|mounted| mounted.kind == "devfs" && mounted.on.starts_with(root));
    let devfs = devfs.ok_or_else(|| setup(step())(io::Error::from(Errno::NOENT)))?;
    devices::show(&devfs.on, &mount.devices)
}

/// Opens what is mounted on inside the root, and makes it if it is not there.
fn place(root: &RootDir, mount: &Mount) -> io::Result<Place> {
    let mode = Mode::from_raw_mode(0o755);
    let of_file = mount.kind == "nullfs" && mount.source.is_absolute() && std::fs::metadata(&mount.source)?.is_file();
    if !of_file {
        return Ok(Place { directory: root.create_dir_all(&mount.target, mode)?, file: None });
    }
    let parent = mount.target.parent().unwrap_or(Path::new(""));
    let directory = root.create_dir_all(parent, mode)?;
    let name = mount.target.file_name().ok_or(Errno::INVAL)?.to_owned();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(&directory, &name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    // The kernel would follow a link of that name. Nothing of this container runs yet that could make one after this look; a
    // volume that another one writes to is no place for a file.
    let stat = rustix::fs::statat(&directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::LOOP.into());
    }
    Ok(Place { directory, file: Some(name) })
}
