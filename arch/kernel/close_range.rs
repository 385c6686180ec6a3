//! close_range(2) with CLOSE_RANGE_CLOEXEC, Linux 5.11.

use super::refused;
use crate::{Probe, pretend, sys};

pub fn probe() -> Probe {
    if pretend::without("close_range") {
        return Probe::pretended("close_range");
    }
    // No descriptor has this number.
    match sys::close_range_cloexec(u32::MAX) {
        Ok(()) => Probe::available(()),
        Err(error) => refused("close_range", error, "needs Linux 5.11; /proc/self/fd is used instead"),
    }
}
