//! /dev/fuse, for storage drivers and containers that want it.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::refused;
use crate::Probe;

pub fn probe() -> Probe {
    match rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => Probe::available(()),
        Err(error @ (Errno::NOENT | Errno::NODEV | Errno::NXIO)) => {
            refused("open /dev/fuse", error, "load the module (modprobe fuse), or build the kernel with CONFIG_FUSE_FS")
        }
        Err(error) => refused("open /dev/fuse", error, "run berth as root or let its user write to /dev/fuse"),
    }
}
