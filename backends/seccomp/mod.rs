//! System call filters: from a policy (OCI's `linux.seccomp`, Docker's JSON profiles, Docker's default) to a
//! classic BPF program of our own making, and its installation.
//!
//! `policy.rs` holds the default and `profile.rs` the parser; `compile.rs` decides and `bpf.rs` emits;
//! `install.rs` is the only one with system calls. Calls that the table of an architecture does not know give
//! ENOSYS, never EPERM.

mod bpf;
mod compile;
mod install;
mod policy;
mod profile;
#[cfg(test)]
mod tests;

use std::io;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};

pub use self::policy::docker_default;
pub use self::profile::parse_profile;

use crate::Result;

/// The architectures that a policy may name.
pub fn architectures() -> Vec<oci_spec::runtime::Arch> {
    policy::ARCHES.iter().map(|(arch, ..)| *arch).collect()
}

// SECCOMP_FILTER_FLAG_* (linux/seccomp.h).
const FLAG_LOG: u32 = 2;
const FLAG_SPEC_ALLOW: u32 = 4;

/// A compiled filter, ready to be installed between clone and exec.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Vec<bpf::Instruction>,
    flags: u32,
}

impl Filter {
    /// Compiles `policy` for the architectures that it names, the native one always among them. Names of calls
    /// that berth does not know are skipped, as those of other architectures are. Action NOTIFY is refused.
    pub fn compile(policy: &LinuxSeccomp) -> Result<Self> {
        let mut flags = 0;
        for flag in policy.flags().iter().flatten() {
            flags |= match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => FLAG_LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
                // The process that installs has one thread, and no listener.
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync
                | LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
            };
        }
        Ok(Self { program: compile::compile(policy)?, flags })
    }

    /// Installs the filter for the calling thread; irrevocable. System calls only. The caller has
    /// CAP_SYS_ADMIN in its user namespace or has set no_new_privs before; EACCES otherwise. EINVAL: this
    /// kernel has no seccomp filters.
    pub fn install(&self) -> io::Result<()> {
        install::install(&self.program, self.flags)
    }
}
