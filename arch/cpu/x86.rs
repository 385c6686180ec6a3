//! 32-bit x86. A 32-bit berth may run on a 64-bit kernel, whose containers are what they are.

pub(super) use super::x86_level::x86_level;

use super::abi::{Abi, I386, X32, X86_64};

pub(super) const OCI_ARCHITECTURE: &str = "386";
pub(super) static ABIS: &[&Abi] = &[&I386, &X86_64, &X32];
