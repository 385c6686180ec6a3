//! Which namespaces the kernel has, and which this process may make.

use std::path::Path;

use rustix::io::Errno;
use serde::Serialize;

use super::{needs, refused};
use crate::{Probe, answers, child, pretend};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Mount,
    Pid,
    Network,
    Uts,
    Ipc,
    User,
    /// 4.6
    Cgroup,
    /// 5.6
    Time,
}

pub const KINDS: &[Kind] =
    &[Kind::Mount, Kind::Pid, Kind::Network, Kind::Uts, Kind::Ipc, Kind::User, Kind::Cgroup, Kind::Time];

impl Kind {
    /// The OCI runtime specification's word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Uts => "uts",
            Self::Ipc => "ipc",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// The file's name in /proc/PID/ns.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Mount => "mnt",
            Self::Network => "net",
            other => other.name(),
        }
    }

    /// CLONE_NEW* of linux/sched.h. Time namespaces cannot be asked of clone(2), only of unshare and clone3.
    pub const fn flag(self) -> i32 {
        match self {
            Self::Mount => libc::CLONE_NEWNS,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Network => libc::CLONE_NEWNET,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::User => libc::CLONE_NEWUSER,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Time => 0x80,
        }
    }

    /// Whether the kernel has it: one look into /proc, no trial. Kernels before 3.8 show no file for mount and
    /// pid namespaces, which they have.
    pub fn exists(self) -> bool {
        let pretended = match self {
            Self::User => pretend::without("userns"),
            Self::Mount => pretend::without("mount-namespace"),
            _ => false,
        };
        if pretended {
            return false;
        }
        let shown = |kind: Self| Path::new("/proc/self/ns").join(kind.file()).symlink_metadata().is_ok();
        shown(self) || matches!(self, Self::Mount | Self::Pid) && !shown(Self::Mount)
    }

    /// Makes one in a child, inside a new user namespace if need be. Forks.
    pub fn trial(self) -> Probe<How> {
        let name = format!("namespace {}", self.name());
        let found =
            answers::remembered(&name, &needs::userns_switches(), || self.look().map(|how| how.name().to_owned()));
        found.map(|how| if how == How::Directly.name() { How::Directly } else { How::InUserNamespace })
    }

    fn look(self) -> Probe<How> {
        if !self.exists() {
            let config = match self {
                Self::Mount => "CONFIG_NAMESPACES (and not in BERTH_PRETEND_WITHOUT)",
                Self::Pid => "CONFIG_PID_NS",
                Self::Network => "CONFIG_NET_NS",
                Self::Uts => "CONFIG_UTS_NS",
                Self::Ipc => "CONFIG_IPC_NS",
                Self::User => "CONFIG_USER_NS (and not in BERTH_PRETEND_WITHOUT)",
                Self::Cgroup => "Linux 4.6 and CONFIG_CGROUPS",
                Self::Time => "Linux 5.6 and CONFIG_TIME_NS",
            };
            let reason = format!("the kernel has no {} namespaces", self.name());
            return Probe::unavailable(reason, format!("use a kernel with {config}"));
        }
        let make = |outer: i32| child::in_child(outer | self.flag(), || Ok(()));
        match make(0) {
            Ok(()) => Probe::available(How::Directly),
            Err(Errno::PERM) if self != Self::User && Self::User.exists() => match make(libc::CLONE_NEWUSER) {
                Ok(()) => Probe::available(How::InUserNamespace),
                Err(error) => self.refused(error),
            },
            Err(error) => self.refused(error),
        }
    }

    fn refused(self, error: Errno) -> Probe<How> {
        let hint = "run berth as root or allow user namespaces (berth doctor: userns)";
        refused(&format!("make a {} namespace", self.name()), error, hint)
    }
}

/// With which right a namespace can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    Directly,
    InUserNamespace,
}

impl How {
    const fn name(self) -> &'static str {
        match self {
            Self::Directly => "directly",
            Self::InUserNamespace => "in-user-namespace",
        }
    }
}

/// Every kind with its trial. Forks.
pub fn trials() -> Vec<(Kind, Probe<How>)> {
    KINDS.iter().map(|kind| (*kind, kind.trial())).collect()
}

/// The kinds that can be made. Unavailable without the mount namespace, which every container needs. Forks.
pub fn probe() -> Probe<Vec<String>> {
    let trials = trials();
    if let Some((_, Probe::Unavailable { reason, hint })) = trials.first() {
        return Probe::Unavailable { reason: reason.clone(), hint: hint.clone() };
    }
    let made = trials.iter().filter_map(|(kind, trial)| {
        trial.detail().map(|how| match how {
            How::Directly => kind.name().to_owned(),
            How::InUserNamespace => format!("{} (in a user namespace)", kind.name()),
        })
    });
    Probe::available(made.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_exists_can_be_made_by_root() {
        if !rustix::process::geteuid().is_root() || userns_only() {
            return eprintln!("skipped: not root of the host");
        }
        for (kind, trial) in trials() {
            // An emulator (qemu-user) has threads of its own and cannot leave its user namespace.
            if kind == Kind::User && trial.reason().is_some_and(|reason| reason.ends_with("invalid argument")) {
                continue;
            }
            assert_eq!(trial.is_available(), kind.exists(), "{kind:?}: {trial:?}");
        }
    }

    fn userns_only() -> bool {
        crate::host::User::detect().in_user_namespace
    }

    #[test]
    fn the_mount_namespace_stands_first() {
        assert_eq!(KINDS[0], Kind::Mount);
        assert!(Kind::Mount.exists() && Kind::Pid.exists());
    }
}
