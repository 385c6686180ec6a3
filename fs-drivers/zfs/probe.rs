//! Tries datasets for real: one made, a clone of its snapshot, both written to and destroyed, below the dataset that the state
//! folder is on.

use std::fs;
use std::io;
use std::path::Path;

use berth_arch::{Probe, pretend, program};
use rustix::fs::Mode;

use super::dataset::{self, Datasets};
use super::program::{destroy, zfs, zpool};
use super::{NAME, Zfs, system};
use crate::error::At;
use crate::ground::Scratch;
use crate::mount::with_mounted;
use crate::{Access, Driver, Error, LayerId, LayerOptions, Result, tree};

/// What every call of the program goes through.
const CONTROL: &str = "/dev/zfs";

pub(super) fn probe(root: &Path) -> Probe<Vec<String>> {
    if pretend::without(NAME) {
        return Probe::pretended(NAME);
    }
    if let Some((reason, hint)) = system::is_missing() {
        return Probe::unavailable(reason, hint);
    }
    // A dataset may be mounted where the layers are to be.
    let own = root.join(NAME);
    let root = if own.is_dir() { own.as_path() } else { root };
    let scratch = match Scratch::new(root) {
        Ok(scratch) => scratch,
        Err(error) => return Probe::unavailable(error.to_string(), "give a state folder that can be written"),
    };
    let parent = match parent(scratch.path(), root) {
        Ok(Ok(parent)) => parent,
        Ok(Err(refused)) => return refused,
        Err(error) => return Probe::unavailable(error.to_string(), ""),
    };
    if program::find("zfs").is_none() {
        return Probe::unavailable(
            "the program zfs is not installed",
            "install it (zfsutils-linux); it is looked for on the PATH and in /usr/sbin, /sbin and /usr/local/sbin",
        );
    }
    if let Err(error) = fs::metadata(CONTROL) {
        return Probe::unavailable(format!("{CONTROL}: {error}"), "give the container that berth is in this device");
    }
    match attempt(scratch.path()) {
        Ok(()) => Probe::available(found()),
        Err(error) => Probe::unavailable(error.to_string(), hint(&error, &parent)),
    }
}

/// The dataset that the state folder is on, or what is said where it is on none.
fn parent(scratch: &Path, root: &Path) -> Result<std::result::Result<String, Probe<Vec<String>>>> {
    let folder = rustix::fs::open(scratch, tree::DIRECTORY, Mode::empty()).at("open", scratch)?;
    if !dataset::is_zfs(&folder).at("look at", root)? {
        return Ok(Err(Probe::unavailable(
            format!("{} is not on ZFS", root.display()),
            "put the state folder on a dataset (--root), or mount one there: zfs create -o mountpoint=FOLDER POOL/NAME",
        )));
    }
    dataset::mounted_at(&folder, root).map(Ok)
}

fn hint(error: &Error, parent: &str) -> String {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.io_kind() {
        Some(PermissionDenied) => format!(
            "run as root, which mounts take in any case; in a container, delegate as well: zfs allow -u USER {} {parent} ({})",
            Datasets::rights(),
            delegated(parent)
        ),
        Some(ReadOnlyFilesystem) => format!("make the dataset writable: zfs set readonly=off {parent}"),
        Some(StorageFull | QuotaExceeded) => format!("make room in {parent}, or raise its quota"),
        _ => "look at zpool status, and the kernel's log".to_owned(),
    }
}

/// Who may do what there besides root, as `zfs allow` says it.
fn delegated(parent: &str) -> String {
    let text = zfs(&["allow", parent], None).unwrap_or_default();
    let names = ["user ", "group ", "everyone "];
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| names.iter().any(|name| line.starts_with(name))).collect();
    if lines.is_empty() { "nothing is delegated there now".to_owned() } else { format!("now: {}", lines.join("; ")) }
}

fn found() -> Vec<String> {
    let version = system::version().map(|version| format!("OpenZFS {version}"));
    std::iter::once("clones".to_owned()).chain(version).collect()
}

fn attempt(scratch: &Path) -> Result<()> {
    let driver = Zfs::open(scratch)?;
    let answer = try_clone(&driver, scratch);
    // Whatever was made of it; without the right to, nothing was.
    let _ = destroy(&driver.datasets.base, None);
    answer
}

fn try_clone(driver: &Zfs, scratch: &Path) -> Result<()> {
    let [upper, lower] = ["a", "b"].map(|name| name.parse::<LayerId>().expect("a layer name"));
    let parents = [lower];
    let [lower] = &parents;
    driver.prepare(lower, &[], &LayerOptions::default())?;
    let write = |root: &Path| fs::write(root.join("file"), "b");
    with_mounted(&driver.mounts(lower, &[], Access::ReadWrite)?, write)?.at("write to a dataset in", scratch)?;
    driver.commit(lower)?;
    driver.prepare(&upper, &parents, &LayerOptions { size: Some(64 << 20) })?;
    let change = |root: &Path| -> io::Result<()> {
        match fs::read(root.join("file"))?.as_slice() {
            b"b" => fs::write(root.join("file"), "a"),
            _ => Err(io::Error::other("a clone does not have what was written")),
        }
    };
    with_mounted(&driver.mounts(&upper, &parents, Access::ReadWrite)?, change)?.at("write to a clone in", scratch)?;
    driver.remove(&upper)
}

/// What Docker shows of its driver of that name.
pub(super) fn status(datasets: &Datasets) -> Vec<(&'static str, String)> {
    let mut lines = vec![("Zpool", datasets.pool().to_owned())];
    if let Ok(health) = zpool(&["list", "-H", "-o", "health", datasets.pool()]) {
        lines.push(("Zpool Health", health.trim().to_owned()));
    }
    lines.push(("Parent Dataset", datasets.parent.clone()));
    let properties = ["used", "available", "quota", "compression"];
    let shown = ["Space Used By Parent", "Space Available", "Parent Quota", "Compression"];
    if let Ok(text) = zfs(&["get", "-Hp", "-o", "value", &properties.join(","), &datasets.parent], None) {
        let value = |(name, value): (&'static str, &str)| match (name, value) {
            ("Parent Quota", "0") => (name, "no".to_owned()),
            (name, value) => (name, value.to_owned()),
        };
        lines.extend(shown.into_iter().zip(text.lines()).map(value));
    }
    lines
}
