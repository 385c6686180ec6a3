//! memfd_create(2), Linux 3.17.

use rustix::fs::MemfdFlags;

use super::refused;
use crate::{Probe, pretend};

pub fn probe() -> Probe {
    if pretend::without("memfd") {
        return Probe::pretended("memfd");
    }
    match rustix::fs::memfd_create("berth-probe", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING) {
        Ok(_) => Probe::available(()),
        Err(error) => refused("memfd_create", error, "needs Linux 3.17; a deleted file is used instead"),
    }
}
