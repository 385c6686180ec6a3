//! Linux's part: /proc, affinity and sysinfo(2).

use crate::emulation;

pub(super) use super::init::detect as init;

/// As the OCI image specification names it.
pub(super) const SYSTEM: &str = "linux";
/// Where there is no os-release(5).
pub(super) const NAME: &str = "Linux";

/// The first one has a number of its own (PROC_USER_INIT_INO of linux/proc_ns.h); no file means no namespaces.
pub(super) fn in_user_namespace() -> bool {
    std::fs::read_link("/proc/self/ns/user").is_ok_and(|link| link.as_os_str() != "user:[4026531837]")
}

pub(super) fn effective_capabilities() -> u64 {
    rustix::thread::capabilities(None).map_or(0, |sets| sets.effective.bits())
}

/// By affinity, without the cgroup files that the standard library reads as well; it knows more than 1024.
pub(super) fn cpus() -> usize {
    match rustix::thread::sched_getaffinity(None) {
        Ok(set) => usize::try_from(set.count()).unwrap_or(1).max(1),
        Err(_) => std::thread::available_parallelism().map_or(1, usize::from),
    }
}

/// Whether a 64-bit kernel takes programs of its 32-bit architecture, which processor and configuration decide.
pub(super) fn runs(architecture: &str) -> bool {
    emulation::runs_directly(architecture)
}

pub(super) fn memory() -> u64 {
    let info = rustix::system::sysinfo();
    // A c_ulong: 32-bit kernels count in larger units instead.
    u64::try_from(u128::from(info.totalram) * u128::from(info.mem_unit)).unwrap_or(u64::MAX)
}
