//! What a container uses, in the form from which Docker's clients compute percentages.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use berth_api::models::{
    ContainerBlkioStatEntry, ContainerBlkioStats, ContainerCpuStats, ContainerCpuUsage, ContainerMemoryStats,
    ContainerNetworkStats, ContainerPidsStats, ContainerStatsResponse, ContainerStorageStats, ContainerThrottlingData,
};
use berth_backends::Sample;
use berth_monitor::Status;

use crate::{Container, Engine, Error, Result};

/// /proc/stat counts in hundredths of a second on every architecture (proc_stat(5), USER_HZ).
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// Measures one container again and again; each answer holds the one before.
pub struct Meter {
    engine: Arc<Engine>,
    container: Container,
    previous: Option<(String, ContainerCpuStats)>,
    running: bool,
}

impl Engine {
    pub fn stats(self: &Arc<Self>, name: &str) -> Result<Meter> {
        let container = self.find(name)?;
        let running = is_running(self.state(&container)?.status);
        Ok(Meter { engine: Arc::clone(self), container, previous: None, running })
    }
}

fn is_running(status: Status) -> bool {
    matches!(status, Status::Running | Status::Paused)
}

impl Meter {
    /// As of the last sample.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// A container that does not run is measured as nothing. [`Error::NotFound`] once it is removed.
    pub fn sample(&mut self) -> Result<ContainerStatsResponse> {
        let container = self.engine.find(&self.container.id)?;
        let state = self.engine.state(&container)?;
        self.running = is_running(state.status);
        self.container = container;
        if !self.running {
            self.previous = None;
            return Ok(self.nothing());
        }
        let sandbox = match self.engine.sandbox(&self.container, &state) {
            // It ended in this moment.
            Err(Error::Conflict(_) | Error::NotFound(_)) => return Ok(self.nothing()),
            sandbox => sandbox?,
        };
        let sample = match sandbox.stats() {
            Some(stats) => stats.sample()?,
            None => Sample::default(),
        };
        let read = crate::time::rfc3339(crate::time::now());
        let cpu = cpu(&sample);
        let (preread, precpu) = self
            .previous
            .replace((read.clone(), cpu.clone()))
            .unwrap_or_else(|| (crate::time::NEVER.to_owned(), cpu_of_nothing()));
        Ok(ContainerStatsResponse {
            read: Some(read),
            preread: Some(preread),
            cpu_stats: Some(cpu),
            precpu_stats: Some(precpu),
            memory_stats: Some(memory(&sample, self.engine.host().memory)),
            pids_stats: Some(ContainerPidsStats { current: Some(sample.pids_current), limit: sample.pids_limit }),
            blkio_stats: Some(block_io(&sample)),
            networks: networks(state.pid),
            ..self.nothing()
        })
    }

    fn nothing(&self) -> ContainerStatsResponse {
        ContainerStatsResponse {
            id: Some(self.container.id.clone()),
            name: Some(format!("/{}", self.container.name)),
            os_type: Some("linux".to_owned()),
            read: Some(crate::time::NEVER.to_owned()),
            preread: Some(crate::time::NEVER.to_owned()),
            cpu_stats: Some(cpu_of_nothing()),
            precpu_stats: Some(cpu_of_nothing()),
            memory_stats: Some(ContainerMemoryStats::default()),
            networks: None,
            pids_stats: Some(ContainerPidsStats::default()),
            blkio_stats: Some(ContainerBlkioStats::default()),
            num_procs: Some(0),
            storage_stats: Some(ContainerStorageStats::default()),
        }
    }
}

fn cpu_of_nothing() -> ContainerCpuStats {
    ContainerCpuStats {
        cpu_usage: Some(ContainerCpuUsage {
            total_usage: Some(0),
            usage_in_kernelmode: Some(0),
            usage_in_usermode: Some(0),
            percpu_usage: None,
        }),
        system_cpu_usage: None,
        online_cpus: None,
        throttling_data: Some(ContainerThrottlingData {
            periods: Some(0),
            throttled_periods: Some(0),
            throttled_time: Some(0),
        }),
    }
}

fn cpu(sample: &Sample) -> ContainerCpuStats {
    let (system, online) = machine(&fs::read_to_string("/proc/stat").unwrap_or_default());
    ContainerCpuStats {
        cpu_usage: Some(ContainerCpuUsage {
            total_usage: Some(sample.cpu_total),
            // cgroup v2 has no numbers for each processor.
            percpu_usage: (!sample.unified).then(|| sample.cpu_per_core.clone()),
            usage_in_kernelmode: Some(sample.cpu_system),
            usage_in_usermode: Some(sample.cpu_user),
        }),
        system_cpu_usage: Some(system),
        online_cpus: Some(online),
        throttling_data: Some(ContainerThrottlingData {
            periods: Some(sample.periods),
            throttled_periods: Some(sample.throttled_count),
            throttled_time: Some(sample.throttled_time),
        }),
    }
}

/// The time that all processors have spent, in nanoseconds, and how many there are.
fn machine(stat: &str) -> (u64, u32) {
    let mut total = 0;
    let mut online = 0;
    for line in stat.lines().take_while(|line| line.starts_with("cpu")) {
        let mut fields = line.split_ascii_whitespace();
        if fields.next() == Some("cpu") {
            // user nice system idle iowait irq softirq; what guests use is in user already.
            total = fields.take(7).filter_map(|field| field.parse::<u64>().ok()).sum();
        } else {
            online += 1;
        }
    }
    (total * NANOSECONDS_PER_TICK, online)
}

fn memory(sample: &Sample, machine: u64) -> ContainerMemoryStats {
    ContainerMemoryStats {
        usage: Some(sample.memory_usage),
        max_usage: sample.memory_max_usage,
        stats: Some(sample.memory_stat.clone().into_iter().collect()),
        failcnt: (!sample.unified).then_some(sample.memory_failcnt),
        // Without a limit of its own a container can use the whole machine.
        limit: Some(sample.memory_limit.map_or(machine, |limit| limit.min(machine))),
        ..ContainerMemoryStats::default()
    }
}

fn block_io(sample: &Sample) -> ContainerBlkioStats {
    let entries = |values: &[(u64, u64, String, u64)]| {
        let entry = |(major, minor, operation, value): &(u64, u64, String, u64)| ContainerBlkioStatEntry {
            major: Some(*major),
            minor: Some(*minor),
            op: Some(operation.clone()),
            value: Some(*value),
        };
        Some(values.iter().map(entry).collect())
    };
    ContainerBlkioStats {
        io_service_bytes_recursive: entries(&sample.io_bytes),
        io_serviced_recursive: entries(&sample.io_operations),
        ..ContainerBlkioStats::default()
    }
}

/// `None` for a container that shares the host's network, or has no interface but its own loopback.
fn networks(pid: i32) -> Option<HashMap<String, ContainerNetworkStats>> {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    if namespace(&pid.to_string())? == namespace("self")? {
        return None;
    }
    let table = interfaces(&fs::read_to_string(format!("/proc/{pid}/net/dev")).ok()?);
    (!table.is_empty()).then_some(table)
}

fn interfaces(table: &str) -> HashMap<String, ContainerNetworkStats> {
    let parse = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
        let name = name.trim();
        // bytes packets errs drop fifo frame compressed multicast, received; then sent.
        let [rx_bytes, rx_packets, rx_errors, rx_dropped, _, _, _, _, tx_bytes, tx_packets, tx_errors, tx_dropped, ..] =
            numbers[..]
        else {
            return None;
        };
        let counters = ContainerNetworkStats {
            rx_bytes: Some(rx_bytes),
            rx_packets: Some(rx_packets),
            rx_errors: Some(rx_errors),
            rx_dropped: Some(rx_dropped),
            tx_bytes: Some(tx_bytes),
            tx_packets: Some(tx_packets),
            tx_errors: Some(tx_errors),
            tx_dropped: Some(tx_dropped),
            ..ContainerNetworkStats::default()
        };
        (name != "lo").then(|| (name.to_owned(), counters))
    };
    table.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_time_is_that_of_all_processors_without_guests() {
        let stat = "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 1 1 1 1\ncpu1 1 1 1 1\nintr 5\ncpufreq 1\n";
        assert_eq!(machine(stat), (28 * NANOSECONDS_PER_TICK, 2));
        assert_eq!(machine(""), (0, 0));
    }

    #[test]
    fn interfaces_are_counted_without_loopback() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes packets\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
                     eth0:10 2 3 4 0 0 0 0 50 6 7 8 0 0 0 0\n";
        let found = interfaces(table);
        assert_eq!(found.len(), 1);
        assert_eq!((found["eth0"].rx_bytes, found["eth0"].tx_dropped), (Some(10), Some(8)));
    }
}
