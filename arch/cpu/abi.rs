//! The system call ABIs that berth knows.

use super::syscalls::{Syscalls, count, parse};

/// One way to call the kernel: what seccomp sees in `seccomp_data.arch` and `seccomp_data.nr`.
#[derive(Debug)]
pub struct Abi {
    pub name: &'static str,
    /// AUDIT_ARCH_* of linux/audit.h. x32 shares x86_64's; its numbers have bit 30 set.
    pub audit_arch: u32,
    /// From the kernel's asm/unistd*.h, Linux 7.2.
    pub syscalls: Syscalls,
}

impl Abi {
    /// The number of the call `name`, if this ABI has it.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.syscalls.search(name).ok().map(|index| self.syscalls.at(index).1)
    }

    /// For messages; a search through the whole table.
    pub fn name_of(&self, number: u32) -> Option<&'static str> {
        self.syscalls.iter().find(|(_, known)| *known == number).map(|(name, _)| name)
    }

    /// The highest number in the table: the kernel may have calls above that nobody here knew.
    pub fn highest(&self) -> u32 {
        self.syscalls.iter().map(|(_, number)| number).max().unwrap_or(0)
    }
}

const LITTLE_ENDIAN: u32 = 0x4000_0000;
const BITS_64: u32 = 0x8000_0000;

// The low half is the ELF machine (EM_* of linux/elf-em.h).
const AUDIT_ARCH_I386: u32 = 3 | LITTLE_ENDIAN;
const AUDIT_ARCH_ARM: u32 = 40 | LITTLE_ENDIAN;
const AUDIT_ARCH_X86_64: u32 = 62 | BITS_64 | LITTLE_ENDIAN;
const AUDIT_ARCH_AARCH64: u32 = 183 | BITS_64 | LITTLE_ENDIAN;
const AUDIT_ARCH_RISCV64: u32 = 243 | BITS_64 | LITTLE_ENDIAN;

macro_rules! calls {
    ($name:literal) => {{
        const TEXT: &str = include_str!(concat!("syscalls/", $name, ".txt"));
        Syscalls::new(TEXT, &const { parse::<{ count(TEXT) }>(TEXT) })
    }};
}

pub static X86_64: Abi = Abi { name: "x86_64", audit_arch: AUDIT_ARCH_X86_64, syscalls: calls!("x86_64") };
pub static I386: Abi = Abi { name: "i386", audit_arch: AUDIT_ARCH_I386, syscalls: calls!("i386") };
pub static X32: Abi = Abi { name: "x32", audit_arch: AUDIT_ARCH_X86_64, syscalls: calls!("x32") };
pub static AARCH64: Abi = Abi { name: "aarch64", audit_arch: AUDIT_ARCH_AARCH64, syscalls: calls!("aarch64") };
/// EABI, with the private calls of asm/unistd.h (`cacheflush`, `set_tls`, ...) from 0xf0001 on.
pub static ARM: Abi = Abi { name: "arm", audit_arch: AUDIT_ARCH_ARM, syscalls: calls!("arm") };
pub static RISCV64: Abi = Abi { name: "riscv64", audit_arch: AUDIT_ARCH_RISCV64, syscalls: calls!("riscv64") };

pub static ABIS: &[&Abi] = &[&X86_64, &I386, &X32, &AARCH64, &ARM, &RISCV64];

/// The ABI of an AUDIT_ARCH_* number; for x86_64's that is x86_64 and not x32.
pub fn table(audit_arch: u32) -> Option<&'static Abi> {
    ABIS.iter().copied().find(|abi| abi.audit_arch == audit_arch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_is_sorted_and_names_no_call_twice() {
        for abi in ABIS {
            assert!(abi.syscalls.iter().map(|(name, _)| name).is_sorted_by(|a, b| a < b), "{}", abi.name);
            let mut numbers: Vec<u32> = abi.syscalls.iter().map(|(_, number)| number).collect();
            numbers.sort_unstable();
            // ARM's sync_file_range2 is another name of arm_sync_file_range.
            let doubled = numbers.windows(2).filter(|pair| pair[0] == pair[1]).count();
            assert_eq!(doubled, usize::from(abi.name == "arm"), "{}", abi.name);
        }
    }

    /// Calls since 5.1 (424 and up) have one number on all architectures.
    #[test]
    fn tables_reach_up_to_linux_6_18() {
        for (name, number) in [("pidfd_send_signal", 424), ("clone3", 435), ("openat2", 437), ("mseal", 462)]
            .into_iter()
            .chain([("open_tree_attr", 467), ("file_getattr", 468), ("file_setattr", 469)])
        {
            for abi in ABIS {
                let bit = if abi.name == "x32" { 0x4000_0000 } else { 0 };
                assert_eq!(abi.number(name), Some(number + bit), "{name} on {}", abi.name);
            }
        }
    }

    #[test]
    fn calls_of_one_architecture_only_are_there() {
        assert_eq!(X86_64.number("read"), Some(0));
        assert_eq!(X86_64.number("arch_prctl"), Some(158));
        assert_eq!(I386.number("socketcall"), Some(102));
        assert_eq!(I386.number("clock_gettime64"), Some(403));
        assert_eq!(X32.number("execve"), Some(0x4000_0000 + 520));
        assert_eq!(AARCH64.number("open"), None);
        assert_eq!(AARCH64.number("openat"), Some(56));
        assert_eq!(ARM.number("cacheflush"), Some(0xf0002));
        assert_eq!(ARM.number("set_tls"), Some(0xf0005));
        assert_eq!(ARM.number("arm_sync_file_range"), ARM.number("sync_file_range2"));
        assert_eq!(RISCV64.number("riscv_flush_icache"), Some(259));
        assert_eq!(RISCV64.name_of(221), Some("execve"));
    }

    #[test]
    fn a_table_is_found_by_its_audit_number() {
        assert_eq!(table(0xc000_003e).map(|abi| abi.name), Some("x86_64"));
        assert_eq!(table(0x4000_0003).map(|abi| abi.name), Some("i386"));
        assert_eq!(table(0xc000_00b7).map(|abi| abi.name), Some("aarch64"));
        assert_eq!(table(0x4000_0028).map(|abi| abi.name), Some("arm"));
        assert_eq!(table(0xc000_00f3).map(|abi| abi.name), Some("riscv64"));
        assert!(table(0).is_none());
    }

    /// The C library's own numbers, where it has the call: the table is of the machine that runs this test.
    #[test]
    fn the_native_table_agrees_with_the_c_library() {
        let native = crate::cpu::native_abis()[0];
        for (name, number) in [
            ("read", libc::SYS_read),
            ("execve", libc::SYS_execve),
            ("mount", libc::SYS_mount),
            ("setns", libc::SYS_setns),
            ("seccomp", libc::SYS_seccomp),
            ("statx", libc::SYS_statx),
            ("clone3", libc::SYS_clone3),
        ] {
            assert_eq!(native.number(name).map(i128::from), Some(i128::from(number)), "{name}");
        }
    }
}
