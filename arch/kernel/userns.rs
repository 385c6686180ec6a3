//! User namespaces: the switches that distributions have put before them, and a trial. Forks.

use rustix::io::Errno;

use super::{namespace, needs, refused};
use crate::{Probe, answers, child, pretend};

pub fn probe() -> Probe {
    if pretend::without("userns") {
        return Probe::pretended("userns");
    }
    answers::remembered("userns", &needs::userns_switches(), || look().map(|()| String::new())).map(|_| ())
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
    if let Some(switch) = needs::USERNS_SWITCHES.iter().find(|switch| switch.is_in_the_way()) {
        let words = super::words(error);
        let reason = format!("make a user namespace: {words} ({} is {})", switch.name, switch.forbids);
        return Probe::unavailable(reason, switch.remedy());
    }
    refused("make a user namespace", error, "a seccomp or LSM policy around berth forbids it: relax it or run as root")
}
