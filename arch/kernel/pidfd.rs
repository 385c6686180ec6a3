//! pidfd_open(2), Linux 5.3, and pidfd_send_signal(2), 5.1.

use rustix::process::PidfdFlags;
use std::os::fd::AsFd;

use super::refused;
use crate::{Probe, pretend, sys};

pub fn probe() -> Probe {
    if pretend::without("pidfd") {
        return Probe::pretended("pidfd");
    }
    let opened = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty());
    match opened.and_then(|fd| sys::pidfd_send_signal(fd.as_fd(), 0)) {
        Ok(()) => Probe::available(()),
        Err(error) => refused("pidfd", error, "needs Linux 5.3; process numbers with start times are used instead"),
    }
}
