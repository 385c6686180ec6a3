//! clone3(2), Linux 5.3.

use rustix::io::Errno;

use super::{absent, refused};
use crate::{Probe, sys};

const HINT: &str = "needs Linux 5.3; clone is used instead";

pub fn probe() -> Probe {
    if let Some(absent) = absent("clone3", HINT) {
        return absent;
    }
    match sys::clone3_with_nothing() {
        // The kernel has looked at the (too small) arguments: the call is there.
        Errno::INVAL => Probe::available(()),
        error => refused("clone3", error, HINT),
    }
}
