//! 32-bit ARM, EABI. A 32-bit berth may run on a 64-bit kernel, whose containers are what they are.

use super::abi::{AARCH64, ARM, Abi};

pub(super) const OCI_ARCHITECTURE: &str = "arm";
pub(super) static ABIS: &[&Abi] = &[&ARM, &AARCH64];

pub(super) fn x86_level() -> u8 {
    1
}
