//! What this host lets us do, by trial.

use berth_arch::kernel::namespace::{How, Kind};
use berth_arch::{Host, Probe};
use rustix::io::Errno;
use rustix::mount::MountFlags;

/// Of capabilities(7).
const CAP_SYS_CHROOT: u32 = 18;
const CAP_SYS_ADMIN: u32 = 21;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// A mount namespace for each container.
    OwnMounts,
    /// Mounts on the host, taken off again.
    HostMounts,
}

pub(super) fn find(host: &Host) -> Probe<Level> {
    let has = |capability: u32| host.user.effective_capabilities >> capability & 1 == 1;
    if !has(CAP_SYS_CHROOT) {
        return Probe::unavailable("chroot(2) takes CAP_SYS_CHROOT, which this user does not have", "run as root");
    }
    if !has(CAP_SYS_ADMIN) {
        return Probe::unavailable(
            "the mounts of a container (its root, /proc, /dev) take CAP_SYS_ADMIN, which this user does not have",
            "run as root, and with CAP_SYS_ADMIN if that is inside of a container (docker run --cap-add SYS_ADMIN)",
        );
    }
    try_both()
}

fn try_both() -> Probe<Level> {
    match Kind::Mount.trial() {
        Probe::Available { detail: How::Directly } => return Probe::available(Level::OwnMounts),
        // Namespaces of ordinary users are the rootless engine's.
        Probe::Available { .. } | Probe::Unavailable { .. } => {}
    }
    // Whether it may be is asked before what is to be mounted.
    match rustix::mount::mount("none", "/", "no-such-file-system", MountFlags::empty(), None) {
        Err(Errno::PERM | Errno::ACCESS | Errno::NOSYS) => Probe::unavailable(
            "mount(2) is refused, and with it a container's root, /proc and /dev",
            "relax the seccomp or LSM policy around berth",
        ),
        _ => Probe::available(Level::HostMounts),
    }
}
