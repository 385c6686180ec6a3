//! setns(2) into mount and pid namespaces, Linux 3.8. Other kinds can be entered since 3.0.

use std::path::Path;

use super::absent;
use crate::Probe;

const HINT: &str = "needs Linux 3.8; a small process waits in each container instead, to start programs there";

/// One look: from 3.8 on there is a file by which each can be entered.
pub fn probe() -> Probe {
    if let Some(absent) = absent("setns", HINT) {
        return absent;
    }
    match Path::new("/proc/self/ns/mnt").exists() {
        true => Probe::available(()),
        false => Probe::unavailable("/proc shows no mount namespaces that could be entered", HINT),
    }
}
