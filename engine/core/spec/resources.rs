//! Limits, in the OCI's form.

use berth_api::models::{HostConfig, ThrottleDevice};
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxDeviceCgroup, LinuxDeviceType as Kind, LinuxMemory, LinuxPids, LinuxResources,
    LinuxThrottleDevice, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
};

use crate::settings::devices;
use crate::{Error, Result};

/// Character devices that every container may use: null, zero, full, random, urandom, tty, console, ptmx and the
/// pseudo-terminals.
const DEVICES: &[(i64, Option<i64>)] = &[
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(1)),
    (5, Some(2)),
    (136, None),
];

/// A CPU's share in Docker's `NanoCpus`: of so many microseconds.
const PERIOD: i64 = 100_000;

fn incomplete(error: oci_spec::OciSpecError) -> Error {
    Error::Internal(format!("make the OCI spec: {error}"))
}

pub(crate) fn of(host: &HostConfig, rules: Vec<LinuxDeviceCgroup>, privileged: bool) -> Result<LinuxResources> {
    let mut resources = limits(host)?;
    let all = devices::allow(Kind::A, None, None, "rwm");
    if privileged {
        resources.set_devices(Some(vec![all]));
        return Ok(resources);
    }
    let mut none = all;
    none.set_allow(false);
    let mut list = vec![none, devices::allow(Kind::C, None, None, "m"), devices::allow(Kind::B, None, None, "m")];
    list.extend(DEVICES.iter().map(|&(major, minor)| devices::allow(Kind::C, Some(major), minor, "rwm")));
    list.extend(rules);
    resources.set_devices(Some(list));
    Ok(resources)
}

/// Only what is set is given: the same for a container that is made and for one that is updated.
pub(crate) fn limits(host: &HostConfig) -> Result<LinuxResources> {
    let set = |value: Option<i64>| value.filter(|&value| value != 0);
    let positive = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).filter(|&value| value != 0);
    let text = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
    let mut resources = LinuxResources::default();
    resources.set_devices(None);

    let mut memory = LinuxMemory::default();
    memory.set_limit(set(host.memory));
    memory.set_reservation(set(host.memory_reservation));
    memory.set_swap(set(host.memory_swap));
    memory.set_swappiness(host.memory_swappiness.and_then(|value| u64::try_from(value).ok()));
    memory.set_disable_oom_killer(host.oom_kill_disable.filter(|&disable| disable));
    if memory != LinuxMemory::default() {
        resources.set_memory(Some(memory));
    }

    let mut cpu = LinuxCpu::default();
    cpu.set_shares(positive(host.cpu_shares));
    cpu.set_quota(set(host.cpu_quota));
    cpu.set_period(positive(host.cpu_period));
    if let Some(nano) = set(host.nano_cpus) {
        cpu.set_period(u64::try_from(PERIOD).ok());
        cpu.set_quota(Some((nano / 1000).saturating_mul(PERIOD) / 1_000_000));
    }
    cpu.set_realtime_runtime(set(host.cpu_realtime_runtime));
    cpu.set_realtime_period(positive(host.cpu_realtime_period));
    cpu.set_cpus(text(&host.cpuset_cpus));
    cpu.set_mems(text(&host.cpuset_mems));
    if cpu != LinuxCpu::default() {
        resources.set_cpu(Some(cpu));
    }

    if let Some(limit) = host.pids_limit.filter(|&limit| limit != 0) {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit.max(-1));
        resources.set_pids(Some(pids));
    }
    let block = block_io(host)?;
    if block != LinuxBlockIo::default() {
        resources.set_block_io(Some(block));
    }
    Ok(resources)
}

fn block_io(host: &HostConfig) -> Result<LinuxBlockIo> {
    let mut block = LinuxBlockIo::default();
    block.set_weight(host.blkio_weight.filter(|&weight| weight != 0));
    let mut weights = Vec::new();
    for device in host.blkio_weight_device.iter().flatten() {
        let (major, minor) = devices::block_device(device.path.as_deref())?;
        let weight = u16::try_from(device.weight.unwrap_or(0)).unwrap_or(1000);
        weights.push(
            LinuxWeightDeviceBuilder::default().major(major).minor(minor).weight(weight).build().map_err(incomplete)?,
        );
    }
    block.set_weight_device(Some(weights).filter(|list| !list.is_empty()));
    block.set_throttle_read_bps_device(throttles(host.blkio_device_read_bps.as_deref())?);
    block.set_throttle_write_bps_device(throttles(host.blkio_device_write_bps.as_deref())?);
    block.set_throttle_read_iops_device(throttles(host.blkio_device_read_iops.as_deref())?);
    block.set_throttle_write_iops_device(throttles(host.blkio_device_write_iops.as_deref())?);
    Ok(block)
}

fn throttles(list: Option<&[ThrottleDevice]>) -> Result<Option<Vec<LinuxThrottleDevice>>> {
    let mut found = Vec::new();
    for device in list.unwrap_or_default() {
        let (major, minor) = devices::block_device(device.path.as_deref())?;
        let rate = u64::try_from(device.rate.unwrap_or(0)).unwrap_or(0);
        found.push(
            LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(rate).build().map_err(incomplete)?,
        );
    }
    Ok(Some(found).filter(|list| !list.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_asked_is_nothing_set() {
        let mut empty = LinuxResources::default();
        empty.set_devices(None);
        assert_eq!(limits(&HostConfig::default()).unwrap(), empty);
    }

    #[test]
    fn parts_of_a_cpu_become_a_quota() {
        let host = HostConfig { nano_cpus: Some(1_500_000_000), ..HostConfig::default() };
        let cpu = limits(&host).unwrap().cpu().clone().unwrap();
        assert_eq!((cpu.quota(), cpu.period()), (Some(150_000), Some(100_000)));
    }

    #[test]
    fn devices_are_denied_before_some_are_allowed() {
        let rules = of(&HostConfig::default(), Vec::new(), false).unwrap().devices().clone().unwrap();
        assert!(!rules[0].allow() && rules[1..].iter().all(LinuxDeviceCgroup::allow));
        let rules = of(&HostConfig::default(), Vec::new(), true).unwrap().devices().clone().unwrap();
        assert!(rules.len() == 1 && rules[0].allow());
    }
}
