//! seccomp(2) filters: 3.5 on x86, 3.8 on arm, 3.19 on arm64; the list of actions can be asked since 4.14.

use std::sync::OnceLock;

use rustix::io::Errno;

use super::refused;
use crate::{Probe, pretend, sys};

/// SECCOMP_RET_* of linux/seccomp.h with the names of the OCI runtime specification less `SCMP_ACT_`.
const ACTIONS: &[(&str, u32)] = &[
    ("kill_process", 0x8000_0000),
    ("kill_thread", 0),
    ("trap", 0x0003_0000),
    ("errno", 0x0005_0000),
    ("notify", 0x7fc0_0000),
    ("trace", 0x7ff0_0000),
    ("log", 0x7ffc_0000),
    ("allow", 0x7fff_0000),
];

/// What every kernel with filters has.
const OLDEST: &[&str] = &["kill_thread", "trap", "errno", "trace", "allow"];

/// The actions that a filter may return here. A few system calls, once a process.
pub fn probe() -> Probe<Vec<&'static str>> {
    static FOUND: OnceLock<Probe<Vec<&'static str>>> = OnceLock::new();
    FOUND.get_or_init(|| filters().map(|()| actions())).clone()
}

/// Whether there are filters at all: one system call.
pub fn filters() -> Probe {
    if pretend::without("seccomp") {
        return Probe::pretended("seccomp");
    }
    match sys::seccomp_filter_from_nowhere() {
        // It has tried to read the filter.
        Errno::FAULT => Probe::available(()),
        error => refused(
            "set a seccomp filter",
            error,
            "use a kernel with CONFIG_SECCOMP_FILTER (3.5 on x86, 3.19 on arm64)",
        ),
    }
}

fn actions() -> Vec<&'static str> {
    if sys::seccomp_has_action(ACTIONS[1].1).is_err() {
        return OLDEST.to_vec();
    }
    let works = |(_, action): &&(&str, u32)| sys::seccomp_has_action(*action).is_ok();
    ACTIONS.iter().filter(works).map(|(name, _)| *name).collect()
}
