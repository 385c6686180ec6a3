//! Telling a container's changes from the places that were made in its layer to mount something on. Docker has those
//! in a layer of their own between image and container.

use std::io;
use std::path::{Path, PathBuf};

use berth_fs_drivers::{Change, ChangeKind};

/// Directories that the kernel's file systems are mounted on, and that of the files.
const DIRECTORIES: &[&str] = &["dev", "etc", "proc", "sys"];
const FILES: &[&str] = &["etc/hostname", "etc/hosts", "etc/resolv.conf"];

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
