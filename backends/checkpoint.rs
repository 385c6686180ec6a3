//! A running container's processes as files, and back again.

use std::io;
use std::path::PathBuf;

use crate::{Bundle, ContainerId, Result, Sandbox, Stdio};

/// In [`Checkpoint::work`], while a container is restored: what it is to have from outside is mounted below. Whoever removes
/// the rest looks first whether this folder is empty.
pub const RESTORE_MOUNTS: &str = "mounts";

/// Where a checkpoint is and how it is made or taken up again.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Checkpoint {
    /// criu's path; `None`: the one that is installed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criu: Option<PathBuf>,
    /// An existing folder that nobody else may look into: its files hold the memory of the processes.
    pub images: PathBuf,
    /// Where criu's log goes and what it needs meanwhile; `None`: `images`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<PathBuf>,
    /// The processes go on after their checkpoint.
    #[serde(default)]
    pub leave_running: bool,
    /// Connections of TCP are kept; otherwise a container that has any is refused.
    #[serde(default)]
    pub tcp_established: bool,
    /// Locks of files are kept; otherwise a container that has any is refused.
    #[serde(default)]
    pub file_locks: bool,
    /// Unix sockets may be connected to others outside, which are not there afterwards.
    #[serde(default)]
    pub external_sockets: bool,
    /// The first process may be in the session of somebody outside.
    #[serde(default)]
    pub shell_job: bool,
    /// What becomes of control groups that the container itself has made.
    #[serde(default)]
    pub groups: GroupMode,
    /// Copy the memory alone, while the processes run; a checkpoint follows that names this one its parent.
    #[serde(default)]
    pub pre_dump: bool,
    /// The checkpoint that holds what has not changed since, relative to `images`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<PathBuf>,
}

/// criu's modes of control groups (criu(8), `--manage-cgroups`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GroupMode {
    Ignore,
    /// Those that are missing are made, with their limits.
    #[default]
    Soft,
    Full,
    Strict,
}

/// A container whose processes can be written to files.
pub trait Checkpointer {
    /// Writes everything to `to.images`. When it is complete and before the processes end (or go on, with
    /// `leave_running`), `complete` is called. On an error, also of `complete`, they go on as if nothing had been; what
    /// is in the folder is the caller's to remove.
    fn checkpoint(&self, to: &Checkpoint, complete: &mut dyn FnMut() -> io::Result<()>) -> Result<()>;
}

/// A backend that can make containers from checkpoints of its own.
pub trait Restorer {
    /// As [`crate::Backend::create`]: the container has its namespaces, groups and root, and at [`Sandbox::start`] its
    /// processes go on where `from` has them. From then on [`Sandbox::pid`] is another one.
    fn restore(&self, id: &ContainerId, bundle: &Bundle, io: Stdio, from: &Checkpoint) -> Result<Box<dyn Sandbox>>;
}
