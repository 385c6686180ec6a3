//! The root's mounts, made by this process for a program that makes the container from there: in a mount namespace of this
//! process's own, so that they are seen by it and by what it starts, and end with it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use berth_arch::mount::{Mount, Prepared, part_with_mounts, umount_detach};
use oci_spec::runtime::Spec;
use rustix::fs::{Mode, OFlags};

use crate::namespace::setup;
use crate::{Bundle, Error, Result};

/// A root. The mounts are taken off when it is dropped, which does not touch the copies of a container that was made from it.
pub(crate) struct Assembled {
    root: PathBuf,
    made: Vec<PathBuf>,
}

impl Assembled {
    /// As [`Assembled::new`]; a root that is a folder as it is becomes a mount too.
    pub(crate) fn mounted(bundle: &Bundle) -> Result<Self> {
        if !bundle.rootfs.is_empty() {
            return Self::new(bundle);
        }
        Self::new(&Bundle { rootfs: vec![root_of(&bundle.spec)?], ..bundle.clone() })
    }

    /// The calling process has one thread. On an error nothing is left but its mount namespace.
    pub(crate) fn new(bundle: &Bundle) -> Result<Self> {
        if bundle.rootfs.is_empty() {
            return Ok(Self { root: root_of(&bundle.spec)?.source, made: Vec::new() });
        }
        part_with_mounts().map_err(setup("make a mount namespace for the root"))?;
        let mut assembled = Self { root: bundle.mount_point.clone(), made: Vec::new() };
        let lent = bundle.lent.take();
        // Mounts enter the folder that their options are relative to.
        let here = rustix::fs::open(c".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let here = here.map_err(setup("open the working directory"))?;
        let added = bundle.rootfs.iter().try_for_each(|mount| assembled.add(mount));
        rustix::process::fchdir(&here).map_err(setup("return to the working directory"))?;
        drop(lent);
        added.map(|()| assembled)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.root
    }

    fn add(&mut self, mount: &Mount) -> Result<()> {
        let inside = mount.target.strip_prefix("/").unwrap_or(&mount.target);
        if inside.components().any(|part| part == Component::ParentDir) {
            return Err(Error::InvalidArgument(format!("root mount target {}", mount.target.display())));
        }
        let target = if inside.as_os_str().is_empty() { self.root.clone() } else { self.root.join(inside) };
        let name = CString::new(target.as_os_str().as_bytes())
            .map_err(|_| Error::InvalidArgument(format!("root mount target {}", target.display())))?;
        let step = format!("mount the root ({}) at {}", mount.fstype, target.display());
        let prepared = Prepared::new(mount).map_err(setup(step.clone()))?;
        prepared.perform(&name).map_err(setup(step))?;
        self.made.push(target);
        Ok(())
    }
}

/// The folder that a specification names, as the mount that makes the root.
pub(crate) fn root_of(spec: &Spec) -> Result<Mount> {
    let root = spec.root().as_ref().ok_or_else(|| Error::InvalidArgument("specification: it has no root".into()))?;
    Ok(Mount {
        fstype: "bind".into(),
        source: root.path().clone(),
        target: "/".into(),
        options: vec!["rbind".into()],
        base: None,
    })
}

impl Drop for Assembled {
    fn drop(&mut self) {
        while let Some(target) = self.made.pop() {
            let _ = umount_detach(&target);
        }
    }
}
