//! Where things lie below a state root and a run root.

use std::path::{Path, PathBuf};

/// The two roots. `--root FOLDER` puts both into FOLDER.
#[derive(Debug, Clone)]
pub struct Paths {
    /// What survives a reboot: `/var/lib/berth`.
    pub state: PathBuf,
    /// What does not: `/run/berth`.
    pub run: PathBuf,
}

impl Paths {
    pub fn new(state: impl Into<PathBuf>, run: impl Into<PathBuf>) -> Self {
        Self { state: state.into(), run: run.into() }
    }

    /// Everything below one folder.
    pub fn within(root: &Path) -> Self {
        Self::new(root, root.join("run"))
    }

    pub fn database(&self) -> PathBuf {
        self.state.join("berth.db")
    }

    /// A container's folder: `state.json` (if it outlives its container's end), `monitor.json`, `config.json` (the OCI Spec), its log, and the files that
    /// are bound into it (`hosts`, `hostname`, `resolv.conf`).
    pub fn container(&self, id: &str) -> PathBuf {
        self.state.join("containers").join(id)
    }

    /// A container's run folder: its monitor's socket and lock, and the executions inside.
    pub fn container_run(&self, id: &str) -> PathBuf {
        self.run.join("containers").join(id)
    }

    /// An empty folder, on which each container's root is mounted in a mount namespace of its own.
    pub fn mount_point(&self) -> PathBuf {
        self.run.join("rootfs")
    }

    /// Where a container's root is mounted whose mounts are the host's. Removed when empty and in no other way: whatever is
    /// mounted there may be somebody's data.
    pub fn shared_mount_point(&self, id: &str) -> PathBuf {
        self.shared_mount_points().join(id)
    }

    pub fn shared_mount_points(&self) -> PathBuf {
        self.run.join("roots")
    }

    /// The stream of events of all engines and monitors, JSON lines.
    pub fn events(&self) -> PathBuf {
        self.run.join("events.jsonl")
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("berth.sock")
    }

    /// Locks between processes; nothing of them has to outlive a reboot.
    pub fn locks(&self) -> PathBuf {
        self.run.join("locks")
    }

    /// Records for the exact re-creation of layer archives, and other large content by name.
    pub fn content(&self) -> PathBuf {
        self.state.join("content")
    }

    /// Scratch space on the state's file system; emptied by whoever finds it unlocked.
    pub fn scratch(&self) -> PathBuf {
        self.state.join("tmp")
    }
}
