//! `events`: lines of JSON, as runc prints them.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use berth_backends::{ContainerId, Sample, Sandbox};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};

use super::print_json;
use crate::Context;
use crate::container::{Container, Status};

#[derive(clap::Args)]
pub(crate) struct Events {
    /// Print what is used once
    #[arg(long)]
    stats: bool,
    /// Time between two lines of what is used (5s, 500ms)
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    interval: Duration,
    /// The container's ID
    id: ContainerId,
}

fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000)];
    let found = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.parse::<u64>().ok()?, factor)));
    match found.and_then(|(number, factor)| number.checked_mul(*factor)) {
        Some(milliseconds) if milliseconds > 0 => Ok(Duration::from_millis(milliseconds)),
        _ => Err("use a number with ms, s or m".to_owned()),
    }
}

impl Events {
    /// Without `--stats` until the container has stopped: what is used, and each time memory runs out.
    pub(crate) fn act(self, context: &Context) -> anyhow::Result<u8> {
        let container = Container::find(context, &self.id)?;
        let sandbox = container.sandbox(None)?;
        self.print_stats(sandbox.as_ref())?;
        if self.stats {
            return Ok(0);
        }
        let mut memory = sandbox.stats().and_then(|stats| stats.memory_watch());
        let mut since = Instant::now();
        while container.status(context) != Status::Stopped {
            let left = self.interval.saturating_sub(since.elapsed());
            // A second at most, for kernels that do not tell of a process's end.
            let wait = left.min(Duration::from_secs(1));
            let wait = Timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos() as _ };
            let end = sandbox.exit_fd().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            let watched = memory.as_ref().map(|memory| PollFd::new(memory, memory.poll_flags()));
            let mut polled: Vec<PollFd<'_>> = end.into_iter().chain(watched).collect();
            let _ = poll(&mut polled, Some(&wait));
            drop(polled);
            if memory.as_mut().is_some_and(|memory| memory.happened()) {
                print_json(&json!({ "type": "oom", "id": self.id.as_str() }))?;
            }
            if since.elapsed() >= self.interval && container.status(context) != Status::Stopped {
                since = Instant::now();
                self.print_stats(sandbox.as_ref())?;
            }
        }
        Ok(0)
    }

    fn print_stats(&self, sandbox: &dyn Sandbox) -> anyhow::Result<()> {
        let stats = sandbox.stats().context("this container has no control groups: nothing is counted")?;
        print_json(&json!({ "type": "stats", "id": self.id.as_str(), "data": data(&stats.sample()?) })).map(drop)
    }
}

/// The shape of runc's `events`; times are nanoseconds, sizes bytes.
fn data(sample: &Sample) -> Value {
    let entries = |entries: &[(u64, u64, String, u64)]| -> Vec<Value> {
        let entry = |(major, minor, op, value): &(u64, u64, String, u64)| json!({ "major": major, "minor": minor, "op": op, "value": value });
        entries.iter().map(entry).collect()
    };
    json!({
        "cpu": {
            "usage": {
                "total": sample.cpu_total,
                "percpu": sample.cpu_per_core,
                "kernel": sample.cpu_system,
                "user": sample.cpu_user,
            },
            "throttling": {
                "periods": sample.periods,
                "throttledPeriods": sample.throttled_count.max(sample.throttled_periods),
                "throttledTime": sample.throttled_time,
            },
        },
        "memory": {
            "cache": sample.memory_stat.get("cache").or(sample.memory_stat.get("file")).copied().unwrap_or(0),
            "usage": {
                "limit": sample.memory_limit.unwrap_or(u64::MAX),
                "usage": sample.memory_usage,
                "max": sample.memory_max_usage.unwrap_or(0),
                "failcnt": sample.memory_failcnt,
            },
            "raw": sample.memory_stat,
        },
        "pids": { "current": sample.pids_current, "limit": sample.pids_limit.unwrap_or(0) },
        "blkio": {
            "ioServiceBytesRecursive": entries(&sample.io_bytes),
            "ioServicedRecursive": entries(&sample.io_operations),
        },
    })
}
