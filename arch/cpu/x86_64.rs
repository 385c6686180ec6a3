//! 64-bit x86: its kernels also take calls of i386 and (where configured) x32 programs.

pub(super) use super::x86_level::x86_level;

use super::abi::{Abi, I386, X32, X86_64};

pub(super) const OCI_ARCHITECTURE: &str = "amd64";
pub(super) static ABIS: &[&Abi] = &[&X86_64, &I386, &X32];
