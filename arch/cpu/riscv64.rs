//! 64-bit RISC-V.

use super::abi::{Abi, RISCV64};

pub(super) const OCI_ARCHITECTURE: &str = "riscv64";
pub(super) static ABIS: &[&Abi] = &[&RISCV64];

pub(super) fn x86_level() -> u8 {
    1
}
