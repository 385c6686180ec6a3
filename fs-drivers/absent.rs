//! Drivers that stand on what Linux alone has: their names are known everywhere, and say why they do not work here.

use std::path::Path;

use berth_arch::Probe;

use crate::{Driver, Entry, Error, Result};

const REASON: &str = "it is Linux's, and this is FreeBSD";
const HINT: &str = "use the storage driver zfs or vfs";

const fn entry(name: &'static str) -> Entry {
    Entry { name, probe, unasked: probe, open, options: None, caution: None }
}

pub(crate) const OVERLAY: Entry = entry("overlay");
pub(crate) const BTRFS: Entry = entry("btrfs");
pub(crate) const AUFS: Entry = entry("aufs");
pub(crate) const LVM: Entry = entry("lvm");
pub(crate) const FUSE: Entry = entry("fuse");

fn probe(_root: &Path) -> Probe<Vec<String>> {
    Probe::unavailable(REASON, HINT)
}

fn open(_root: &Path) -> Result<Box<dyn Driver>> {
    Err(Error::Unavailable(format!("storage driver: {REASON} ({HINT})")))
}
