//! 64-bit ARM: its kernels also take calls of 32-bit programs where the processor can.

use super::abi::{AARCH64, ARM, Abi};

pub(super) const OCI_ARCHITECTURE: &str = "arm64";
pub(super) static ABIS: &[&Abi] = &[&AARCH64, &ARM];

pub(super) fn x86_level() -> u8 {
    1
}
