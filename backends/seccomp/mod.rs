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
use std::os::fd::OwnedFd;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};

pub use self::policy::docker_default;
pub use self::profile::parse_profile;

use crate::{Error, Result};

/// The architectures that a policy may name.
pub fn architectures() -> Vec<oci_spec::runtime::Arch> {
    policy::ARCHES.iter().map(|(arch, ..)| *arch).collect()
}

// SECCOMP_FILTER_FLAG_* (linux/seccomp.h).
const FLAG_LOG: u32 = 2;
const FLAG_SPEC_ALLOW: u32 = 4;
const FLAG_WAIT_KILLABLE_RECV: u32 = 32;

/// A compiled filter, ready to be installed between clone and exec.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Vec<bpf::Instruction>,
    flags: u32,
    /// Whether there are calls that an agent decides about.
    notifies: bool,
}

impl Filter {
    /// Compiles `policy` for the architectures that it names, the native one always among them. Names of calls
    /// that berth does not know are skipped, as those of other architectures are. Action NOTIFY needs an agent's
    /// `listenerPath`, and cannot be for the call that hands the agent its end.
    pub fn compile(policy: &LinuxSeccomp) -> Result<Self> {
        let notifies = notifies(policy)?;
        let mut flags = 0;
        for flag in policy.flags().iter().flatten() {
            flags |= match flag {
                LinuxSeccompFilterFlag::SeccompFilterFlagLog => FLAG_LOG,
                LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
                LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if notifies => FLAG_WAIT_KILLABLE_RECV,
                // The process that installs has one thread, and nobody listens.
                LinuxSeccompFilterFlag::SeccompFilterFlagTsync
                | LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
            };
        }
        Ok(Self { program: compile::compile(policy)?, flags, notifies })
    }

    pub(crate) fn notifies(&self) -> bool {
        self.notifies
    }

    /// Installs the filter for the calling thread; irrevocable. System calls only. The caller has
    /// CAP_SYS_ADMIN in its user namespace or has set no_new_privs before; EACCES otherwise. EINVAL: this
    /// kernel has no seccomp filters, or none with agents. Gives the agent's end, if there is one to be.
    pub fn install(&self) -> io::Result<Option<OwnedFd>> {
        if self.notifies {
            return install::install_with_listener(&self.program, self.flags).map(Some);
        }
        install::install(&self.program, self.flags).map(|()| None)
    }
}

/// The call by which a program that is about to start hands its end over.
const HANDS_OVER: &str = "sendmsg";

fn notifies(policy: &LinuxSeccomp) -> Result<bool> {
    let notify = |action| action == LinuxSeccompAction::ScmpActNotify;
    if notify(policy.default_action()) {
        return Err(Error::InvalidArgument("seccomp policy: SCMP_ACT_NOTIFY cannot be the default action".into()));
    }
    let mut rules = policy.syscalls().iter().flatten().filter(|rule| notify(rule.action())).peekable();
    if rules.peek().is_none() {
        return Ok(false);
    }
    if policy.listener_path().is_none() {
        return Err(Error::InvalidArgument(
            "seccomp policy: SCMP_ACT_NOTIFY needs an agent: name its listenerPath".into(),
        ));
    }
    if rules.any(|rule| rule.names().iter().any(|name| name == HANDS_OVER)) {
        return Err(Error::InvalidArgument(format!("seccomp policy: SCMP_ACT_NOTIFY cannot be for {HANDS_OVER}")));
    }
    Ok(true)
}
