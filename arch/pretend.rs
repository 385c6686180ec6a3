//! Pretending that the host lacks a facility, so that fallbacks run on every machine.
//!
//! `BERTH_PRETEND_WITHOUT=clone3,openat2,overlay` is read once per process and inherited by monitors.

use std::sync::OnceLock;

/// Everything that can be pretended away. A probe or wrapper that has a fallback names its facility here.
pub const FACILITIES: &[&str] = &[
    "aufs",
    "binfmt-misc",
    "btrfs",
    "btrfs-search",
    "cgroup",
    "cgroup-v1",
    "cgroup-v2",
    "cgroup-kill",
    "clone3",
    "close_range",
    "compat",
    "copy_file_range",
    "criu",
    "deferred-remove",
    "devtmpfs",
    "fuse",
    "fuse-passthrough",
    "idmap",
    "iptables-legacy",
    "iptables-nft",
    "lvm",
    "memfd",
    "mmsg",
    "mount-api",
    "mount-namespace",
    "nft",
    "nowait",
    "openat2",
    "overlay",
    "overlay-lowerdir+",
    "overlay-multi-lower",
    "packet-socket",
    "pidfd",
    "pivot_root",
    "qemu",
    "reflink",
    "seccomp",
    "setns",
    "splice",
    "statx",
    "userns",
    "veth",
    "wal",
    "zfs",
];

/// System calls whose numbers (from 424 on) no kernel before 5.1 had given out. Vendors have put calls of their own there,
/// which answer anything, success included: on older kernels these are not tried.
const NUMBERED_SINCE_5_1: &[&str] = &["clone3", "close_range", "mount-api", "openat2", "pidfd"];

static WITHOUT: OnceLock<Vec<String>> = OnceLock::new();

fn list() -> &'static [String] {
    WITHOUT.get_or_init(|| {
        std::env::var("BERTH_PRETEND_WITHOUT")
            .unwrap_or_default()
            .split(',')
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect()
    })
}

/// Whether `facility` is to be treated as absent.
pub fn without(facility: &str) -> bool {
    debug_assert!(FACILITIES.contains(&facility), "{facility} is missing from FACILITIES");
    is_named(facility) || NUMBERED_SINCE_5_1.contains(&facility) && is_older_than_5_1()
}

/// Whether the user has named it.
pub fn is_named(facility: &str) -> bool {
    list().iter().any(|name| name == facility)
}

/// Whether anything is.
pub fn anything() -> bool {
    !list().is_empty()
}

#[cfg(target_os = "linux")]
fn is_older_than_5_1() -> bool {
    static OLDER: OnceLock<bool> = OnceLock::new();
    *OLDER.get_or_init(|| !crate::kernel::is_at_least(5, 1))
}

#[cfg(not(target_os = "linux"))]
fn is_older_than_5_1() -> bool {
    false
}

/// Names in `BERTH_PRETEND_WITHOUT` that mean nothing; the program refuses to start with any.
pub fn unknown() -> Vec<&'static str> {
    list().iter().map(String::as_str).filter(|name| !FACILITIES.contains(name)).collect()
}
