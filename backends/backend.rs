//! The traits that every isolation backend implements.

use std::os::fd::{BorrowedFd, OwnedFd};

use berth_arch::{Host, Probe};
use oci_spec::runtime::{Capability, LinuxResources, Process, Spec};
use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, ContainerId};
use crate::checkpoint::{Checkpointer, Restorer};
use crate::runtime::Runtime;
use crate::{MemoryWatch, Result};

/// What a backend isolates on this host. Also the shape of `berth doctor`'s matrix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    pub pid: bool,
    pub mount: bool,
    pub network: bool,
    pub uts: bool,
    pub ipc: bool,
    pub user: bool,
    pub cgroup_namespace: bool,
    /// Controllers that limit: `memory`, `cpu`, `cpuset`, `pids`, `io`, `devices`, `freezer`, ...
    pub controllers: Vec<String>,
    pub capabilities: bool,
    pub no_new_privileges: bool,
    pub seccomp: bool,
    pub pause: bool,
    pub stats: bool,
    /// Its containers can be written to files and taken up again, if criu works here.
    #[serde(default)]
    pub checkpoint: bool,
}

impl Isolation {
    /// Capabilities by which a program could get out of a container of this kind, each with the reason. They are not among
    /// what a container has unless they are asked for.
    pub fn undone_by(&self) -> &'static [(Capability, &'static str)] {
        const OUT: &str = "with it a program can leave a root that is changed by chroot(2)";
        const MOUNTS: &str = "with it a program can change the host's mounts";
        const TRACE: &str = "with it a program can trace the host's processes";
        const BOOT: &str = "with it a program can restart the host";
        const HOST: &[(Capability, &str)] = &[(Capability::SysPtrace, TRACE), (Capability::SysBoot, BOOT)];
        const ALL: &[(Capability, &str)] = &[
            (Capability::SysPtrace, TRACE),
            (Capability::SysBoot, BOOT),
            (Capability::SysChroot, OUT),
            (Capability::SysAdmin, MOUNTS),
        ];
        match (self.pid, self.mount) {
            (true, _) => &[],
            (false, true) => HOST,
            (false, false) => ALL,
        }
    }
}

/// A way to isolate. Synchronous; called by a process with one thread (the monitor) when it creates.
pub trait Backend {
    fn name(&self) -> &str;

    /// The program behind it, if it is an external one.
    fn runtime(&self) -> Option<&Runtime> {
        None
    }

    /// What it isolates here, or why it cannot be used.
    fn probe(&self, host: &Host) -> Probe<Isolation>;

    /// Makes the container up to the point before its program runs: namespaces, cgroups, the root and all
    /// mounts are in place, and the program waits for [`Sandbox::start`]. Atomic: on an error nothing is left.
    fn create(&self, id: &ContainerId, bundle: &Bundle, io: Stdio) -> Result<Box<dyn Sandbox>>;

    /// Finds a container that another process created, from what [`Sandbox::saved`] returned then. What it
    /// returns can signal, list, freeze, measure, update and delete; with the specification of the container it can
    /// also start one that was left at its gate, and exec. Only the creator can wait.
    fn load(&self, id: &ContainerId, saved: &SavedSandbox, spec: Option<&Spec>) -> Result<Box<dyn Sandbox>>;

    /// For containers that go on where a checkpoint has them.
    fn restorer(&self) -> Option<&dyn Restorer> {
        None
    }

    /// Ends and removes what is left of a container whose creator and first process have ended. Idempotent.
    fn clear(&self, id: &ContainerId, saved: &SavedSandbox) -> Result<()>;
}

/// A backend of any kind.
pub type AnyBackend = Box<dyn Backend + Send + Sync>;

/// Where a program's streams go. Descriptors are handed over to the child.
pub enum Stdio {
    Pipes {
        stdin: OwnedFd,
        stdout: OwnedFd,
        stderr: OwnedFd,
    },
    /// The backend opens a pseudo-terminal inside the container; the controlling side comes out of
    /// [`Sandbox::take_terminal`] or [`ExecChild::take_terminal`]. Size in columns and rows, if known.
    Terminal {
        size: Option<(u16, u16)>,
    },
}

/// What is needed to find a sandbox again from another process; kept in the container's state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSandbox {
    pub backend: String,
    /// The program behind an external one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// The init process as the host sees it, with its start time (field 22 of /proc/PID/stat, clock ticks
    /// after boot) against reuse of the number.
    pub pid: i32,
    pub start_time: u64,
    /// Absolute cgroup directories, one a hierarchy (one in all on v2; none without cgroups).
    pub cgroups: Vec<std::path::PathBuf>,
    /// Whether rules about devices are in force. If not, programs that are started later are kept from making nodes, too.
    #[serde(default)]
    pub devices_enforced: bool,
    /// Where a backend keeps what it needs of this container, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<std::path::PathBuf>,
    /// Of a [`crate::Standalone`] container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<std::path::PathBuf>,
    /// Its OCI bundle's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<std::path::PathBuf>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_keyring: bool,
    #[cfg(target_os = "linux")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chroot: Option<crate::chroot::Saved>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// The program's own code, or 128 + signal.
    pub code: i32,
    pub signal: Option<i32>,
}

/// One container of a backend.
pub trait Sandbox {
    /// Lets the program run. Not idempotent. [`crate::Error::Exec`] tells "not found" from "cannot run".
    fn start(&mut self) -> Result<()>;

    /// Lets go of a [`crate::Standalone`] container: from now on it outlives this process, and waits at its gate for the
    /// `start` of whoever has loaded it. Until then it ends with its creator.
    fn leave(&mut self) -> Result<()>;

    /// Runs another program inside, which has `preserved` as its descriptors from 3 on. Returns when it runs, or with
    /// [`crate::Error::Exec`]. It ends with this process, unless the container is a standalone one.
    fn exec(&mut self, process: &Process, io: Stdio, preserved: Vec<OwnedFd>) -> Result<Box<dyn ExecChild>>;

    /// The init process as the host sees it.
    fn pid(&self) -> i32;

    /// The child of the creator by whose end [`Sandbox::try_wait`] knows: init itself, or a tool that has it as its own child.
    fn child(&self) -> i32 {
        self.pid()
    }

    fn saved(&self) -> SavedSandbox;

    /// Becomes readable when the init process has ended (a pidfd), where the kernel has it; otherwise the
    /// creator watches SIGCHLD.
    fn exit_fd(&self) -> Option<BorrowedFd<'_>>;

    /// The status if the init process has ended; reaps it. `None` while it runs.
    fn try_wait(&mut self) -> Result<Option<ExitStatus>>;

    /// Sends `signal` to the init process. A process that has ended is [`crate::Error::NotFound`].
    fn signal(&self, signal: i32) -> Result<()>;

    /// Kills every process of the container, by whatever means there are. Idempotent.
    fn kill_all(&self) -> Result<()>;

    /// All processes inside, as host process numbers.
    fn pids(&self) -> Result<Vec<i32>>;

    /// The controlling side of the pseudo-terminal, once.
    fn take_terminal(&mut self) -> Option<OwnedFd>;

    /// Removes cgroups and whatever else belongs to it. Kills first. Idempotent.
    fn delete(&mut self) -> Result<()>;

    /// What was asked for and is not in force, one sentence each (a limit without its controller, an rlimit
    /// that the host refuses to raise).
    fn warnings(&self) -> &[String];

    fn freezer(&self) -> Option<&dyn Freezer>;
    fn stats(&self) -> Option<&dyn Stats>;
    fn limiter(&self) -> Option<&dyn Limiter>;

    /// Of a container that can be written to files.
    fn checkpointer(&self) -> Option<&dyn Checkpointer> {
        None
    }
}

/// A program started by [`Sandbox::exec`].
pub trait ExecChild {
    fn pid(&self) -> i32;
    fn exit_fd(&self) -> Option<BorrowedFd<'_>>;
    fn try_wait(&mut self) -> Result<Option<ExitStatus>>;
    fn signal(&self, signal: i32) -> Result<()>;
    fn take_terminal(&mut self) -> Option<OwnedFd>;
}

pub trait Freezer {
    /// Stops all processes; returns when they are. Idempotent.
    fn freeze(&self) -> Result<()>;
    /// Idempotent.
    fn thaw(&self) -> Result<()>;
    fn is_frozen(&self) -> Result<bool>;
}

pub trait Stats {
    fn sample(&self) -> Result<Sample>;
    /// Whether the kernel killed a process of this container for want of memory since it was created.
    fn out_of_memory(&self) -> Result<bool>;
    /// A way to hear of that when it happens; `None` where one can only ask.
    fn memory_watch(&self) -> Option<MemoryWatch>;
}

pub trait Limiter {
    /// Applies the limits that are `Some`; the others stay. Not atomic across controllers.
    fn update(&self, resources: &LinuxResources) -> Result<()>;
}

/// Counters since the container was created.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Nanoseconds.
    pub cpu_total: u64,
    pub cpu_user: u64,
    pub cpu_system: u64,
    pub cpu_per_core: Vec<u64>,
    pub throttled_periods: u64,
    pub throttled_count: u64,
    /// Nanoseconds.
    pub throttled_time: u64,
    pub periods: u64,
    /// Bytes.
    pub memory_usage: u64,
    pub memory_max_usage: Option<u64>,
    /// Bytes; `None` without a limit.
    pub memory_limit: Option<u64>,
    pub memory_failcnt: u64,
    /// The kernel's memory.stat, as it is.
    pub memory_stat: std::collections::BTreeMap<String, u64>,
    pub pids_current: u64,
    pub pids_limit: Option<u64>,
    /// (major, minor, operation, value): bytes.
    pub io_bytes: Vec<(u64, u64, String, u64)>,
    pub io_operations: Vec<(u64, u64, String, u64)>,
    /// True on a cgroup v2 host (the two differ in the API's shape).
    pub unified: bool,
}
