//! `update`.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use berth_backends::ContainerId;
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value};

use crate::Context;
use crate::container::{Container, Status};

#[derive(clap::Args)]
pub(crate) struct Update {
    /// File with the resources, as config.json has them; - is standard input
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,
    #[command(flatten)]
    limits: Limits,
    /// The container's ID
    id: ContainerId,
}

/// Bytes, microseconds and shares, as the specification has them.
#[derive(clap::Args)]
struct Limits {
    /// Weight of block I/O
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Length of a CPU period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_period: Option<u64>,
    /// CPU time in a period in microseconds
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true)]
    cpu_quota: Option<i64>,
    /// CPU time that may be saved up, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_burst: Option<u64>,
    /// Weight of CPU time
    #[arg(long, value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// Length of a period of realtime scheduling in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_period: Option<u64>,
    /// CPU time of realtime scheduling in a period in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    cpu_rt_runtime: Option<i64>,
    /// CPUs that may be used
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes that may be used
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Memory in bytes
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory: Option<i64>,
    /// Memory that is left when it is scarce, in bytes
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_reservation: Option<i64>,
    /// Memory and swap together in bytes
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    memory_swap: Option<i64>,
    /// Number of processes
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pids_limit: Option<i64>,
}

impl Limits {
    /// In the specification's form; `None` if nothing is asked for.
    fn resources(&self) -> anyhow::Result<Option<LinuxResources>> {
        let fields: [(&str, &str, Option<Value>); 13] = [
            ("blockIO", "weight", self.blkio_weight.map(Value::from)),
            ("cpu", "period", self.cpu_period.map(Value::from)),
            ("cpu", "quota", self.cpu_quota.map(Value::from)),
            ("cpu", "burst", self.cpu_burst.map(Value::from)),
            ("cpu", "shares", self.cpu_share.map(Value::from)),
            ("cpu", "realtimePeriod", self.cpu_rt_period.map(Value::from)),
            ("cpu", "realtimeRuntime", self.cpu_rt_runtime.map(Value::from)),
            ("cpu", "cpus", self.cpuset_cpus.clone().map(Value::from)),
            ("cpu", "mems", self.cpuset_mems.clone().map(Value::from)),
            ("memory", "limit", self.memory.map(Value::from)),
            ("memory", "reservation", self.memory_reservation.map(Value::from)),
            ("memory", "swap", self.memory_swap.map(Value::from)),
            ("pids", "limit", self.pids_limit.map(Value::from)),
        ];
        let mut groups = Map::new();
        for (group, field, value) in fields {
            if let (Some(value), Some(fields)) =
                (value, groups.entry(group).or_insert_with(|| Value::Object(Map::new())).as_object_mut())
            {
                fields.insert(field.to_owned(), value);
            }
        }
        groups.retain(|_, fields| fields.as_object().is_some_and(|fields| !fields.is_empty()));
        if groups.is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_value(groups.into()).context("limits")?))
    }
}

impl Update {
    pub(crate) fn act(self, context: &Context) -> anyhow::Result<u8> {
        let flags = self.limits.resources()?;
        let resources = match (&self.resources, flags) {
            (Some(_), Some(_)) => bail!("update: name the limits by flags or by --resources, not by both"),
            (Some(path), None) => read(path)?,
            (None, Some(flags)) => flags,
            (None, None) => bail!("update: name a limit, or a file with --resources"),
        };
        let _lock = context.root.lock(&self.id)?;
        let container = Container::find(context, &self.id)?;
        ensure!(container.status_with_lock() != Status::Stopped, "container not running: {}", self.id);
        let sandbox = container.sandbox(None)?;
        let limiter = sandbox.limiter().context("this container has no control groups: nothing can limit it")?;
        limiter.update(&resources)?;
        Ok(0)
    }
}

fn read(path: &Path) -> anyhow::Result<LinuxResources> {
    let mut text = Vec::new();
    if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut text).context("read standard input")?;
    } else {
        text = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    }
    serde_json::from_slice(&text).with_context(|| format!("parse the resources in {}", path.display()))
}
