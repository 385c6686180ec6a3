//! Processor architectures: OCI names, audit numbers and system call tables.
//!
//! One file an architecture with the same names in each; the choice below says which is native. The tables
//! themselves (`syscalls/`) are compiled everywhere, so that a seccomp filter can be made, and tested, for an
//! architecture other than the one at hand.

mod abi;
mod syscalls;

pub use abi::{AARCH64, ABIS, ARM, Abi, I386, RISCV64, X32, X86_64, table};
pub use syscalls::Syscalls;

cfg_if::cfg_if! {
    if #[cfg(target_arch = "x86_64")] {
        mod x86_64;
        mod x86_level;
        use x86_64 as native;
    } else if #[cfg(target_arch = "x86")] {
        mod x86;
        mod x86_level;
        use x86 as native;
    } else if #[cfg(target_arch = "aarch64")] {
        mod aarch64;
        use aarch64 as native;
    } else if #[cfg(target_arch = "arm")] {
        mod arm;
        use arm as native;
    } else if #[cfg(target_arch = "riscv64")] {
        mod riscv64;
        use riscv64 as native;
    } else {
        compile_error!("berth has no system call table for this architecture");
    }
}

/// GOARCH, as the OCI image specification names architectures.
pub const OCI_ARCHITECTURE: &str = native::OCI_ARCHITECTURE;

/// The level of the x86-64 psABI that this processor reaches, 1 to 4; 1 on other architectures.
pub fn x86_level() -> u8 {
    native::x86_level()
}

/// The ABIs by which a program can call the kernel on this machine: the first is berth's own, the others those beside it.
pub fn native_abis() -> &'static [&'static Abi] {
    native::ABIS
}

/// The ABI of the host's own programs: not berth's where a 32-bit berth runs on a 64-bit kernel.
pub fn host_abi() -> &'static Abi {
    let machine = rustix::system::uname().machine().to_owned();
    let is_host = |abi: &&&Abi| machine.to_bytes() == abi.name.as_bytes();
    native_abis().iter().find(is_host).copied().unwrap_or(native_abis()[0])
}
