//! pidfd_open(2), Linux 5.3, and pidfd_send_signal(2), 5.1.

use rustix::process::PidfdFlags;
use std::os::fd::AsFd;

use super::{absent, refused};
use crate::{Probe, sys};

const HINT: &str = "needs Linux 5.3; process numbers with start times are used instead";

pub fn probe() -> Probe {
    if let Some(absent) = absent("pidfd", HINT) {
        return absent;
    }
    let opened = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
    match opened.and_then(|fd| sys::pidfd_send_signal(fd.as_fd(), 0)) {
        Ok(()) => Probe::available(()),
        Err(error) => refused("pidfd", error, HINT),
    }
}
