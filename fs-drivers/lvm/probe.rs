//! Tries the driver itself in a scratch folder of the state: a layer, a snapshot of it, both read and removed, in the pool that the
//! layers will be in.

use std::fs;
use std::path::Path;

use berth_arch::{Probe, pretend};

use super::settings::{Settings, Source};
use super::{Lvm, NAME, filesystem, template};
use crate::error::At;
use crate::ground::Scratch;
use crate::mount::with_mounted;
use crate::{Access, Driver, Error, LayerId, LayerOptions, Result};

/// A thin pool in files is taken only by those who ask for it: it is for trying the driver out, and slow.
pub(super) fn unasked(root: &Path) -> Probe<Vec<String>> {
    if pretend::without(NAME) {
        return Probe::pretended(NAME);
    }
    match Settings::read(&root.join(NAME)) {
        Ok(Some(Settings { pool: Source::Named { .. }, .. })) => probe(root),
        Ok(_) => Probe::unavailable(
            "no thin pool is named",
            "name one in berth.toml: [storage-options], lvm.pool = \"VG/POOL\"; or try it in files, slowly: --storage-driver lvm",
        ),
        Err(error) => Probe::unavailable(error.to_string(), ""),
    }
}

pub(super) fn probe(root: &Path) -> Probe<Vec<String>> {
    if pretend::without(NAME) {
        return Probe::pretended(NAME);
    }
    match attempt(root) {
        Ok(found) => Probe::available(found),
        Err(error) => {
            let hint = hint(&error);
            Probe::unavailable(error.to_string(), hint)
        }
    }
}

fn hint(error: &Error) -> &'static str {
    match error {
        Error::Io { source, .. } => match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => "run as root on the host, with the state folder not mounted nodev",
            Some(libc::EINVAL) => "load the module dm-thin-pool, or use a kernel with CONFIG_DM_THIN_PROVISIONING",
            Some(libc::ENODEV) => "load the module of the file system (ext4, xfs)",
            Some(libc::ENOSPC) => "make room on the file system",
            _ => "",
        },
        _ => "",
    }
}

fn attempt(root: &Path) -> Result<Vec<String>> {
    let known = Settings::read(&root.join(NAME))?;
    known.as_ref().map_or(filesystem::FileSystem::Ext4, |known| known.filesystem).find_maker()?;
    let scratch = Scratch::new(root)?;
    let lvm = Lvm::open(scratch.path())?;
    let own = lvm.settings.clone();
    let trial = Settings { tag: own.tag, min_free: 0, ..known.unwrap_or(Settings::new()?) };
    let trial = Settings { size: trial.filesystem.smallest(), ..trial };
    trial.write(lvm.path())?;
    let lvm = Lvm { settings: trial, ..lvm };
    let tried = layers(&lvm);
    // Before the folder goes, and with it the record of what is in the pool.
    let removed = remove(&lvm);
    let found = tried?;
    removed?;
    Ok(found)
}

fn ids() -> [LayerId; 2] {
    ["a", "b"].map(|name| name.parse().expect("a layer name"))
}

fn layers(lvm: &Lvm) -> Result<Vec<String>> {
    let [upper, lower] = ids();
    let below = [lower.clone()];
    lvm.prepare(&lower, &[], &LayerOptions::default())?;
    with_mounted(&lvm.mounts(&lower, &[], Access::ReadWrite)?, |root| fs::write(root.join("file"), "b"))?
        .at("write to a layer in", lvm.path())?;
    lvm.commit(&lower)?;
    lvm.prepare(&upper, &below, &LayerOptions::default())?;
    let read = with_mounted(&lvm.mounts(&upper, &below, Access::ReadWrite)?, |root| fs::read(root.join("file")))?
        .at("read a layer in", lvm.path())?;
    if read != b"b" {
        return Err(Error::Unavailable("a snapshot of a layer is not what the layer was".to_owned()));
    }
    let pool = match &lvm.settings.pool {
        Source::Named { name, .. } => format!("thin pool {name}"),
        Source::Files => "thin pool in files: slow, for trying it out".to_owned(),
    };
    Ok(vec![pool, lvm.settings.filesystem.name().to_owned()])
}

fn remove(lvm: &Lvm) -> Result<()> {
    for id in ids() {
        lvm.remove(&id)?;
    }
    template::remove_all(lvm)
}
