//! What the monitor knows about its container: `state.json`, replaced atomically.

use std::io::Read;
use std::sync::OnceLock;

use berth_backends::SavedSandbox;
use serde::{Deserialize, Serialize};

/// Docker's names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    #[default]
    Created,
    Running,
    Paused,
    Restarting,
    Exited,
    Dead,
}

impl Status {
    /// Whether a monitor looks after it: it runs, is paused, or waits for its next start. Docker calls all three running.
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// Only the monitor writes it while it lives; a container without a living monitor (its lock is free) that
/// says `running` was lost, and the engine that notices writes the truth under the container's lock.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    pub status: Status,
    /// Host process numbers; 0 when there is none.
    pub pid: i32,
    pub monitor_pid: i32,
    pub sandbox: Option<SavedSandbox>,
    pub exit_code: i32,
    /// Why it could not be started, or how it was lost.
    pub error: String,
    pub out_of_memory: bool,
    /// Nanoseconds after the Unix epoch; 0: never.
    pub started_at: i64,
    pub finished_at: i64,
    pub restart_count: u32,
    /// The user stopped it: `unless-stopped` and `always` leave it alone.
    pub stopped_by_user: bool,
    /// What was asked for and is not in force, from the backend.
    pub warnings: Vec<String>,
    /// The host's boot during which it was started: a container of another one was ended by the host. Empty where
    /// the kernel does not tell.
    #[serde(default)]
    pub boot: String,
    /// It did not end by itself: its monitor was killed, or the host went down. Set by the engine that noticed.
    #[serde(default)]
    pub lost: bool,
}

/// What tells one boot of the host from another (random(4)). It stays as long as a process does.
pub fn boot_id() -> String {
    static BOOT: OnceLock<String> = OnceLock::new();
    let look = || {
        let mut text = [0; 36];
        let read = std::fs::File::open("/proc/sys/kernel/random/boot_id").and_then(|mut file| file.read(&mut text));
        String::from_utf8_lossy(&text[..read.unwrap_or(0)]).trim_end().to_owned()
    };
    BOOT.get_or_init(look).clone()
}

/// One execution inside, `exec/ID.json` in the run folder. The engine writes it without `pid`, the monitor after.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ExecState {
    pub running: bool,
    pub pid: i32,
    pub exit_code: Option<i32>,
}
