//! The flags of `berth run` and `berth create`: Docker's, under Docker's names.

use std::path::PathBuf;

use super::bytes;

// Everything that describes a container, and at the end the image, the command and its arguments. Not for clap, which
// would say it of the verb.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ContainerArgs {
    /// Add a custom host-to-IP mapping (host:ip)
    #[arg(long, value_name = "HOST:IP")]
    pub(super) add_host: Vec<String>,
    /// Add an annotation to the container (passed through to the OCI runtime)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) annotation: Vec<String>,
    /// Attach to STDIN, STDOUT or STDERR
    #[arg(short, long, value_name = "STREAM")]
    pub(super) attach: Vec<String>,
    /// Block IO (relative weight), between 10 and 1000, or 0 to disable
    #[arg(long, value_name = "WEIGHT")]
    pub(super) blkio_weight: Option<u16>,
    /// Block IO weight (relative device weight)
    #[arg(long, value_name = "DEVICE:WEIGHT")]
    pub(super) blkio_weight_device: Vec<String>,
    /// Add Linux capabilities
    #[arg(long, value_name = "CAP")]
    pub(super) cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "CAP")]
    pub(super) cap_drop: Vec<String>,
    /// Optional parent cgroup for the container
    #[arg(long, value_name = "PATH")]
    pub(super) cgroup_parent: Option<String>,
    /// Cgroup namespace to use (host|private)
    #[arg(long, value_name = "MODE")]
    pub(super) cgroupns: Option<String>,
    /// Write the container ID to the file
    #[arg(long, value_name = "FILE")]
    pub(super) cidfile: Option<PathBuf>,
    /// Limit CPU CFS (Completely Fair Scheduler) period, microseconds
    #[arg(long, value_name = "INT")]
    pub(super) cpu_period: Option<i64>,
    /// Limit CPU CFS (Completely Fair Scheduler) quota, microseconds
    #[arg(long, value_name = "INT", allow_negative_numbers = true)]
    pub(super) cpu_quota: Option<i64>,
    /// Limit CPU real-time period in microseconds
    #[arg(long, value_name = "INT")]
    pub(super) cpu_rt_period: Option<i64>,
    /// Limit CPU real-time runtime in microseconds
    #[arg(long, value_name = "INT")]
    pub(super) cpu_rt_runtime: Option<i64>,
    /// CPU shares (relative weight)
    #[arg(short, long, value_name = "INT")]
    pub(super) cpu_shares: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_name = "DECIMAL", value_parser = nano_cpus)]
    pub(super) cpus: Option<i64>,
    /// CPUs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    pub(super) cpuset_cpus: Option<String>,
    /// MEMs in which to allow execution (0-3, 0,1)
    #[arg(long, value_name = "LIST")]
    pub(super) cpuset_mems: Option<String>,
    /// Add a host device to the container
    #[arg(long, value_name = "DEVICE")]
    pub(super) device: Vec<String>,
    /// Add a rule to the cgroup allowed devices list
    #[arg(long, value_name = "RULE")]
    pub(super) device_cgroup_rule: Vec<String>,
    /// Limit read rate (bytes per second) from a device
    #[arg(long, value_name = "DEVICE:RATE")]
    pub(super) device_read_bps: Vec<String>,
    /// Limit read rate (IO per second) from a device
    #[arg(long, value_name = "DEVICE:RATE")]
    pub(super) device_read_iops: Vec<String>,
    /// Limit write rate (bytes per second) to a device
    #[arg(long, value_name = "DEVICE:RATE")]
    pub(super) device_write_bps: Vec<String>,
    /// Limit write rate (IO per second) to a device
    #[arg(long, value_name = "DEVICE:RATE")]
    pub(super) device_write_iops: Vec<String>,
    /// Set custom DNS servers
    #[arg(long, value_name = "IP")]
    pub(super) dns: Vec<String>,
    /// Set DNS options
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub(super) dns_option: Vec<String>,
    /// Set custom DNS search domains
    #[arg(long, value_name = "DOMAIN")]
    pub(super) dns_search: Vec<String>,
    /// Container NIS domain name
    #[arg(long, value_name = "NAME")]
    pub(super) domainname: Option<String>,
    /// Overwrite the default ENTRYPOINT of the image
    #[arg(long, value_name = "PROGRAM")]
    pub(super) entrypoint: Option<String>,
    /// Set environment variables
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(super) env: Vec<String>,
    /// Read in a file of environment variables
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Vec<PathBuf>,
    /// Expose a port or a range of ports
    #[arg(long, value_name = "PORT")]
    pub(super) expose: Vec<String>,
    /// Add additional groups to join
    #[arg(long, value_name = "GROUP")]
    pub(super) group_add: Vec<String>,
    /// Command to run to check health
    #[arg(long, value_name = "COMMAND")]
    pub(super) health_cmd: Option<String>,
    /// Time between running the check (ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    pub(super) health_interval: Option<String>,
    /// Consecutive failures needed to report unhealthy
    #[arg(long, value_name = "INT")]
    pub(super) health_retries: Option<i64>,
    /// Time between running the check during the start period (ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    pub(super) health_start_interval: Option<String>,
    /// Start period for the container to initialize before starting health-retries countdown (ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    pub(super) health_start_period: Option<String>,
    /// Maximum time to allow one check to run (ms|s|m|h)
    #[arg(long, value_name = "DURATION")]
    pub(super) health_timeout: Option<String>,
    /// Container host name
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(super) hostname: Option<String>,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long)]
    pub(super) init: bool,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub(super) interactive: bool,
    /// IPv4 address (e.g., 172.30.100.104)
    #[arg(long, value_name = "IP")]
    pub(super) ip: Option<String>,
    /// IPv6 address (e.g., 2001:db8::33)
    #[arg(long, value_name = "IP")]
    pub(super) ip6: Option<String>,
    /// IPC mode to use
    #[arg(long, value_name = "MODE")]
    pub(super) ipc: Option<String>,
    /// Isolation backend (see `berth doctor`)
    #[arg(long, value_name = "NAME")]
    pub(super) isolation: Option<String>,
    /// Set meta data on a container
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(super) label: Vec<String>,
    /// Read in a line delimited file of labels
    #[arg(long, value_name = "FILE")]
    pub(super) label_file: Vec<PathBuf>,
    /// Add link to another container
    #[arg(long, value_name = "NAME:ALIAS")]
    pub(super) link: Vec<String>,
    /// Container IPv4/IPv6 link-local addresses
    #[arg(long, value_name = "IP")]
    pub(super) link_local_ip: Vec<String>,
    /// Logging driver for the container
    #[arg(long, value_name = "DRIVER")]
    pub(super) log_driver: Option<String>,
    /// Log driver options
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) log_opt: Vec<String>,
    /// Container MAC address (e.g., 92:d0:c6:0a:29:33)
    #[arg(long, value_name = "MAC")]
    pub(super) mac_address: Option<String>,
    /// Memory limit
    #[arg(short, long, value_name = "BYTES", value_parser = bytes::parse)]
    pub(super) memory: Option<i64>,
    /// Memory soft limit
    #[arg(long, value_name = "BYTES", value_parser = bytes::parse)]
    pub(super) memory_reservation: Option<i64>,
    /// Swap limit equal to memory plus swap: '-1' to enable unlimited swap
    #[arg(long, value_name = "BYTES", value_parser = bytes::parse, allow_negative_numbers = true)]
    pub(super) memory_swap: Option<i64>,
    /// Tune container memory swappiness (0 to 100)
    #[arg(long, value_name = "INT", allow_negative_numbers = true)]
    pub(super) memory_swappiness: Option<i64>,
    /// Attach a filesystem mount to the container
    #[arg(long, value_name = "MOUNT")]
    pub(super) mount: Vec<String>,
    /// Assign a name to the container
    #[arg(long, value_name = "NAME")]
    pub(super) name: Option<String>,
    /// Connect a container to a network
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub(super) network: Vec<String>,
    /// Add network-scoped alias for the container
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    pub(super) network_alias: Vec<String>,
    /// Disable any container-specified HEALTHCHECK
    #[arg(long)]
    pub(super) no_healthcheck: bool,
    /// Disable OOM Killer
    #[arg(long)]
    pub(super) oom_kill_disable: bool,
    /// Tune host's OOM preferences (-1000 to 1000)
    #[arg(long, value_name = "INT", allow_negative_numbers = true)]
    pub(super) oom_score_adj: Option<i64>,
    /// PID namespace to use
    #[arg(long, value_name = "MODE")]
    pub(super) pid: Option<String>,
    /// Tune container pids limit (set -1 for unlimited)
    #[arg(long, value_name = "INT", allow_negative_numbers = true)]
    pub(super) pids_limit: Option<i64>,
    /// Set platform if server is multi-platform capable
    #[arg(long, value_name = "OS/ARCH")]
    pub(super) platform: Option<String>,
    /// Give extended privileges to this container
    #[arg(long)]
    pub(super) privileged: bool,
    /// Publish a container's port(s) to the host
    #[arg(short, long, value_name = "PORT")]
    pub(super) publish: Vec<String>,
    /// Publish all exposed ports to random ports
    #[arg(short = 'P', long)]
    pub(super) publish_all: bool,
    /// Pull image before running ("always", "missing", "never")
    #[arg(long, value_name = "WHEN", default_value = "missing", value_parser = ["always", "missing", "never"])]
    pub(super) pull: String,
    /// Suppress the pull output
    #[arg(short, long)]
    pub(super) quiet: bool,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    pub(super) read_only: bool,
    /// Restart policy to apply when a container exits
    #[arg(long, value_name = "POLICY", default_value = "no", hide_default_value = true)]
    pub(super) restart: String,
    /// Automatically remove the container and its associated anonymous volumes when it exits
    #[arg(long)]
    pub(super) rm: bool,
    /// Runtime to use for this container
    #[arg(long, value_name = "NAME", conflicts_with = "isolation")]
    pub(super) runtime: Option<String>,
    /// Security Options
    #[arg(long, value_name = "OPTION")]
    pub(super) security_opt: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = bytes::parse)]
    pub(super) shm_size: Option<i64>,
    /// Signal to stop the container
    #[arg(long, value_name = "SIGNAL")]
    pub(super) stop_signal: Option<String>,
    /// Timeout (in seconds) to stop a container
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(super) stop_timeout: Option<i64>,
    /// Storage driver options for the container
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) storage_opt: Vec<String>,
    /// Sysctl options
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) sysctl: Vec<String>,
    /// Mount a tmpfs directory
    #[arg(long, value_name = "PATH[:OPTIONS]")]
    pub(super) tmpfs: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub(super) tty: bool,
    /// Ulimit options
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(super) ulimit: Vec<String>,
    /// Username or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long, value_name = "USER")]
    pub(super) user: Option<String>,
    /// User namespace to use (host, remap, auto[:size=N])
    #[arg(long, value_name = "MODE")]
    pub(super) userns: Option<String>,
    /// UTS namespace to use
    #[arg(long, value_name = "MODE")]
    pub(super) uts: Option<String>,
    /// Bind mount a volume
    #[arg(short, long, value_name = "VOLUME")]
    pub(super) volume: Vec<String>,
    /// Optional volume driver for the container
    #[arg(long, value_name = "NAME")]
    pub(super) volume_driver: Option<String>,
    /// Mount volumes from the specified container(s)
    #[arg(long, value_name = "CONTAINER")]
    pub(super) volumes_from: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "FOLDER")]
    pub(super) workdir: Option<String>,
    /// The image, and the command to run in it
    #[arg(value_name = "IMAGE [COMMAND] [ARG...]", required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) command: Vec<String>,
}

/// Billionths of a processor from a decimal number, without the detour over floating point.
pub(crate) fn nano_cpus(text: &str) -> Result<i64, String> {
    let invalid = || format!("{text} is not a number of CPUs");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 9 {
        return Err("value is too precise".to_owned());
    }
    let digits = |text: &str| {
        if text.bytes().all(|c| c.is_ascii_digit()) && (!whole.is_empty() || !part.is_empty()) {
            format!("0{text}").parse::<i64>().map_err(|_| invalid())
        } else {
            Err(invalid())
        }
    };
    let nanos = digits(&format!("{part:0<9}"))?;
    digits(whole)?.checked_mul(1_000_000_000).and_then(|value| value.checked_add(nanos)).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::nano_cpus;

    #[test]
    fn processors_are_decimal_numbers() {
        assert_eq!(nano_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(nano_cpus(".25"), Ok(250_000_000));
        assert_eq!(nano_cpus("2"), Ok(2_000_000_000));
        for bad in ["", ".", "-1", "1e3", "one", "1.0000000001"] {
            assert!(nano_cpus(bad).is_err(), "{bad}");
        }
    }
}
