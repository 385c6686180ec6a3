//! statx(2), Linux 4.11.

use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::refused;
use crate::{Probe, pretend};

/// What it tells beyond stat(2) on this kernel.
pub fn probe() -> Probe<Vec<&'static str>> {
    if pretend::without("statx") {
        return Probe::pretended("statx");
    }
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
    match rustix::fs::statx(CWD, "/", AtFlags::empty(), wanted) {
        Ok(found) => {
            let mask = StatxFlags::from_bits_retain(found.stx_mask);
            let fields = [(StatxFlags::BTIME, "birth time"), (StatxFlags::MNT_ID, "mount ID")];
            Probe::available(fields.iter().filter(|(flag, _)| mask.contains(*flag)).map(|(_, name)| *name).collect())
        }
        Err(error) => refused("statx", error, "needs Linux 4.11; stat is used instead"),
    }
}
