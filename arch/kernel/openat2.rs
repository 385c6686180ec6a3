//! openat2(2), Linux 5.6.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::refused;
use crate::{Probe, pretend};

pub fn probe() -> Probe {
    if pretend::without("openat2") {
        return Probe::pretended("openat2");
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::openat2(CWD, "/..", flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(_) => Probe::available(()),
        Err(error) => refused("openat2", error, "needs Linux 5.6; names are walked one by one instead"),
    }
}
