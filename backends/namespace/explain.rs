//! The words for what the kernel refused of a child, which sends numbers only: the creator, or whoever starts the
//! container, has the plan.

use oci_spec::runtime::Spec;

use super::hooks;
use super::plan::Plan;
use super::process::ProcessPlan;
use super::report::{Failure, Step};
use crate::Error;

/// The error for what a child of `plan` was doing.
pub(super) fn explain(plan: &Plan, spec: &Spec, failure: Failure) -> Error {
    match failure.step {
        Step::Exec => plan.process.exec_error(failure.errno),
        Step::CreateContainerHook | Step::StartContainerHook => hooks::explain(spec, failure),
        _ => Error::Setup { step: describe(plan, failure), source: failure.errno.into() },
    }
}

/// As [`explain`], for what every program goes through.
pub(super) fn explain_process(plan: &ProcessPlan, failure: Failure) -> Error {
    match failure.step {
        Step::Exec => plan.exec_error(failure.errno),
        _ => Error::Setup { step: describe_process(plan, failure), source: failure.errno.into() },
    }
}

/// The words for what a child of `plan` was doing.
fn describe(plan: &Plan, failure: Failure) -> String {
    let index = usize::from(failure.index);
    match failure.step {
        Step::Action => plan.root.actions.get(index).map_or_else(String::new, |planned| planned.action.describe()),
        Step::Rootfs => match plan.root.mounts.get(index) {
            Some((mount, target)) => {
                format!("mount {} on {}", mount.source().to_string_lossy(), target.to_string_lossy())
            }
            None => format!("open the root {}", plan.root.mount_point.to_string_lossy()),
        },
        Step::Sysctl => match plan.sysctls.get(index) {
            Some((path, value)) => {
                format!("write {:?} to {}", String::from_utf8_lossy(value), path.to_string_lossy())
            }
            None => String::new(),
        },
        _ => describe_process(&plan.process, failure),
    }
}

fn describe_process(plan: &ProcessPlan, failure: Failure) -> String {
    let index = usize::from(failure.index);
    match failure.step {
        Step::Clone => "clone the container's process".into(),
        Step::Cgroup => "enter the control groups".into(),
        Step::Join => "join a namespace".into(),
        Step::MapUsers => "map users and groups".into(),
        Step::TimeOffsets => "make a time namespace".into(),
        Step::Propagation => "change the propagation of mounts".into(),
        Step::Porch => "prepare the place where the container starts".into(),
        Step::Terminal => "open a terminal on the container's /dev/pts".into(),
        Step::Console => "bind the terminal on /dev/console".into(),
        Step::Hostname => "set the host name".into(),
        Step::Domainname => "set the domain name".into(),
        Step::PivotRoot => "exchange the root".into(),
        Step::Rlimit => match plan.rlimits.get(index) {
            Some((resource, limit)) => format!(
                "set the limit {resource:?} to {}:{}",
                limit.current.map_or("unlimited".into(), |value| value.to_string()),
                limit.maximum.map_or("unlimited".into(), |value| value.to_string())
            ),
            None => "set a limit".into(),
        },
        Step::Loopback => "set the loopback device up".into(),
        Step::OomScore => "set oom_score_adj".into(),
        Step::Label => "set the security label".into(),
        Step::Keyring => "join a session keyring".into(),
        Step::CreateContainerHook | Step::StartContainerHook => "run hooks".into(),
        Step::Personality => "set the personality".into(),
        Step::Priority => "set the I/O priority".into(),
        Step::Scheduler => "set the scheduler or the processors".into(),
        Step::Streams => "set up standard input, output and error".into(),
        Step::WorkingDirectory => format!("enter the working directory {}", plan.directory.to_string_lossy()),
        Step::Credentials => format!("become user {}:{}", plan.user.as_raw(), plan.group.as_raw()),
        Step::Capabilities => "set capabilities".into(),
        Step::NoNewPrivileges => "set no_new_privs".into(),
        Step::Seccomp => match &plan.seccomp {
            Some(filter) if filter.notifies() => {
                "install the seccomp filter with a seccomp agent (SCMP_ACT_NOTIFY), which takes Linux 5.0".into()
            }
            _ => "install the seccomp filter".into(),
        },
        Step::Action | Step::Rootfs | Step::Sysctl => "make the root".into(),
        Step::Exec => format!("exec {:?}", plan.program),
    }
}
