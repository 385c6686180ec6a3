//! Limits as rules of rctl(8), and what is used as racct counts it.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxBlockIo, LinuxResources};

use crate::{Error, Result, Sample};

/// `memoryuse:deny=1048576`, without its subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) resource: &'static str,
    pub(super) action: &'static str,
    pub(super) amount: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) rules: Vec<Rule>,
    /// By cpuset(2) and not by rctl: the jail's processors.
    pub(super) cpus: Option<Vec<usize>>,
}

/// What a rule is about and how it limits: `jail:NAME:memoryuse:deny=1048576`.
pub(super) fn rule(jail: &str, rule: &Rule) -> String {
    format!("jail:{jail}:{}:{}={}", rule.resource, rule.action, rule.amount)
}

/// All rules of a jail, for removing them or asking for what is used.
pub(super) fn subject(jail: &str) -> String {
    format!("jail:{jail}:")
}

impl Limits {
    /// What FreeBSD has nothing for is said in `warnings`, as for a host without the controller.
    pub(super) fn new(resources: &LinuxResources, warnings: &mut Vec<String>) -> Result<Self> {
        let mut limits = Self::default();
        let mut discarded = |what: &str| warnings.push(format!("the jail backend has no {what}; limit discarded"));
        if let Some(memory) = resources.memory() {
            limits.add("memoryuse", "deny", memory.limit());
            // Memory counts as swap as soon as room for it is reserved there, so the sum of both is what is limited.
            limits.add("swapuse", "deny", memory.swap());
            if memory.reservation().is_some_and(|bytes| bytes > 0) {
                discarded("soft limit of memory (--memory-reservation)");
            }
            if memory.swappiness().is_some() {
                discarded("swappiness (--memory-swappiness)");
            }
            if memory.disable_oom_killer().unwrap_or(false) {
                discarded("way to stop what wants too much memory (--oom-kill-disable)");
            }
        }
        if let Some(cpu) = resources.cpu() {
            if let Some(quota) = cpu.quota().filter(|&quota| quota > 0) {
                let period = cpu.period().filter(|&period| period > 0).unwrap_or(100_000);
                // Percent of one processor.
                let percent = (quota.unsigned_abs().saturating_mul(100) / period).max(1);
                limits.rules.push(Rule { resource: "pcpu", action: "deny", amount: percent });
            }
            if cpu.shares().is_some_and(|shares| shares > 0 && shares != 1024) {
                discarded("weight of processors (--cpu-shares)");
            }
            if cpu.realtime_runtime().is_some() || cpu.realtime_period().is_some() {
                discarded("realtime budget (--cpu-rt-runtime)");
            }
            if let Some(list) = cpu.cpus().as_deref().filter(|list| !list.is_empty()) {
                limits.cpus = Some(processors(list)?);
            }
            if cpu.mems().as_ref().is_some_and(|list| !list.is_empty()) {
                discarded("choice of memory nodes (--cpuset-mems)");
            }
        }
        limits.add("maxproc", "deny", resources.pids().as_ref().map(|pids| pids.limit()));
        if let Some(io) = resources.block_io() {
            limits.io(io, &mut discarded);
        }
        let some = |map: Option<bool>| map == Some(false);
        if some(resources.hugepage_limits().as_ref().map(Vec::is_empty)) {
            discarded("limit of huge pages");
        }
        if some(resources.rdma().as_ref().map(|map| map.is_empty())) {
            discarded("limit of RDMA");
        }
        if some(resources.unified().as_ref().map(|map| map.is_empty())) {
            discarded("control groups for unified settings");
        }
        Ok(limits)
    }

    fn add(&mut self, resource: &'static str, action: &'static str, amount: Option<i64>) {
        if let Some(amount) = amount.and_then(|amount| u64::try_from(amount).ok()).filter(|&amount| amount > 0) {
            self.rules.push(Rule { resource, action, amount });
        }
    }

    /// Rules are of all devices together: with several limits the lowest is kept to by all, which is never more than asked.
    fn io(&mut self, io: &LinuxBlockIo, discarded: &mut impl FnMut(&str)) {
        let weights = io.weight_device().as_ref().is_some_and(|devices| !devices.is_empty());
        if io.weight().is_some_and(|weight| weight > 0) || io.leaf_weight().is_some() || weights {
            discarded("weight of devices (--blkio-weight)");
        }
        for (resource, devices) in [
            ("readbps", io.throttle_read_bps_device()),
            ("writebps", io.throttle_write_bps_device()),
            ("readiops", io.throttle_read_iops_device()),
            ("writeiops", io.throttle_write_iops_device()),
        ] {
            let lowest = devices.iter().flatten().map(|device| device.rate()).min();
            if let Some(amount) = lowest {
                self.rules.push(Rule { resource, action: "throttle", amount });
            }
        }
    }
}

/// `0-2,4`, as for Linux's cpusets.
fn processors(list: &str) -> Result<Vec<usize>> {
    /// CPU_SETSIZE of sys/_cpuset.h.
    const HIGHEST: usize = 1023;
    let invalid =
        || Error::InvalidArgument(format!("processors {list:?}: numbers and ranges up to {HIGHEST}, as 0-2,4"));
    let mut found = Vec::new();
    for part in list.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<usize>(), last.parse::<usize>());
        match (first, last) {
            (Ok(first), Ok(last)) if first <= last && last <= HIGHEST => found.extend(first..=last),
            _ => return Err(invalid()),
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The answer of rctl_get_racct(2): `cputime=3,memoryuse=1048576,...`. Times are in seconds.
pub(super) fn sample(text: &str, rules: &[Rule]) -> Sample {
    let words = text.trim_end_matches('\0').split(',');
    let used: BTreeMap<&str, u64> = words
        .filter_map(|word| word.split_once('='))
        .filter_map(|(name, value)| Some((name, value.parse().ok()?)))
        .collect();
    let of = |name: &str| used.get(name).copied().unwrap_or(0);
    let limit = |name: &str| rules.iter().find(|rule| rule.resource == name).map(|rule| rule.amount);
    Sample {
        cpu_total: of("cputime").saturating_mul(1_000_000_000),
        memory_usage: of("memoryuse"),
        memory_limit: limit("memoryuse"),
        pids_current: of("maxproc"),
        pids_limit: limit("maxproc"),
        ..Sample::default()
    }
}
