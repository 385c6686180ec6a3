//! openat2(2), Linux 5.6.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

use super::{absent, refused};
use crate::Probe;

const HINT: &str = "needs Linux 5.6; names are walked one by one instead";

pub fn probe() -> Probe {
    if let Some(absent) = absent("openat2", HINT) {
        return absent;
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    match rustix::fs::openat2(CWD, "/..", flags, Mode::empty(), ResolveFlags::IN_ROOT) {
        Ok(_) => Probe::available(()),
        Err(error) => refused("openat2", error, HINT),
    }
}
