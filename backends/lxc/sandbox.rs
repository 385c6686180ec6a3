//! A container of this backend, as its creator or another process holds it.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use berth_arch::process::{self, Process};
use oci_spec::runtime::Spec;

use super::tools::{Log, Tools};
use super::{exec, leftovers};
use crate::cgroup::Cgroup;
use crate::namespace::foreign::Waiting;
use crate::namespace::sandbox::{exit_status, send};
use crate::namespace::{setup, tree};
use crate::{Error, ExecChild, ExitStatus, Freezer, Limiter, Result, Sandbox, SavedSandbox, Stats, Stdio};

/// `lxc-start`'s log in the container's folder.
pub(super) const LOG: &str = "log";
/// How long `lxc-start` may take to clear away after its container has ended.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) struct Container {
    pub(super) name: String,
    /// What LXC has of it: configuration and log. Its parent is LXC's path.
    pub(super) folder: PathBuf,
    /// Number and start time of its first process; 0 before that is known.
    pub(super) pid: i32,
    pub(super) start_time: u64,
    /// `None` before that is known, and once it has ended when this was loaded.
    pub(super) init: Option<Process>,
    pub(super) cgroup: Cgroup,
    pub(super) warnings: Vec<String>,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) status: Option<ExitStatus>,
    pub(super) spec: Option<Spec>,
    pub(super) devices_enforced: bool,
    /// What only the creator has.
    pub(super) creator: Option<Creator>,
}

pub(super) struct Creator {
    pub(super) tools: Tools,
    /// `lxc-start`, a child of this process and the parent of the container's first.
    pub(super) tool: Process,
    /// Until the program runs.
    pub(super) waiting: Option<Waiting>,
}

impl Container {
    /// What LXC says about why something did not work.
    pub(super) fn reason(&self) -> String {
        let reason = Log::read(&self.folder.join(LOG)).reason();
        reason.unwrap_or_else(|| "it gives no reason".to_owned())
    }

    fn ended(&self) -> Error {
        Error::NotFound(format!("container {}: it is not running", self.name))
    }

    fn first(&self) -> Result<&Process> {
        match (&self.init, self.status) {
            (Some(init), None) => Ok(init),
            _ => Err(self.ended()),
        }
    }

    /// LXC's own end; `None` while it runs. The status is wait(2)'s, and unknown if somebody else has collected it.
    fn tool_has_ended(&self) -> Result<Option<Option<i32>>> {
        let Some(Creator { tool, .. }) = &self.creator else { return Ok(Some(None)) };
        match process::try_wait(tool.pid()) {
            Ok(ended) => Ok(ended.map(Some)),
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(Some(None)),
            Err(error) => Err(setup(format!("wait for lxc-start of container {}", self.name))(error)),
        }
    }

    /// How the program ended, after LXC has.
    fn status_after(&self, tool: Option<i32>) -> ExitStatus {
        if let Some(status) = Log::read(&self.folder.join(LOG)).end_of(self.pid) {
            return status;
        }
        match tool.map(exit_status) {
            // It took the container along.
            Some(ExitStatus { signal: Some(_), .. }) | None => {
                ExitStatus { code: 128 + libc::SIGKILL, signal: Some(libc::SIGKILL) }
            }
            Some(status) => status,
        }
    }

    /// Waits for LXC after the container was killed.
    fn collect(&mut self) -> Result<()> {
        if self.status.is_some() || self.creator.is_none() {
            return Ok(());
        }
        let started = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.tool_has_ended()? {
                self.status = Some(self.status_after(status));
                return Ok(());
            }
            if started.elapsed() > PATIENCE
                && let Some(Creator { tool, .. }) = &self.creator
            {
                let _ = tool.signal(libc::SIGKILL);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

impl Sandbox for Container {
    fn start(&mut self) -> Result<()> {
        let Some(waiting) = self.creator.as_mut().and_then(|creator| creator.waiting.take()) else {
            return Err(Error::InvalidArgument(format!(
                "start of container {}: it has been started, or another process created it",
                self.name
            )));
        };
        let answer = waiting.start(&mut self.warnings);
        if answer.is_err() {
            self.kill_all()?;
            self.collect()?;
        }
        answer
    }

    fn leave(&mut self) -> Result<()> {
        Err(Error::Unavailable(super::STANDALONE.into()))
    }

    fn exec(
        &mut self,
        process: &oci_spec::runtime::Process,
        io: Stdio,
        preserved: Vec<OwnedFd>,
    ) -> Result<Box<dyn ExecChild>> {
        let init = self.first()?;
        if !init.is_alive() {
            return Err(self.ended());
        }
        let (Some(creator), Some(spec)) = (&self.creator, &self.spec) else {
            return Err(Error::Unavailable(format!(
                "exec in container {}: only the process that created it can; ask its monitor",
                self.name
            )));
        };
        exec::run(self, &creator.tools, spec, process, io, preserved)
    }

    fn pid(&self) -> i32 {
        self.pid
    }

    fn child(&self) -> i32 {
        self.creator.as_ref().map_or(self.pid, |creator| creator.tool.pid())
    }

    fn saved(&self) -> SavedSandbox {
        SavedSandbox {
            backend: super::NAME.into(),
            runtime: None,
            pid: self.pid,
            start_time: self.start_time,
            cgroups: self.cgroup.paths().to_vec(),
            devices_enforced: self.devices_enforced,
            gate: None,
            keep_keyring: false,
            folder: Some(self.folder.clone()),
            bundle: None,
            chroot: None,
        }
    }

    /// Of `lxc-start`, which knows how the program ended.
    fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        self.creator.as_ref().and_then(|creator| creator.tool.pidfd())
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none()
            && let Some(status) = self.tool_has_ended()?
        {
            self.status = Some(self.status_after(status));
        }
        Ok(self.status)
    }

    fn signal(&self, signal: i32) -> Result<()> {
        send(self.first()?, signal)
    }

    fn kill_all(&self) -> Result<()> {
        if let Some(init) = &self.init {
            return tree::kill_all(&self.name, init, self.status.is_some(), &self.cgroup);
        }
        // It dies with its parent.
        if let Some(Creator { tool, .. }) = &self.creator {
            let _ = tool.signal(libc::SIGKILL);
        }
        if self.cgroup.paths().is_empty() { Ok(()) } else { self.cgroup.kill_all() }
    }

    fn pids(&self) -> Result<Vec<i32>> {
        match &self.init {
            Some(init) => tree::pids(init, &self.cgroup),
            None if self.cgroup.paths().is_empty() => Ok(Vec::new()),
            None => self.cgroup.pids(),
        }
    }

    fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    fn delete(&mut self) -> Result<()> {
        self.kill_all()?;
        self.collect()?;
        let removed = leftovers::remove_groups(self.cgroup.paths());
        leftovers::remove_files(&self.folder);
        removed
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn freezer(&self) -> Option<&dyn Freezer> {
        self.cgroup.freezer()
    }

    fn stats(&self) -> Option<&dyn Stats> {
        self.cgroup.stats()
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        self.cgroup.limiter()
    }
}

impl Drop for Container {
    /// A container that never started has no owner when its creator lets go of it.
    fn drop(&mut self) {
        if self.creator.as_ref().is_some_and(|creator| creator.waiting.is_some()) {
            let _ = self.delete();
        }
    }
}
