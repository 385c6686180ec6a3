//! The storage drivers there are, and which one a state folder gets.

use std::os::fd::AsFd;
use std::path::Path;

use berth_arch::{Probe, pretend};

use crate::error::At;
use crate::{Driver, DriverOptions, Entry, Error, OptionPairs, ReadSize, Result, tree};

/// Every driver of the design, in order of preference: what shares most and copies least first, what runs outside of
/// the kernel late, full copies last.
pub const ORDER: &[&str] = &["overlay", "btrfs", "zfs", "aufs", "lvm", "fuse", "vfs"];

/// Those that there are, in [`ORDER`].
#[cfg(target_os = "linux")]
pub const DRIVERS: &[Entry] = &[
    crate::overlay::ENTRY,
    crate::btrfs::ENTRY,
    crate::zfs::ENTRY,
    crate::aufs::ENTRY,
    crate::lvm::ENTRY,
    crate::fuse::ENTRY,
    crate::vfs::ENTRY,
];
#[cfg(not(target_os = "linux"))]
pub const DRIVERS: &[Entry] = &[
    crate::absent::OVERLAY,
    crate::absent::BTRFS,
    crate::zfs::ENTRY,
    crate::absent::AUFS,
    crate::absent::LVM,
    crate::absent::FUSE,
    crate::vfs::ENTRY,
];

/// A driver, opened, and why it is this one.
pub struct Selection {
    pub driver: Box<dyn Driver>,
    pub name: &'static str,
    pub refused: Vec<Refused>,
    /// What it costs, to be said once and loudly: set only if nobody asked for this driver.
    pub caution: Option<&'static str>,
}

/// A driver that was tried first and does not work here.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Refused {
    pub name: &'static str,
    pub reason: String,
    pub hint: Option<String>,
}

/// Takes the `explicit` driver, else what the state was made with (`remembered`), else the first of the list that
/// works. A remembered driver is opened without trying it: it was tried when the state was made.
pub fn select(root: &Path, explicit: Option<&str>, remembered: Option<&str>) -> Result<Selection> {
    if let Some(name) = remembered
        && explicit.is_none_or(|explicit| explicit == name)
    {
        let entry = find(name)?;
        // What is pretended away is so on every path.
        if pretendable(entry.name) && pretend::without(entry.name) {
            return Err(unavailable(entry.name, &Probe::<()>::pretended(entry.name)));
        }
        return opened(root, entry, Vec::new(), false);
    }
    if let Some(name) = explicit {
        let entry = find(name)?;
        let probe = (entry.probe)(root);
        return if probe.is_available() {
            opened(root, entry, Vec::new(), false)
        } else {
            Err(unavailable(entry.name, &probe))
        };
    }
    let mut refused = Vec::new();
    for entry in DRIVERS {
        match (entry.unasked)(root) {
            Probe::Available { .. } => return opened(root, entry, refused, true),
            Probe::Unavailable { reason, hint } => refused.push(Refused { name: entry.name, reason, hint }),
        }
    }
    let lines: Vec<_> = refused.iter().map(|r| line(r.name, &r.reason, r.hint.as_deref())).collect();
    Err(Error::Unavailable(format!("no storage driver works here:\n{}", lines.join("\n"))))
}

/// Whether a key of `[storage-options]` is a driver's.
pub fn is_driver_option(key: &str) -> bool {
    driver_options().any(|options| key.starts_with(options.prefix))
}

/// Refuses options of drivers that mean nothing.
pub fn check_options(pairs: &OptionPairs, size: ReadSize) -> Result<()> {
    driver_options().try_for_each(|options| (options.check)(pairs, size))
}

/// Hands each driver what is meant for it in the state folder `root`. See [`DriverOptions::configure`].
pub fn configure(root: &Path, pairs: &OptionPairs, size: ReadSize) -> Result<()> {
    driver_options().try_for_each(|options| (options.configure)(root, pairs, size))
}

fn driver_options() -> impl Iterator<Item = &'static DriverOptions> {
    DRIVERS.iter().filter_map(|entry| entry.options)
}

/// Removes what the driver `name` keeps below `root`, layers too, and its folder. Idempotent.
pub fn retire(root: &Path, name: &str) -> Result<()> {
    let entry = find(name)?;
    let path = root.join(entry.name);
    if !path.exists() {
        return Ok(());
    }
    let driver = (entry.open)(root)?;
    let mut layers = driver.list()?;
    // Numbers in base 36: what stands on others was made after them.
    layers.sort_by_key(|id| std::cmp::Reverse((id.as_str().len(), id.clone())));
    for id in &layers {
        driver.remove(id)?;
    }
    driver.sweep()?;
    driver.dismantle()?;
    drop(driver);
    let parent = rustix::fs::open(root, tree::DIRECTORY, rustix::fs::Mode::empty()).at("open", root)?;
    tree::remove_tree(parent.as_fd(), entry.name.as_ref()).at("remove", &path)
}

/// Tries every driver.
pub fn report(root: &Path) -> Vec<(&'static str, Probe<Vec<String>>)> {
    DRIVERS.iter().map(|entry| (entry.name, (entry.probe)(root))).collect()
}

fn opened(root: &Path, entry: &'static Entry, refused: Vec<Refused>, unasked: bool) -> Result<Selection> {
    let caution = entry.caution.filter(|_| unasked);
    Ok(Selection { driver: (entry.open)(root)?, name: entry.name, refused, caution })
}

fn find(name: &str) -> Result<&'static Entry> {
    // Docker's name for the same thing.
    let wanted = if name == "overlay2" { "overlay" } else { name };
    DRIVERS.iter().find(|entry| entry.name == wanted).ok_or_else(|| {
        let known: Vec<_> = DRIVERS.iter().map(|entry| entry.name).collect();
        Error::InvalidArgument(format!("storage driver {name:?}: the known ones are {}", known.join(", ")))
    })
}

fn pretendable(name: &str) -> bool {
    pretend::FACILITIES.contains(&name)
}

fn unavailable<T>(name: &str, probe: &Probe<T>) -> Error {
    let hint = match probe {
        Probe::Unavailable { hint, .. } => hint.as_deref(),
        Probe::Available { .. } => None,
    };
    let reason = probe.reason().unwrap_or_default();
    Error::Unavailable(format!("storage driver {}", line(name, reason, hint)))
}

fn line(name: &str, reason: &str, hint: Option<&str>) -> String {
    match hint {
        Some(hint) => format!("{name}: {reason} ({hint})"),
        None => format!("{name}: {reason}"),
    }
}
