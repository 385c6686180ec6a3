//! The cpu controller (and cpuacct's counters): scheduler/sched-bwc.rst, "CPU" of cgroup-v2.rst.

use std::path::Path;

use oci_spec::runtime::LinuxCpu;

use super::files::{self, flat_keyed, number, refused, set};
use super::layout::Version;
use super::limits::{Groups, Warnings, find};
use crate::{Result, Sample};

pub(super) fn apply(groups: &Groups, limits: &LinuxCpu, warnings: &mut Warnings) -> Result<()> {
    let group = find(groups, "cpu");
    let dir = group.map(|group| group.dir.as_path());
    let v2 = group.is_some_and(|group| group.version == Version::V2);
    let set_if_there = |file: &str, value: String| match dir {
        Some(dir) => set(dir, file, &value),
        None => Ok(false),
    };
    if let Some(shares) = limits.shares().filter(|&shares| shares != 0) {
        let done = if v2 {
            set_if_there("cpu.weight", weight(shares).to_string())?
        } else {
            set_if_there("cpu.shares", shares.to_string())?
        };
        if !done {
            warnings.absent("CPU shares", "Shares discarded");
        }
    }
    let quota = limits.quota().filter(|&quota| quota != 0);
    let period = limits.period().filter(|&period| period != 0);
    if quota.is_some() || period.is_some() {
        let done = match dir {
            None => false,
            Some(dir) if v2 => set_if_there("cpu.max", max_v2(dir, quota, period))?,
            Some(dir) => bandwidth_v1(dir, quota, period)?,
        };
        if !done {
            warnings.absent("CPU CFS scheduler", "CPU period/quota discarded");
        }
    }
    if let Some(burst) = limits.burst()
        && !set_if_there(if v2 { "cpu.max.burst" } else { "cpu.cfs_burst_us" }, burst.to_string())?
    {
        warnings.absent("CPU burst", "Burst discarded");
    }
    if let Some(period) = limits.realtime_period().filter(|&period| period != 0)
        && !set_if_there("cpu.rt_period_us", period.to_string())?
    {
        warnings.absent("CPU real-time scheduler", "CPU real-time period discarded");
    }
    if let Some(runtime) = limits.realtime_runtime().filter(|&runtime| runtime != 0)
        && !set_if_there("cpu.rt_runtime_us", runtime.to_string())?
    {
        warnings.absent("CPU real-time scheduler", "CPU real-time runtime discarded");
    }
    if let Some(idle) = limits.idle()
        && !set_if_there("cpu.idle", idle.to_string())?
    {
        warnings.absent("CPU idle groups", "Idle discarded");
    }
    Ok(())
}

/// The period first, as a quota may only fit the new one; if it does not fit the old quota, the quota first.
fn bandwidth_v1(dir: &Path, quota: Option<i64>, period: Option<u64>) -> Result<bool> {
    const PERIOD: &str = "cpu.cfs_period_us";
    const QUOTA: &str = "cpu.cfs_quota_us";
    let quota = quota.map(|quota| quota.max(-1).to_string());
    let mut again = None;
    if let Some(period) = period.map(|period| period.to_string()) {
        match files::write(dir, PERIOD, &period) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && quota.is_some() => again = Some(period),
            Err(error) => return Err(refused(dir, PERIOD, &period, error)),
        }
    }
    let done = quota.map_or(Ok(true), |quota| set(dir, QUOTA, &quota))?;
    match again {
        Some(period) => set(dir, PERIOD, &period),
        None => Ok(done),
    }
}

/// `cpu.max` holds both; what is not given stays.
fn max_v2(dir: &Path, quota: Option<i64>, period: Option<u64>) -> String {
    let current = files::read(dir, "cpu.max").unwrap_or_default();
    let mut current = current.split_whitespace();
    let (old_quota, old_period) = (current.next().unwrap_or("max"), current.next().unwrap_or("100000"));
    let quota = match quota {
        None => old_quota.to_owned(),
        Some(quota) if quota < 0 => "max".to_owned(),
        Some(quota) => quota.to_string(),
    };
    format!("{quota} {}", period.map_or(old_period.to_owned(), |period| period.to_string()))
}

/// v1's shares (2 to 262144, default 1024) as v2's weight (1 to 10000, default 100): the curve that runc, crun
/// and Kubernetes (KEP-2254, "cpu.shares to cpu.weight") agreed on, which keeps both ends and the default.
pub(super) fn weight(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let log = (shares as f64).log2();
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

pub(super) fn sample(groups: &Groups, sample: &mut Sample) {
    let unified = find(groups, "cpuacct").is_none();
    if unified {
        // cpu.stat has the usage in every v2 group, with or without the controller.
        let Some(group) = groups.iter().find(|group| group.version == Version::V2) else { return };
        let stat = flat_keyed(&group.dir, "cpu.stat");
        let nanoseconds = |key: &str| stat.get(key).copied().unwrap_or_default().saturating_mul(1000);
        sample.cpu_total = nanoseconds("usage_usec");
        sample.cpu_user = nanoseconds("user_usec");
        sample.cpu_system = nanoseconds("system_usec");
        sample.throttled_time = nanoseconds("throttled_usec");
        throttling(&stat, sample);
        return;
    }
    if let Some(group) = find(groups, "cpuacct") {
        let dir = &group.dir;
        sample.cpu_total = number(dir, "cpuacct.usage").unwrap_or_default();
        let percpu = files::read(dir, "cpuacct.usage_percpu").unwrap_or_default();
        sample.cpu_per_core = percpu.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        // In ticks of USER_HZ, which is 100 on every architecture that berth runs on.
        let stat = flat_keyed(dir, "cpuacct.stat");
        let nanoseconds = |key: &str| stat.get(key).copied().unwrap_or_default().saturating_mul(10_000_000);
        sample.cpu_user = nanoseconds("user");
        sample.cpu_system = nanoseconds("system");
    }
    if let Some(group) = find(groups, "cpu") {
        let stat = flat_keyed(&group.dir, "cpu.stat");
        sample.throttled_time = stat.get("throttled_time").copied().unwrap_or_default();
        throttling(&stat, sample);
    }
}

fn throttling(stat: &std::collections::BTreeMap<String, u64>, sample: &mut Sample) {
    sample.periods = stat.get("nr_periods").copied().unwrap_or_default();
    sample.throttled_count = stat.get("nr_throttled").copied().unwrap_or_default();
    sample.throttled_periods = sample.throttled_count;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_become_weights_with_both_ends_and_the_default_kept() {
        assert_eq!([0, 2, 1024, 262_144, u64::MAX].map(weight), [1, 1, 100, 10_000, 10_000]);
        assert!((3..300_000).step_by(97).map(weight).is_sorted());
    }
}
