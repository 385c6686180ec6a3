//! Pretending that the host lacks a facility, so that fallbacks run on every machine.
//!
//! `BERTH_PRETEND_WITHOUT=clone3,openat2,overlay` is read once per process and inherited by monitors.

use std::sync::OnceLock;

/// Everything that can be pretended away. A probe or wrapper that has a fallback names its facility here.
pub const FACILITIES: &[&str] = &[
    "aufs",
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
    "deferred-remove",
    "devtmpfs",
    "fuse",
    "fuse-passthrough",
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
    "reflink",
    "seccomp",
    "splice",
    "statx",
    "userns",
    "wal",
    "zfs",
];

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
    list().iter().any(|name| name == facility)
}

/// Names in `BERTH_PRETEND_WITHOUT` that mean nothing; the program refuses to start with any.
pub fn unknown() -> Vec<&'static str> {
    list().iter().map(String::as_str).filter(|name| !FACILITIES.contains(name)).collect()
}
