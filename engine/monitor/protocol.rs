//! What is said over a monitor's socket (`monitor.sock` in the run folder).
//!
//! A client sends one [`Request`] as a JSON line and gets one [`Response`] as a JSON line. After a positive answer to
//! [`Request::Attach`] or a not detached [`Request::Exec`], both sides send frames: Docker's 8-byte header
//! (kind, 0, 0, 0, length as u32 big-endian) and so many bytes, at most [`MAX_FRAME`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_backends::Checkpoint;
use berth_network::Plan;
use oci_spec::runtime::{LinuxResources, Process};
use serde::{Deserialize, Serialize};

use crate::config::RestartPolicy;

pub const MAX_FRAME: usize = 64 * 1024;

/// Kinds of frames.
pub mod frame {
    /// Client to monitor. Empty: end of input.
    pub const STDIN: u8 = 0;
    /// Monitor to client. A terminal has only this one.
    pub const STDOUT: u8 = 1;
    pub const STDERR: u8 = 2;
    /// JSON: [`super::FromClient`] or [`super::FromMonitor`].
    pub const CONTROL: u8 = 3;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    Attach {
        stdin: bool,
        stdout: bool,
        stderr: bool,
        /// Bytes; empty: no detach keys.
        detach_keys: Vec<u8>,
    },
    Exec {
        id: String,
        process: Box<Process>,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        detach: bool,
        detach_keys: Vec<u8>,
        size: Option<(u16, u16)>,
    },
    /// Of the container's terminal, or of an execution's. Columns, rows.
    Resize {
        exec: Option<String>,
        columns: u16,
        rows: u16,
    },
    Signal {
        signal: i32,
    },
    /// Ends the container and keeps it ended: signal, wait, SIGKILL. `None`: the configured ones. Answers when it has
    /// ended.
    Stop {
        signal: Option<i32>,
        timeout: Option<i64>,
    },
    /// Writes the container to the folder `place`, which is made, and ends it unless it is to go on. `options` name no
    /// images. Answers when it has ended.
    Checkpoint {
        place: PathBuf,
        options: Box<Checkpoint>,
    },
    Pause,
    /// As `Pause`, for as long as this connection lasts: whoever asked may be killed.
    Hold,
    Unpause,
    Update {
        resources: Option<Box<LinuxResources>>,
        restart: Option<RestartPolicy>,
        attributes: Option<BTreeMap<String, String>>,
    },
    /// What the container is connected to from now on; endpoints are told apart by their IDs.
    Networks {
        plan: Box<Plan>,
    },
    /// Answers with [`Response::Exited`]. `removes`: whoever waits removes the container if it is to be removed.
    Wait {
        condition: WaitCondition,
        removes: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitCondition {
    /// At once if it does not run (and will not be restarted).
    NotRunning,
    /// The next end, even if a restart follows.
    NextExit,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Response {
    Done,
    /// The execution runs; its process as the host sees it.
    Executing {
        pid: i32,
    },
    Exited {
        code: i32,
        error: String,
    },
    Refused(Refusal),
}

/// Why a request was not carried out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refusal {
    pub kind: RefusalKind,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The state does not allow it (paused, not running, already running).
    Conflict,
    NotFound,
    InvalidArgument,
    /// The program to execute is not in the container (exit code 127).
    ProgramNotFound,
    /// It is there and cannot be executed (exit code 126).
    CannotExecute,
    Failed,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromClient {
    Resize { columns: u16, rows: u16 },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromMonitor {
    /// The detach keys were typed; the connection ends.
    Detached,
    /// The program has ended and all its output was sent.
    Exited { code: i32 },
    /// The client was too slow for too long; what follows would have a hole, so the connection ends.
    Overrun,
}

/// The one message that a starting monitor writes to the descriptor it was given, then closes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Started {
    Running { pid: i32, warnings: Vec<String> },
    Refused(Refusal),
}

/// One line of the events file; the engine shows it in Docker's form.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds after the Unix epoch.
    pub time: i64,
    /// `container`, `image`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// `start`, `die`, `oom`, ...
    pub action: String,
    pub id: String,
    pub attributes: BTreeMap<String, String>,
}
