//! Mounts in a mount namespace of one thread: nothing of them is seen outside, and nothing is left when the thread ends, however
//! it ends.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use berth_arch::mount::{Mount, Prepared, make_rprivate, umount_detach};
use rustix::mount::MountFlags;

use super::{in_private_namespace, place, plain};
use crate::error::At;
use crate::fuse::{Activation, Starting};
use crate::lvm::{self, Held};
use crate::{Error, Result};

/// Shows `mounts` below an empty directory and calls `f` with it. The path is good in the thread that `f` runs in
/// and in threads that it starts, and only until it returns. A single bind mount is shown by its own path, without
/// any right to mount.
pub fn with_mounted<T: Send>(mounts: &[Mount], f: impl FnOnce(&Path) -> T + Send) -> Result<T> {
    if let Some(directory) = plain(mounts) {
        return Ok(f(&directory));
    }
    let base = mounts.first().and_then(|mount| mount.base.as_deref());
    let place = place(base)?;
    // Outside of the namespace: threads that serve a mount would keep it.
    let Active { mounts, servers, devices } = activate(mounts)?;
    in_private_namespace(move || {
        make_rprivate("/").at("make mounts private below", "/")?;
        let root = empty_directory(&place)?;
        for mount in &mounts {
            perform(mount, &below(&root, &mount.target))?;
        }
        servers.into_iter().for_each(Starting::mounted);
        let value = f(&root);
        if !devices.is_empty() {
            // Now, and not a moment after the thread's end: its file system is written out and closed when this returns.
            let _ = umount_detach(&root);
        }
        Ok(value)
    })?
}

/// Makes a mount that needs nothing more.
pub fn perform(mount: &Mount, target: &Path) -> Result<()> {
    let name = CString::new(target.as_os_str().as_bytes())
        .map_err(|_| Error::InvalidArgument(format!("mount target {}", target.display())))?;
    Prepared::new(mount).and_then(|ready| Ok(ready.perform(&name)?)).at("mount", target)
}

/// What the kernel can mount, who serves it where that is us, and devices that are there as long as somebody has them.
#[derive(Default)]
struct Active {
    mounts: Vec<Mount>,
    servers: Vec<Starting>,
    devices: Vec<Held>,
}

fn activate(mounts: &[Mount]) -> Result<Active> {
    let mut active = Active::default();
    for mount in mounts {
        if let Some(activation) = Activation::of(mount)? {
            let (mount, starting) = activation.in_threads()?;
            active.mounts.push(mount);
            active.servers.push(starting);
        } else if let Some((mount, device)) = lvm::activate(mount)? {
            active.mounts.push(mount);
            active.devices.push(device);
        } else {
            active.mounts.push(mount.clone());
        }
    }
    Ok(active)
}

fn below(root: &Path, target: &Path) -> PathBuf {
    match target.strip_prefix("/").unwrap_or(target) {
        rest if rest.as_os_str().is_empty() => root.to_path_buf(),
        rest => root.join(rest),
    }
}

/// Inside the namespace: a fresh directory on a tmpfs over `place`. A thread that already runs in such a namespace
/// finds the tmpfs there and leaves it, as its own paths are on it.
fn empty_directory(place: &Path) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let above = place.parent().unwrap_or(Path::new("/"));
    let device = |path: &Path| Ok::<_, Error>(std::fs::symlink_metadata(path).at("look at", path)?.dev());
    if device(place)? == device(above)? {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        rustix::mount::mount("tmpfs", place, "tmpfs", flags, Some(c"mode=0700")).at("mount tmpfs on", place)?;
    }
    let root = place.join(COUNT.fetch_add(1, Ordering::Relaxed).to_string());
    std::fs::DirBuilder::new().mode(0o700).create(&root).at("create", &root)?;
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As AUFS's branches past a page are.
    #[test]
    fn a_second_mount_of_the_same_place_can_be_a_remount_of_the_first() {
        let mount = |options: &[&str]| Mount {
            fstype: "tmpfs".to_owned(),
            source: "tmpfs".into(),
            target: "/".into(),
            options: options.iter().map(|&word| word.to_owned()).collect(),
            base: Some(std::env::temp_dir()),
        };
        let mounts = [mount(&["size=64k"]), mount(&["ro,remount,size=128k"])];
        let answer = with_mounted(&mounts, |root| {
            let found = rustix::fs::statvfs(root).unwrap();
            (found.f_blocks * found.f_frsize, std::fs::write(root.join("file"), "x").is_err())
        });
        match answer {
            Ok(answer) => assert_eq!(answer, (128 << 10, true)),
            Err(error) => eprintln!("skipped: {error}"),
        }
    }
}
