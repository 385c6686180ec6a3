//! 32-bit x86.

use super::abi::{Abi, I386};

pub(super) const OCI_ARCHITECTURE: &str = "386";
pub(super) static ABIS: &[&Abi] = &[&I386];
