//! The places that every container mounts something on. Docker has them in a layer of each container's own; here one
//! layer below all images has them, so that those that an image lacks are not made in each container's layer.
//!
//! With a driver that shows the nearest parent alone (vfs), and where an image hides one, the backend makes them at the
//! start: [`MountPoints`] tells a container's changes from these.

use std::fs;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use berth_fs_drivers::{Change, ChangeKind, LayerId, LayerOptions};
use berth_store::Lock;

use super::graph::LOCK_PREFIX;
use crate::{Error, ImageStore, Result};

/// Directories that the kernel's file systems are mounted on, and that of the files.
const DIRECTORIES: &[&str] = &["dev", "etc", "proc", "sys"];
const FILES: &[&str] = &["etc/hostname", "etc/hosts", "etc/resolv.conf"];
/// What is made last: all is there if this is.
const LAST: &str = "etc/resolv.conf";

/// No number in base 36, as the names of layers with a record are.
const LAYER: &str = "mount-points";

impl ImageStore {
    /// The lowest layer of every container, made by whoever needs it first.
    pub(super) fn mount_points(&self) -> Result<LayerId> {
        let id: LayerId = LAYER.parse()?;
        if !self.has_mount_points(&id) {
            let _lock = Lock::acquire(&self.store.paths().locks(), &format!("{LOCK_PREFIX}{id}"))?;
            if !self.has_mount_points(&id) {
                self.make_mount_points(&id)?;
            }
        }
        Ok(id)
    }

    fn has_mount_points(&self, id: &LayerId) -> bool {
        self.driver.unpack_target(id).is_ok_and(|target| target.directory.join(LAST).exists())
    }

    fn make_mount_points(&self, id: &LayerId) -> Result<()> {
        self.prepare_fresh(id, &[], &LayerOptions::default())?;
        let root = self.driver.unpack_target(id)?.directory;
        let create = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { action: "create", path, source }
        };
        for path in DIRECTORIES.iter().map(|name| root.join(name)) {
            let mode = fs::Permissions::from_mode(0o755);
            fs::create_dir(&path).and_then(|()| fs::set_permissions(&path, mode)).map_err(create(&path))?;
        }
        for path in FILES.iter().map(|name| root.join(name)) {
            let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
            file.and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o644))).map_err(create(&path))?;
        }
        Ok(self.driver.commit(id)?)
    }
}

type Visit<'a> = &'a mut dyn FnMut(Change<'_>) -> io::Result<()>;

/// Takes changes, parents before children and sorted by name, and passes on those that are the container's own.
#[derive(Default)]
pub(super) struct MountPoints {
    /// One of [`DIRECTORIES`], until something else is found in it, or its end.
    held: Option<(PathBuf, ChangeKind)>,
    /// Whether a file in it is why it is a change at all.
    explained: bool,
}

impl MountPoints {
    pub(super) fn pass(&mut self, change: Change<'_>, visit: Visit<'_>) -> io::Result<()> {
        let is = |list: &[&str]| list.iter().any(|name| Path::new(name) == change.path);
        if change.kind == ChangeKind::Added && is(FILES) {
            self.explained = true;
            return Ok(());
        }
        match &self.held {
            // The first change of its own inside.
            Some((directory, kind)) if change.path.starts_with(directory) => {
                visit(Change { path: directory, kind: *kind })?;
                self.held = None;
            }
            _ => self.end(visit)?,
        }
        if change.kind != ChangeKind::Deleted && is(DIRECTORIES) {
            self.held = Some((change.path.to_owned(), change.kind));
            self.explained = change.kind == ChangeKind::Added;
            return Ok(());
        }
        visit(change)
    }

    /// After the last change, and when a directory's changes are over.
    pub(super) fn end(&mut self, visit: Visit<'_>) -> io::Result<()> {
        match self.held.take() {
            Some((path, kind)) if !self.explained => visit(Change { path: &path, kind }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ChangeKind::{Added, Deleted, Modified};

    fn kept(changes: &[(&str, ChangeKind)]) -> Vec<String> {
        let mut list = Vec::new();
        let mut visit = |change: Change<'_>| {
            list.push(change.path.display().to_string());
            Ok(())
        };
        let mut points = MountPoints::default();
        for (path, kind) in changes {
            points.pass(Change { path: Path::new(path), kind: *kind }, &mut visit).unwrap();
        }
        points.end(&mut visit).unwrap();
        list
    }

    #[test]
    fn what_was_made_to_mount_on_is_no_change() {
        let fresh = [
            ("dev", Added),
            ("etc", Added),
            ("etc/hostname", Added),
            ("etc/hosts", Added),
            ("etc/resolv.conf", Added),
            ("proc", Added),
            ("sys", Added),
        ];
        assert!(kept(&fresh).is_empty());
        assert!(kept(&[("etc", Modified), ("etc/hosts", Added)]).is_empty());
    }

    #[test]
    fn what_the_container_did_beside_it_is_kept() {
        let changes = [
            ("etc", Modified),
            ("etc/a", Added),
            ("etc/hosts", Added),
            ("proc", Added),
            ("proc/x", Added),
            ("s", Added),
        ];
        assert_eq!(kept(&changes), ["etc", "etc/a", "proc", "proc/x", "s"]);
        assert_eq!(kept(&[("etc", Modified), ("etc/hosts", Added), ("etc/z", Deleted)]), ["etc", "etc/z"]);
        // A change of the directory itself, or of a file that the image has.
        assert_eq!(kept(&[("etc", Modified), ("usr", Modified)]), ["etc", "usr"]);
        assert_eq!(kept(&[("etc", Modified), ("etc/hosts", Modified)]), ["etc", "etc/hosts"]);
    }
}
