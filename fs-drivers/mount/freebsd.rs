//! Mounts in a folder that its owner alone enters: FreeBSD's mounts are all in one place, so they are taken off at the end.
//! What a crash leaves is found there by the next one.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use berth_arch::mount::{Mount, RDONLY, mount_in, mounted, unmount_all};

use super::{place, plain};
use crate::error::At;
use crate::{Error, Result};

/// Shows `mounts` below an empty directory and calls `f` with it. The path is good until it returns. A single bind mount is
/// shown by its own path, without any right to mount.
pub fn with_mounted<T: Send>(mounts: &[Mount], f: impl FnOnce(&Path) -> T + Send) -> Result<T> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    if let Some(directory) = plain(mounts) {
        return Ok(f(&directory));
    }
    let place = place(mounts.first().and_then(|mount| mount.base.as_deref()))?;
    // The kernel knows mounts by names without links.
    let place = std::fs::canonicalize(&place).at("find", &place)?;
    sweep(&place)?;
    let root = place.join(format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    std::fs::DirBuilder::new().mode(0o700).create(&root).at("create", &root)?;
    let value = mounts.iter().try_for_each(|mount| perform(mount, &root)).map(|()| f(&root));
    unmount_all(&root).at("unmount", &root)?;
    std::fs::remove_dir(&root).at("remove", &root)?;
    value
}

/// What processes that are gone have left.
fn sweep(place: &Path) -> Result<()> {
    for entry in std::fs::read_dir(place).at("read", place)?.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split_once('-')?.0.parse::<i32>().ok());
        if owner.is_some_and(|pid| berth_arch::process::Stat::read(pid).is_err()) {
            unmount_all(&entry.path()).at("unmount", entry.path())?;
            let _ = std::fs::remove_dir(entry.path());
        }
    }
    Ok(())
}

fn perform(mount: &Mount, root: &Path) -> Result<()> {
    let has = |word: &str| mount.options.iter().flat_map(|option| option.split(',')).any(|known| known == word);
    if has("remount") {
        // It would make read-only what is looked at here alone.
        return Ok(());
    }
    // A dataset is mounted once: where it is already, that is what is looked at.
    let elsewhere = match mount.fstype.as_str() {
        "zfs" => mounted()
            .at("list the mounts", root)?
            .into_iter()
            .find(|one| one.kind == "zfs" && *mount.source == *one.source),
        _ => None,
    };
    if let Some(elsewhere) = elsewhere {
        let source = elsewhere.on.as_os_str();
        return mount_in(rustix::fs::CWD, root.as_os_str(), "nullfs", source, 0, &[]).at("mount", root);
    }
    let kind = match mount.fstype.as_str() {
        "bind" | "nullfs" => "nullfs",
        "zfs" => "zfs",
        other => return Err(Error::Unsupported(format!("mount {other}: that file system is not FreeBSD's"))),
    };
    let source = match (&mount.base, kind) {
        (Some(base), "nullfs") => base.join(&mount.source),
        _ => mount.source.clone(),
    };
    let flags = if has("ro") { RDONLY } else { 0 };
    mount_in(rustix::fs::CWD, root.as_os_str(), kind, source.as_os_str(), flags, &[]).at("mount", root)
}
