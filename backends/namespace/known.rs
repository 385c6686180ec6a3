//! What a specification may name, for whoever asks before writing one: taken from the tables that read it.

use oci_spec::runtime::{LinuxNamespaceType, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator};
use serde_json::{Value, json};

use super::capabilities::NUMBERS;

/// Names as the specification has them, whatever this host has of what they stand for.
#[derive(Debug, Clone)]
pub struct Known {
    pub mount_options: Vec<&'static str>,
    pub namespaces: Value,
    pub capabilities: Value,
    pub seccomp_actions: Value,
    pub seccomp_operators: Value,
    pub seccomp_architectures: Value,
    pub seccomp_flags: Value,
}

pub fn known() -> Known {
    use LinuxNamespaceType as Namespace;
    use LinuxSeccompAction as Action;
    use LinuxSeccompFilterFlag as Flag;
    use LinuxSeccompOperator as Operator;
    let mut mount_options: Vec<_> =
        berth_arch::mount::words().chain(["idmap", "notmpcopyup", "ridmap", "tmpcopyup"]).collect();
    mount_options.sort_unstable();
    Known {
        mount_options,
        namespaces: json!([
            Namespace::Cgroup,
            Namespace::Ipc,
            Namespace::Mount,
            Namespace::Network,
            Namespace::Pid,
            Namespace::Time,
            Namespace::User,
            Namespace::Uts,
        ]),
        capabilities: json!(NUMBERS.as_slice()),
        seccomp_actions: json!([
            Action::ScmpActAllow,
            Action::ScmpActErrno,
            Action::ScmpActKill,
            Action::ScmpActKillProcess,
            Action::ScmpActKillThread,
            Action::ScmpActLog,
            Action::ScmpActNotify,
            Action::ScmpActTrace,
            Action::ScmpActTrap,
        ]),
        seccomp_operators: json!([
            Operator::ScmpCmpEq,
            Operator::ScmpCmpGe,
            Operator::ScmpCmpGt,
            Operator::ScmpCmpLe,
            Operator::ScmpCmpLt,
            Operator::ScmpCmpMaskedEq,
            Operator::ScmpCmpNe,
        ]),
        seccomp_architectures: json!(crate::seccomp::architectures()),
        seccomp_flags: json!([
            Flag::SeccompFilterFlagLog,
            Flag::SeccompFilterFlagSpecAllow,
            Flag::SeccompFilterFlagTsync,
            Flag::SeccompFilterFlagWaitKillableRecv,
        ]),
    }
}
