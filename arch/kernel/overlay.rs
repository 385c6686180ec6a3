//! Whether the kernel has overlayfs at all, and how layers are named to it. Whether it works on a given folder is the
//! storage driver's trial.

use rustix::mount::FsOpenFlags;

use super::filesystem::{Presence, presence};
use crate::{Probe, pretend};

/// `registered`, or `module, not loaded yet`; and `lowerdir+`.
pub fn probe() -> Probe<Vec<&'static str>> {
    if pretend::without("overlay") {
        return Probe::pretended("overlay");
    }
    let mut found = match presence("overlay", "overlay") {
        Some(Presence::Registered) => vec!["registered"],
        Some(Presence::Loadable) => vec!["module, not loaded yet"],
        None if presence("overlayfs", "overlayfs").is_some() => {
            return Probe::unavailable(
                "the kernel has the overlayfs of before 3.18, which keeps whiteouts as links with attributes of its own",
                "use Linux 3.18 or newer with CONFIG_OVERLAY_FS; another storage driver is chosen meanwhile",
            );
        }
        None => {
            return Probe::unavailable(
                "overlay is neither in /proc/filesystems nor among the modules",
                "use Linux 3.18 or newer with CONFIG_OVERLAY_FS; another storage driver is chosen meanwhile",
            );
        }
    };
    if takes_layers_singly() {
        found.push("lowerdir+");
    }
    Probe::available(found)
}

/// Whether layers can be given one at a time (`lowerdir+`, 6.8), so that their names need not fit a page of options.
/// Two system calls, and nothing is mounted.
pub fn takes_layers_singly() -> bool {
    if pretend::without("mount-api") || pretend::without("overlay-lowerdir+") {
        return false;
    }
    let Ok(context) = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) else { return false };
    rustix::mount::fsconfig_set_string(&context, "lowerdir+", "/").is_ok()
}
