//! What jails isolate on this host, or why there can be none.

use berth_arch::{Host, Probe, program, sysctl};

use super::sys;
use crate::Isolation;

pub(super) fn probe(host: &Host) -> Probe<Isolation> {
    if host.user.uid != 0 {
        return Probe::unavailable("making jails takes root", "run berth as root");
    }
    if sysctl::number("security.jail.jailed") == Some(1) && sysctl::number("security.jail.children.max") == Some(0) {
        return Probe::unavailable(
            "berth is in a jail that may have none in it",
            "set children.max of that jail (jail(8)), or run berth on the host",
        );
    }
    for name in ["devfs", "ifconfig"] {
        if program::find(name).is_none() {
            return Probe::unavailable(format!("there is no {name}(8)"), "install FreeBSD's base system");
        }
    }
    let accounting = accounting();
    let mut controllers = vec!["cpuset".to_owned(), "devices".to_owned()];
    if accounting {
        controllers.extend(["cpu", "io", "memory", "pids"].map(str::to_owned));
    }
    controllers.sort();
    Probe::available(Isolation {
        pid: true,
        mount: true,
        network: has_own_networks(),
        uts: true,
        ipc: true,
        user: false,
        cgroup_namespace: false,
        controllers,
        capabilities: false,
        no_new_privileges: sys::has_no_new_privileges(),
        seccomp: false,
        pause: false,
        checkpoint: false,
        stats: accounting,
    })
}

/// Of a kernel with VIMAGE.
pub(super) fn has_own_networks() -> bool {
    sysctl::number("kern.features.vimage") == Some(1)
}

/// rctl(8) works only if it was switched on when the system started.
pub(super) fn accounting() -> bool {
    sysctl::number("kern.racct.enable") == Some(1)
}
