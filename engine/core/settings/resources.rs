//! Limits: what Docker refuses, and what it corrects.

use berth_api::models::{HostConfig, ResourcesUlimits};
use oci_spec::runtime::PosixRlimitType;

use berth_arch::Host;

use crate::{Error, Result};

const MINIMUM_MEMORY: i64 = 6 << 20;

/// The limits that `create` and `update` share.
pub(crate) fn check(host: &mut HostConfig, update: bool) -> Result<()> {
    memory(host, update)?;
    cpu(host)?;
    for (list, kind, name, words) in
        [(&host.cpuset_cpus, "cpu", "cpuset cpus", "CPUs"), (&host.cpuset_mems, "node", "cpuset mems", "memory nodes")]
    {
        let Some(text) = list.as_deref().filter(|text| !text.is_empty()) else { continue };
        let wanted = cpuset(text).ok_or_else(|| Error::invalid(format!("invalid value {text} for {name}")))?;
        if let Some(there) = online(kind)
            && let Some(numbers) = cpuset(&there)
            && wanted.iter().any(|number| !numbers.contains(number))
        {
            return Err(Error::invalid(format!(
                "Requested {words} are not available - requested {text}, available: {there}"
            )));
        }
    }
    if let Some(weight) = host.blkio_weight.filter(|&weight| weight != 0)
        && !(10..=1000).contains(&weight)
    {
        return Err(Error::invalid("Range of blkio weight is from 10 to 1000"));
    }
    for device in host.blkio_weight_device.iter().flatten() {
        if device.weight.is_some_and(|weight| weight != 0 && !(10..=1000).contains(&weight)) {
            let path = device.path.as_deref().unwrap_or_default();
            return Err(Error::invalid(format!("invalid weight for device {path}: the range is from 10 to 1000")));
        }
    }
    let throttles = [
        &host.blkio_device_read_bps,
        &host.blkio_device_write_bps,
        &host.blkio_device_read_iops,
        &host.blkio_device_write_iops,
    ];
    for device in throttles.into_iter().flatten().flatten() {
        if device.rate.unwrap_or(0) < 0 {
            let path = device.path.as_deref().unwrap_or_default();
            return Err(Error::invalid(format!("invalid rate for device {path}: it must not be negative")));
        }
    }
    for (value, name) in [
        (host.cpu_count, "CPUCount"),
        (host.cpu_percent, "CPUPercent"),
        (host.io_maximum_iops, "IOMaximumIOps"),
        (host.io_maximum_bandwidth, "IOMaximumBandwidth"),
    ] {
        if value.is_some_and(|value| value != 0) {
            return Err(Error::invalid(format!("invalid option: {name} is only for Windows")));
        }
    }
    Ok(())
}

fn memory(host: &mut HostConfig, update: bool) -> Result<()> {
    let memory = host.memory.unwrap_or(0);
    let swap = host.memory_swap.unwrap_or(0);
    let reservation = host.memory_reservation.unwrap_or(0);
    if memory < 0 || reservation < 0 {
        return Err(Error::invalid("invalid memory limit: it must not be negative"));
    }
    if memory > 0 && memory < MINIMUM_MEMORY {
        return Err(Error::invalid("Minimum memory limit allowed is 6MB"));
    }
    if memory > 0 && swap > 0 && swap < memory {
        return Err(Error::invalid("Minimum memoryswap limit should be larger than memory limit, see usage"));
    }
    if memory == 0 && swap > 0 && !update {
        return Err(Error::invalid("You should always set the Memory limit when using Memoryswap limit, see usage"));
    }
    if swap < -1 {
        return Err(Error::invalid(format!("invalid memory-swap {swap}: it is -1 for unlimited, or a size")));
    }
    if let Some(swappiness) = host.memory_swappiness
        && !(-1..=100).contains(&swappiness)
    {
        return Err(Error::invalid(format!("Invalid value: {swappiness}, valid memory swappiness range is 0-100")));
    }
    if reservation > 0 && reservation < MINIMUM_MEMORY {
        return Err(Error::invalid("Minimum memory reservation allowed is 6MB"));
    }
    if memory > 0 && reservation > 0 && memory < reservation {
        return Err(Error::invalid("Minimum memory limit can not be less than memory reservation limit, see usage"));
    }
    if host.memory_swappiness == Some(-1) {
        host.memory_swappiness = None;
    }
    if memory > 0 && swap == 0 && !update {
        host.memory_swap = Some(memory.saturating_mul(2));
    }
    Ok(())
}

fn cpu(host: &mut HostConfig) -> Result<()> {
    let nano = host.nano_cpus.unwrap_or(0);
    let period = host.cpu_period.unwrap_or(0);
    let quota = host.cpu_quota.unwrap_or(0);
    if host.cpu_shares.unwrap_or(0) < 0 {
        let shares = host.cpu_shares.unwrap_or(0);
        return Err(Error::invalid(format!("invalid CPU shares ({shares}): value must be a positive integer")));
    }
    if nano > 0 && period > 0 {
        return Err(Error::invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set"));
    }
    if nano > 0 && quota > 0 {
        return Err(Error::invalid("Conflicting options: Nano CPUs and CPU Quota cannot both be set"));
    }
    if nano != 0 {
        let usable = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let online = online("cpu").and_then(|list| Some(cpuset(&list)?.len())).unwrap_or_else(usable);
        if nano < 0 || nano > i64::try_from(online).unwrap_or(1).saturating_mul(1_000_000_000) {
            return Err(Error::invalid(format!(
                "Range of CPUs is from 0.01 to {online}.00, as there are only {online} CPUs available"
            )));
        }
    }
    if period != 0 && !(1000..=1_000_000).contains(&period) {
        return Err(Error::invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        ));
    }
    if quota > 0 && quota < 1000 {
        return Err(Error::invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)"));
    }
    if host.cpu_realtime_runtime.unwrap_or(0) > 0
        && host.cpu_realtime_runtime.unwrap_or(0) > host.cpu_realtime_period.unwrap_or(0)
        && host.cpu_realtime_period.unwrap_or(0) != 0
    {
        return Err(Error::invalid("cpu real-time runtime cannot be higher than cpu real-time period"));
    }
    Ok(())
}

/// All of the kind (`cpu`, `node`) that are online, not only those this process may use. `None`: the kernel does not say.
fn online(kind: &str) -> Option<String> {
    let text = berth_arch::kernel_file::read_to_string(format!("/sys/devices/system/{kind}/online")).ok()?;
    Some(text.trim().to_owned())
}

/// `0-3,5`; at most 8192 numbers.
pub(crate) fn cpuset(text: &str) -> Option<Vec<u32>> {
    let mut numbers = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        if first > last || last >= 8192 {
            return None;
        }
        numbers.extend(first..=last);
    }
    Some(numbers)
}

pub(crate) fn ulimit(limit: &ResourcesUlimits) -> Result<(PosixRlimitType, u64, u64)> {
    use PosixRlimitType as R;
    let name = limit.name.as_deref().unwrap_or_default();
    let kind = match name {
        "core" => R::RlimitCore,
        "cpu" => R::RlimitCpu,
        "data" => R::RlimitData,
        "fsize" => R::RlimitFsize,
        "locks" => R::RlimitLocks,
        "memlock" => R::RlimitMemlock,
        "msgqueue" => R::RlimitMsgqueue,
        "nice" => R::RlimitNice,
        "nofile" => R::RlimitNofile,
        "nproc" => R::RlimitNproc,
        "rss" => R::RlimitRss,
        "rtprio" => R::RlimitRtprio,
        "rttime" => R::RlimitRttime,
        "sigpending" => R::RlimitSigpending,
        "stack" => R::RlimitStack,
        _ => return Err(Error::invalid(format!("invalid ulimit type: {name}"))),
    };
    let value = |value: Option<i64>| match value {
        Some(-1) => Ok(u64::MAX),
        Some(value) => u64::try_from(value).map_err(|_| Error::invalid(format!("invalid ulimit {name}: {value}"))),
        None => Err(Error::invalid(format!("ulimit {name} needs a soft and a hard value"))),
    };
    let soft = value(limit.soft)?;
    let hard = value(limit.hard.or(limit.soft))?;
    if soft > hard {
        return Err(Error::invalid(format!(
            "ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"
        )));
    }
    Ok((kind, soft, hard))
}

/// Why a container cannot have that limit, if it is higher than what we may give (setrlimit(2)).
pub(crate) fn ulimit_out_of_reach(limit: &ResourcesUlimits, machine: &Host) -> Result<Option<String>> {
    use PosixRlimitType as R;
    use rustix::process::Resource;
    const CAP_SYS_RESOURCE: u64 = 1 << 24;
    let (kind, _, hard) = ulimit(limit)?;
    if machine.user.effective_capabilities & CAP_SYS_RESOURCE != 0 {
        return Ok(None);
    }
    let resource = match kind {
        R::RlimitCore => Resource::Core,
        R::RlimitCpu => Resource::Cpu,
        R::RlimitData => Resource::Data,
        R::RlimitFsize => Resource::Fsize,
        R::RlimitLocks => Resource::Locks,
        R::RlimitMemlock => Resource::Memlock,
        R::RlimitMsgqueue => Resource::Msgqueue,
        R::RlimitNice => Resource::Nice,
        R::RlimitNofile => Resource::Nofile,
        R::RlimitNproc => Resource::Nproc,
        R::RlimitRss => Resource::Rss,
        R::RlimitRtprio => Resource::Rtprio,
        R::RlimitRttime => Resource::Rttime,
        R::RlimitSigpending => Resource::Sigpending,
        R::RlimitStack => Resource::Stack,
        _ => return Ok(None),
    };
    let most = rustix::process::getrlimit(resource).maximum;
    Ok(most.filter(|&most| hard > most).map(|most| {
        let name = limit.name.as_deref().unwrap_or_default();
        format!("ulimit {name}: this host allows {most} at most, as berth has no right to raise it (CAP_SYS_RESOURCE)")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut HostConfig);

    #[test]
    fn limits_out_of_range_are_refused_in_dockers_words() {
        let cases: &[(Change, &str)] = &[
            (|h| h.memory = Some(4 << 20), "Minimum memory limit allowed is 6MB"),
            (|h| h.memory_swap = Some(64 << 20), "always set the Memory limit"),
            (|h| (h.memory, h.memory_swap) = (Some(64 << 20), Some(32 << 20)), "larger than memory limit"),
            (|h| h.memory_swappiness = Some(101), "0-100"),
            (|h| (h.nano_cpus, h.cpu_quota) = (Some(1), Some(5000)), "cannot both be set"),
            (|h| h.nano_cpus = Some(i64::MAX), "Range of CPUs"),
            (|h| h.cpu_period = Some(10), "CPU cfs period"),
            (|h| h.cpuset_cpus = Some("0-".to_owned()), "invalid value 0- for cpuset cpus"),
            (|h| h.cpuset_cpus = Some("0-4000000000".to_owned()), "invalid value"),
            (|h| h.cpuset_cpus = Some("8191".to_owned()), "CPUs are not available - requested 8191, available: 0"),
            (|h| h.blkio_weight = Some(5), "from 10 to 1000"),
        ];
        for (change, words) in cases {
            let mut host = HostConfig::default();
            change(&mut host);
            let message = check(&mut host, false).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn swap_is_twice_the_memory_unless_said_otherwise() {
        let mut host = HostConfig { memory: Some(64 << 20), ..HostConfig::default() };
        check(&mut host, false).unwrap();
        assert_eq!(host.memory_swap, Some(128 << 20));
    }

    #[test]
    fn ulimits_have_known_names_and_ordered_values() {
        let limit = |name: &str, soft, hard| ResourcesUlimits { name: Some(name.to_owned()), soft, hard };
        assert_eq!(ulimit(&limit("nofile", Some(1), Some(-1))).unwrap(), (PosixRlimitType::RlimitNofile, 1, u64::MAX));
        assert!(ulimit(&limit("nofile", Some(2), Some(1))).is_err());
        assert!(ulimit(&limit("files", Some(1), Some(1))).is_err());
    }
}
