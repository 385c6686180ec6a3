//! Docker's defaults, filled in so that `inspect` shows what Docker's does.

use std::collections::HashMap;
use std::path::Path;

use berth_api::models::{ContainerConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig};

use super::modes::Network;
use super::restart;
use crate::EngineConfig;

/// Bytes.
const SHM_SIZE: i64 = 64 << 20;

/// Bytes of a file system below which it is small: there a log that nobody has bounded would be what fills it.
const SMALL_DISK: u64 = 8 << 30;

const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Tells when which processor is busy, to nanoseconds (GHSA-6fw5-f8r9-fgfm); one folder a processor that has it.
const THROTTLE: (&str, &str) = ("/sys/devices/system/cpu", "thermal_throttle");

/// Docker's list for this machine.
pub(crate) fn masked_paths() -> Vec<String> {
    let mut paths: Vec<String> = MASKED_PATHS.iter().map(|&path| path.to_owned()).collect();
    let processors = std::fs::read_dir(THROTTLE.0).into_iter().flatten().flatten();
    let mut throttles: Vec<String> = processors
        .filter(|entry| entry.file_name().as_encoded_bytes().strip_prefix(b"cpu").is_some_and(is_number))
        .map(|entry| entry.path().join(THROTTLE.1))
        .filter(|path| path.exists())
        .filter_map(|path| path.into_os_string().into_string().ok())
        .collect();
    throttles.sort();
    paths.append(&mut throttles);
    paths
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

pub(crate) const READONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// `id` names the container on its network unless it has a name or shares the host's.
pub(crate) fn config(config: &mut ContainerConfig, id: &str, network: &Network, uts_host: bool) {
    let hostname = config.hostname.get_or_insert_default();
    if hostname.is_empty() && !matches!(network, Network::Container(_)) {
        *hostname = if uts_host || *network == Network::Host {
            rustix::system::uname().nodename().to_string_lossy().into_owned()
        } else {
            id[..12].to_owned()
        };
    }
    for text in [&mut config.domainname, &mut config.user, &mut config.working_dir] {
        text.get_or_insert_default();
    }
    for flag in [
        &mut config.attach_stdin,
        &mut config.attach_stdout,
        &mut config.attach_stderr,
        &mut config.tty,
        &mut config.open_stdin,
        &mut config.stdin_once,
    ] {
        flag.get_or_insert_default();
    }
    config.env.get_or_insert_default();
    config.labels.get_or_insert_default();
}

pub(crate) fn host(host: &mut HostConfig, engine: &EngineConfig) {
    let log = host.log_config.get_or_insert_with(HostConfigLogConfig::default);
    if log.typ.as_deref().unwrap_or_default().is_empty() {
        log.typ = Some(engine.log_driver.clone());
    }
    let options = log.config.get_or_insert_default();
    if log.typ.as_deref() == Some(engine.log_driver.as_str()) {
        for (key, value) in &engine.log_options {
            options.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    if log.typ.as_deref() == Some(super::log::JSON_FILE)
        && !options.contains_key("max-size")
        && let Some(size) = log_bound(&engine.paths.state)
    {
        options.insert("max-size".to_owned(), size);
        options.entry("max-file".to_owned()).or_insert_with(|| "2".to_owned());
    }
    if host.restart_policy.as_ref().is_none_or(|policy| policy.name.is_none_or(|name| name.as_ref().is_empty())) {
        host.restart_policy = Some(restart::none());
    }
    for number in [
        &mut host.cpu_shares,
        &mut host.memory,
        &mut host.nano_cpus,
        &mut host.cpu_period,
        &mut host.cpu_quota,
        &mut host.cpu_realtime_period,
        &mut host.cpu_realtime_runtime,
        &mut host.memory_reservation,
        &mut host.memory_swap,
        &mut host.oom_score_adj,
    ] {
        number.get_or_insert_default();
    }
    host.blkio_weight.get_or_insert_default();
    for flag in [
        &mut host.auto_remove,
        &mut host.privileged,
        &mut host.publish_all_ports,
        &mut host.readonly_rootfs,
        &mut host.oom_kill_disable,
    ] {
        flag.get_or_insert_default();
    }
    for text in [
        &mut host.container_id_file,
        &mut host.volume_driver,
        &mut host.cgroup,
        &mut host.pid_mode,
        &mut host.uts_mode,
        &mut host.userns_mode,
        &mut host.cgroup_parent,
        &mut host.cpuset_cpus,
        &mut host.cpuset_mems,
    ] {
        text.get_or_insert_default();
    }
    for list in [&mut host.dns, &mut host.dns_options, &mut host.dns_search] {
        list.get_or_insert_default();
    }
    host.port_bindings.get_or_insert_with(HashMap::new);
    host.devices.get_or_insert_default();
    host.ulimits.get_or_insert_default();
    host.console_size.get_or_insert_with(|| vec![0, 0]);
    if host.pids_limit.is_some_and(|limit| limit <= 0) {
        host.pids_limit = None;
    }
    if host.shm_size.unwrap_or(0) == 0 {
        host.shm_size = Some(SHM_SIZE);
    }
    if host.ipc_mode.as_deref().unwrap_or_default().is_empty() {
        host.ipc_mode = Some("private".to_owned());
    }
    if host.cgroupns_mode.is_none_or(|mode| mode == HostConfigCgroupnsModeEnum::EMPTY) {
        host.cgroupns_mode = Some(cgroup_namespace());
    }
    let privileged = host.privileged == Some(true);
    host.masked_paths.get_or_insert_with(|| if privileged { Vec::new() } else { masked_paths() });
    let read_only = || READONLY_PATHS.iter().map(|&path| path.to_owned()).collect();
    host.readonly_paths.get_or_insert_with(|| if privileged { Vec::new() } else { read_only() });
}

/// How long one file of a log may be where the disk is small: a thousandth of it, and not less than a mebibyte.
fn log_bound(state: &Path) -> Option<String> {
    let disk = rustix::fs::statvfs(state).ok()?;
    bound_of(disk.f_blocks.saturating_mul(disk.f_frsize))
}

/// As `max-size` says it; `None`: it is large enough.
fn bound_of(disk: u64) -> Option<String> {
    (disk < SMALL_DISK).then(|| format!("{}m", (disk >> 30).max(1)))
}

/// One of its own where the kernel has them (4.6).
fn cgroup_namespace() -> HostConfigCgroupnsModeEnum {
    match rustix::fs::access("/proc/self/ns/cgroup", rustix::fs::Access::EXISTS) {
        Ok(()) => HostConfigCgroupnsModeEnum::PRIVATE,
        Err(_) => HostConfigCgroupnsModeEnum::HOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_bounded_on_small_disks_alone() {
        assert_eq!(bound_of(64 << 20).as_deref(), Some("1m"));
        assert_eq!(bound_of(4 << 30).as_deref(), Some("4m"));
        assert_eq!(bound_of(8 << 30), None);
    }
}
