//! Whether the kernel has overlayfs at all. Whether it works on a given folder is the storage driver's trial.

use super::filesystem::{Presence, presence};
use crate::{Probe, pretend};

/// `registered`, or `module, not loaded yet`.
pub fn probe() -> Probe<&'static str> {
    if pretend::without("overlay") {
        return Probe::pretended("overlay");
    }
    match presence("overlay", "overlay") {
        Some(Presence::Registered) => Probe::available("registered"),
        Some(Presence::Loadable) => Probe::available("module, not loaded yet"),
        None => Probe::unavailable(
            "overlay is neither in /proc/filesystems nor among the modules",
            "use Linux 3.18 or newer with CONFIG_OVERLAY_FS; another storage driver is chosen meanwhile",
        ),
    }
}
