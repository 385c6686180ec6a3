//! close_range(2) with CLOSE_RANGE_CLOEXEC, Linux 5.11.

use super::{absent, refused};
use crate::{Probe, sys};

const HINT: &str = "needs Linux 5.11; /proc/self/fd is used instead";

pub fn probe() -> Probe {
    if let Some(absent) = absent("close_range", HINT) {
        return absent;
    }
    // No descriptor has this number.
    match sys::close_range_cloexec(u32::MAX) {
        Ok(()) => Probe::available(()),
        Err(error) => refused("close_range", error, HINT),
    }
}
