//! User namespaces: the switches that distributions have put before them, and a trial. Forks.

use std::sync::OnceLock;

use rustix::io::Errno;

use super::{namespace, refused};
use crate::{Probe, child, pretend};

/// File under /proc/sys, the value that forbids, and whom it concerns.
const SWITCHES: &[(&str, &str, Whom)] = &[
    ("user/max_user_namespaces", "0", Whom::Everybody),
    ("kernel/unprivileged_userns_clone", "0", Whom::Unprivileged),
    ("kernel/apparmor_restrict_unprivileged_userns", "1", Whom::Unprivileged),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whom {
    Everybody,
    Unprivileged,
}

pub fn probe() -> Probe {
    static ANSWER: OnceLock<Probe> = OnceLock::new();
    if pretend::without("userns") {
        return Probe::pretended("userns");
    }
    ANSWER.get_or_init(look).clone()
}

fn look() -> Probe {
    if !namespace::Kind::User.exists() {
        let hint = "use Linux 3.8 or newer with CONFIG_USER_NS";
        return Probe::unavailable("the kernel has no user namespaces", hint);
    }
    // A second namespace needs the rights in the first one, which AppArmor may withhold after making it.
    match child::in_child(libc::CLONE_NEWUSER | libc::CLONE_NEWUTS, || Ok(())) {
        Ok(()) => Probe::available(()),
        Err(error) => explain(error),
    }
}

fn explain(error: Errno) -> Probe {
    let unprivileged = !rustix::process::geteuid().is_root();
    for (file, forbidding, whom) in SWITCHES {
        let value = std::fs::read_to_string(format!("/proc/sys/{file}")).unwrap_or_default();
        if value.trim() == *forbidding && (*whom == Whom::Everybody || unprivileged) {
            let name = file.replace('/', ".");
            let allowing = match *forbidding {
                "1" => "0",
                _ if *whom == Whom::Everybody => "10000",
                _ => "1",
            };
            let reason = format!("make a user namespace: {} ({name} is {forbidding})", super::words(error));
            return Probe::unavailable(reason, format!("as root of the host: sysctl -w {name}={allowing}"));
        }
    }
    refused("make a user namespace", error, "a seccomp or LSM policy around berth forbids it: relax it or run as root")
}
