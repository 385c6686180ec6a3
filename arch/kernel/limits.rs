//! Whether resource limits can be raised again (CAP_SYS_RESOURCE), tried on a child's core size. Forks.

use rustix::process::{Resource, Rlimit};

use super::refused;
use crate::{Probe, answers, child};

pub fn probe() -> Probe {
    let trial = || match child::in_child(0, raise) {
        Ok(()) => Probe::available(String::new()),
        Err(error) => refused(
            "raise a limit",
            error,
            "run berth as root with CAP_SYS_RESOURCE; containers keep the engine's limits",
        ),
    };
    answers::remembered("limits", "", trial).map(|_| ())
}

fn raise() -> rustix::io::Result<()> {
    let both = |value| Rlimit { current: Some(value), maximum: Some(value) };
    rustix::process::setrlimit(Resource::Core, both(0))?;
    rustix::process::setrlimit(Resource::Core, both(1))
}
