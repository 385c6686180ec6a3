//! 32-bit ARM, EABI.

use super::abi::{ARM, Abi};

pub(super) const OCI_ARCHITECTURE: &str = "arm";
pub(super) static ABIS: &[&Abi] = &[&ARM];
