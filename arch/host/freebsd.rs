//! FreeBSD's part: sysctl(3).

use crate::sysctl;

/// As the OCI image specification names it.
pub(super) const SYSTEM: &str = "freebsd";
/// Where there is no os-release(5).
pub(super) const NAME: &str = "FreeBSD";

/// init(8) and rc(8) are the system's own.
pub(super) fn init() -> String {
    "rc".to_owned()
}

/// There are no such namespaces.
pub(super) fn in_user_namespace() -> bool {
    false
}

/// Root has every privilege, others have none.
pub(super) fn effective_capabilities() -> u64 {
    if rustix::process::geteuid().is_root() { u64::MAX } else { 0 }
}

pub(super) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Linux programs of either kind are not looked for.
pub(super) fn runs(_architecture: &str) -> bool {
    false
}

pub(super) fn memory() -> u64 {
    sysctl::number("hw.physmem").unwrap_or(0)
}
