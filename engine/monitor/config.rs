//! What the engine hands to a monitor: `monitor.json` in the container's folder.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_arch::mount::Mount;
use berth_backends::{Checkpoint, ContainerId, Runtime};
use berth_network::Plan;
use serde::{Deserialize, Serialize};

/// Written by the engine before it starts the monitor. The OCI Spec lies beside it in `config.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MonitorConfig {
    pub id: ContainerId,
    /// The container's folder (state root) and run folder; see berth-store's `Paths`.
    pub folder: PathBuf,
    pub run_folder: PathBuf,
    /// `state.json`: in the container's folder, or in the run folder if the container is removed when it ends.
    pub state: PathBuf,
    /// The present boot; see [`crate::state::boot_id`].
    pub boot: String,
    /// The stream of events; see [`crate::protocol::Event`].
    pub events: PathBuf,
    pub backend: String,
    /// The program behind the backend, if it is an external one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    pub rootfs: Vec<Mount>,
    pub mount_point: PathBuf,
    /// What the container is connected to; nothing for the modes none, host and container.
    #[serde(default)]
    pub network: Plan,
    pub terminal: bool,
    /// Initial size: columns, rows.
    pub size: Option<(u16, u16)>,
    pub open_stdin: bool,
    /// Standard input ends when the first client that sends it has gone.
    pub stdin_once: bool,
    pub log: LogConfig,
    pub restart: RestartPolicy,
    pub auto_remove: bool,
    pub stop_signal: i32,
    /// Seconds; negative: wait for ever.
    pub stop_timeout: i64,
    /// What every event of this container carries: image, name and labels.
    pub attributes: BTreeMap<String, String>,
    /// The program and arguments to become when the container has ended for good, nobody who waits has promised
    /// to remove it, and `auto_remove` is set.
    pub remove_command: Vec<String>,
    /// Mounted with absolute targets before the container is made, in a mount namespace of the monitor's own: they end
    /// with it.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Volumes that the container's end is told of.
    #[serde(default)]
    pub volumes: Vec<VolumeUse>,
    /// Run `remove_command` at the end of a container that is kept too: it tells others that it has ended.
    #[serde(default)]
    pub releases: bool,
    /// What the first start goes on with, instead of the specification's program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Checkpoint>,
}

/// A volume of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeUse {
    pub name: String,
    pub driver: String,
}

/// `none` writes nothing; everything else is Docker's `json-file`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogConfig {
    pub driver: LogDriver,
    pub path: PathBuf,
    /// Bytes at which the file is rotated.
    pub max_size: Option<u64>,
    /// Files kept, the current one included; at least 1.
    pub max_file: u32,
    /// Whether rotated files are compressed (gzip).
    pub compress: bool,
    /// Added to each line under `attrs`.
    pub attributes: BTreeMap<String, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    None,
    JsonFile,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "name")]
pub enum RestartPolicy {
    No,
    /// At most this many times in a row; 0: without end.
    OnFailure {
        maximum: u32,
    },
    Always,
    UnlessStopped,
}
