//! Limits that this host cannot enforce: runtimes refuse them, where berth warns and goes on.

use oci_spec::runtime::{LinuxResources, PosixRlimitBuilder, Process, Spec};
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

use crate::namespace::rlimit;

/// Takes out what needs a controller that is not there. Said in the words of `cgroup/limits.rs`.
pub(super) fn without_controllers(resources: &mut LinuxResources, there: &[String], warnings: &mut Vec<String>) {
    let has = |controller: &str| there.iter().any(|name| name == controller);
    let mut lost = |what: &str| {
        warnings.push(format!(
            "Your kernel does not support {what} or the cgroup is not mounted. The limit was discarded."
        ));
    };
    if !has("memory") && resources.memory().as_ref().is_some_and(|limits| *limits != Default::default()) {
        resources.set_memory(None);
        lost("memory limits");
    }
    if !has("pids") && resources.pids().is_some() {
        resources.set_pids(None);
        lost("process limits");
    }
    if !has("io") && resources.block_io().as_ref().is_some_and(|limits| *limits != Default::default()) {
        resources.set_block_io(None);
        lost("block I/O limits");
    }
    if !has("hugetlb") && resources.hugepage_limits().as_ref().is_some_and(|limits| !limits.is_empty()) {
        resources.set_hugepage_limits(None);
        lost("limits of huge pages");
    }
    let Some(cpu) = resources.cpu_mut() else { return };
    if !has("cpuset") && (cpu.cpus().is_some() || cpu.mems().is_some()) {
        cpu.set_cpus(None).set_mems(None);
        lost("CPU sets");
    }
    if !has("cpu") {
        let rest = std::mem::take(cpu);
        cpu.set_cpus(rest.cpus().clone()).set_mems(rest.mems().clone());
        if *cpu != rest {
            lost("CPU limits");
        }
    }
}

/// Brings the limits of `process` down to what this process may set.
pub(super) fn reachable(process: &mut Process, mut warn: impl FnMut(String)) {
    let Some(mut limits) = process.rlimits().clone() else { return };
    let raises =
        rustix::thread::capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_RESOURCE));
    for limit in &mut limits {
        let (resource, _) = rlimit(limit);
        let mut most = if raises { u64::MAX } else { getrlimit(resource).maximum.unwrap_or(u64::MAX) };
        if resource == Resource::Nofile {
            // Above this the kernel refuses it to everybody (setrlimit(2)).
            most = most.min(nr_open());
        }
        let (soft, hard) = (limit.soft(), limit.hard());
        if hard <= most && soft <= most {
            continue;
        }
        warn(format!("set the limit {resource:?} to {soft}:{hard}: this host allows {most} at most"));
        let nearest = PosixRlimitBuilder::default().typ(limit.typ()).soft(soft.min(most)).hard(hard.min(most)).build();
        if let Ok(nearest) = nearest {
            *limit = nearest;
        }
    }
    process.set_rlimits(Some(limits));
}

/// The same for the first program of a container.
pub(super) fn of_spec(spec: &mut Spec, warnings: &mut Vec<String>) {
    if let Some(process) = spec.process_mut() {
        reachable(process, |warning| warnings.push(warning));
    }
}

fn nr_open() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/fs/nr_open").unwrap_or_default();
    text.trim().parse().unwrap_or(1024 * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_without_its_controller_is_a_warning_and_the_others_stay() {
        let text = r#"{"memory":{"limit":1},"cpu":{"shares":2,"cpus":"0"},"pids":{"limit":3}}"#;
        let mut resources: LinuxResources = serde_json::from_str(text).unwrap();
        let mut warnings = Vec::new();
        without_controllers(&mut resources, &["pids".into(), "cpuset".into()], &mut warnings);
        let left = serde_json::to_value(&resources).unwrap();
        assert_eq!(left, serde_json::json!({ "cpu": { "cpus": "0" }, "pids": { "limit": 3 } }));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }
}
