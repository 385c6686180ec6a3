//! copy_file_range(2), Linux 4.5. Whether it works between two given file systems is found out when copying.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::refused;
use crate::{Probe, pretend};

pub fn probe() -> Probe {
    if pretend::without("copy_file_range") {
        return Probe::pretended("copy_file_range");
    }
    let null = match rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(null) => null,
        Err(error) => return refused("open /dev/null", error, "mount /dev"),
    };
    match rustix::fs::copy_file_range(&null, None, &null, None, 1) {
        // A device cannot be copied from, which only a kernel that has the call says.
        Ok(_) | Err(Errno::INVAL | Errno::XDEV) => Probe::available(()),
        Err(error) => refused("copy_file_range", error, "needs Linux 4.5; berth reads and writes instead"),
    }
}
