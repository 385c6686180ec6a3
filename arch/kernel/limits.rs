//! Whether resource limits can be raised again (CAP_SYS_RESOURCE), tried on a child's core size. Forks.

use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit};

use super::refused;
use crate::{Probe, child};

pub fn probe() -> Probe {
    static ANSWER: OnceLock<Probe> = OnceLock::new();
    let trial = || match child::in_child(0, raise) {
        Ok(()) => Probe::available(()),
        Err(error) => refused(
            "raise a limit",
            error,
            "run berth as root with CAP_SYS_RESOURCE; containers keep the engine's limits",
        ),
    };
    ANSWER.get_or_init(trial).clone()
}

fn raise() -> rustix::io::Result<()> {
    let both = |value| Rlimit { current: Some(value), maximum: Some(value) };
    rustix::process::setrlimit(Resource::Core, both(0))?;
    rustix::process::setrlimit(Resource::Core, both(1))
}
