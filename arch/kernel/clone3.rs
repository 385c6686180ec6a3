//! clone3(2), Linux 5.3.

use rustix::io::Errno;

use super::refused;
use crate::{Probe, pretend, sys};

pub fn probe() -> Probe {
    if pretend::without("clone3") {
        return Probe::pretended("clone3");
    }
    match sys::clone3_with_nothing() {
        // The kernel has looked at the (too small) arguments: the call is there.
        Errno::INVAL => Probe::available(()),
        error => refused("clone3", error, "needs Linux 5.3; clone is used instead"),
    }
}
