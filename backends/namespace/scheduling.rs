//! How a program is scheduled: its policy (sched_setattr(2)) and, for further programs, the processors that it runs on.

use oci_spec::runtime::{LinuxSchedulerFlag, LinuxSchedulerPolicy, Process, Scheduler};

use crate::{Error, Result};

/// `struct sched_attr` of linux/sched/types.h, as of 3.14.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub(super) size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

impl Policy {
    pub(super) fn new(scheduler: &Scheduler) -> Result<Self> {
        use LinuxSchedulerPolicy as P;
        let policy = match scheduler.policy() {
            P::SchedOther => 0,
            P::SchedFifo => 1,
            P::SchedRr => 2,
            P::SchedBatch => 3,
            P::SchedIso => return Err(Error::InvalidArgument("scheduler policy SCHED_ISO: Linux has none".into())),
            P::SchedIdle => 5,
            P::SchedDeadline => 6,
        };
        let flag = |flag: &LinuxSchedulerFlag| match flag {
            LinuxSchedulerFlag::SchedResetOnFork => 0x01,
            LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
            LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
            LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
            LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
            LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
            LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
        };
        let priority = scheduler.priority().unwrap_or(0);
        Ok(Self {
            size: size_of::<Self>() as u32,
            policy,
            flags: scheduler.flags().iter().flatten().map(flag).sum(),
            nice: scheduler.nice().unwrap_or(0),
            priority: u32::try_from(priority)
                .map_err(|_| Error::InvalidArgument(format!("scheduler priority {priority}: not below 0")))?,
            runtime: scheduler.runtime().unwrap_or(0),
            deadline: scheduler.deadline().unwrap_or(0),
            period: scheduler.period().unwrap_or(0),
        })
    }
}

/// Processors, a bit each (sched_setaffinity(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Processors(pub(super) [u64; 16]);

impl Processors {
    /// Numbers and ranges, as in `0-3,7`.
    fn parse(list: &str) -> Result<Self> {
        let mut set = [0; 16];
        let invalid = || Error::InvalidArgument(format!("execCPUAffinity {list:?}: use numbers and ranges below 1024"));
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<usize>().ok().filter(|&number| number < 1024);
            let (first, last) = number(first).zip(number(last)).ok_or_else(invalid)?;
            if first > last {
                return Err(invalid());
            }
            (first..=last).for_each(|number| set[number / 64] |= 1 << (number % 64));
        }
        Ok(Self(set))
    }
}

/// Those of a further program: before and after it enters the container's control groups.
#[derive(Debug, Default)]
pub(super) struct Affinity {
    pub(super) initial: Option<Processors>,
    pub(super) last: Option<Processors>,
}

impl Affinity {
    pub(super) fn new(process: &Process) -> Result<Self> {
        let Some(affinity) = process.exec_cpu_affinity() else { return Ok(Self::default()) };
        let parse =
            |list: &Option<String>| list.as_deref().filter(|list| !list.is_empty()).map(Processors::parse).transpose();
        Ok(Self { initial: parse(affinity.initial())?, last: parse(affinity.cpu_affinity_final())? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_read() {
        assert_eq!(Processors::parse("0-3,7").unwrap().0[0], 0b1000_1111);
        assert_eq!(Processors::parse("64,1023").unwrap().0[15], 1 << 63);
        for wrong in ["3-1", "1024", "a", "", "1,,2"] {
            assert!(Processors::parse(wrong).is_err(), "{wrong}");
        }
    }
}
