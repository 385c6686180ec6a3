//! The places that every container mounts something on. Docker has them in a layer of each container's own; here one
//! layer below all images has them, so that those that an image lacks are not made in each container's layer.
//!
//! With a driver whose layers are whole trees there is no such layer; there, and where an image hides one, the backend makes them at the
//! start: [`MountPoints`] tells a container's changes from these.

use std::io;
use std::path::{Path, PathBuf};

use berth_arch::root_dir::RootDir;
use berth_fs_drivers::{Access, Change, ChangeKind, LayerId, LayerOptions, Whiteouts, mount};
use berth_store::Lock;
use rustix::fs::{AtFlags, Mode, OFlags};

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
    /// The lowest layer of every container, made by whoever needs it first. `None` with drivers that would not show it.
    pub(super) fn mount_points(&self) -> Result<Option<LayerId>> {
        if self.driver.whiteouts() == Whiteouts::Apply {
            return Ok(None);
        }
        let id: LayerId = LAYER.parse()?;
        if !self.has_mount_points(&id) {
            let _lock = Lock::acquire(&self.store.paths().locks(), &format!("{LOCK_PREFIX}{id}"))?;
            if !self.has_mount_points(&id) {
                self.make_mount_points(&id)?;
            }
        }
        Ok(Some(id))
    }

    fn has_mount_points(&self, id: &LayerId) -> bool {
        self.driver.directory(id).is_ok_and(|directory| directory.is_some_and(|path| path.join(LAST).exists()))
    }

    fn make_mount_points(&self, id: &LayerId) -> Result<()> {
        self.prepare_fresh(id, &[], &LayerOptions::default())?;
        let root = mount::open_contents(&*self.driver, id, &[], Access::ReadWrite)?;
        fill(&root).map_err(|source| Error::Io { action: "fill", path: LAYER.into(), source })?;
        Ok(self.driver.commit(id)?)
    }
}

fn fill(root: &RootDir) -> io::Result<()> {
    for name in DIRECTORIES {
        rustix::fs::mkdirat(root, *name, Mode::RWXU)?;
        rustix::fs::chmodat(root, *name, Mode::from_raw_mode(0o755), AtFlags::empty())?;
    }
    for name in FILES {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(root, *name, flags, Mode::RUSR)?;
        rustix::fs::fchmod(file, Mode::from_raw_mode(0o644))?;
    }
    Ok(())
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
