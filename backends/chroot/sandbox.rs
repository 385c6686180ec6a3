//! A container of this backend: the shared one, and what belongs to it without a namespace that would end it.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;

use berth_arch::process::Process;

use super::mark::Mark;
use super::{NAME, Saved, in_our_name, place, processes, request};
use crate::namespace::Container as Shared;
use crate::{ExecChild, ExitStatus, Freezer, Limiter, Result, Sandbox, SavedSandbox, Stats, Stdio};

pub(super) struct Container {
    shared: Shared,
    saved: Saved,
    /// What is to be said beside the shared one's.
    warnings: Vec<String>,
}

impl Container {
    /// Of what has just been made, and waits for its start. On an error nothing of it is left.
    pub(super) fn new(mut shared: Shared, place: Option<PathBuf>, mut warnings: Vec<String>) -> Result<Self> {
        match Mark::of(shared.pid(), place.as_deref()) {
            Ok(mark) => {
                warnings.extend_from_slice(shared.warnings());
                Ok(Self { shared, saved: Saved { mark, place }, warnings })
            }
            Err(error) => {
                let _ = shared.delete();
                Err(error)
            }
        }
    }

    pub(super) fn loaded(shared: Shared, saved: Saved) -> Self {
        Self { shared, saved, warnings: Vec::new() }
    }

    fn has_groups(&self) -> bool {
        !self.shared.cgroup.paths().is_empty()
    }
}

impl Sandbox for Container {
    fn start(&mut self) -> Result<()> {
        let known = self.shared.warnings().len();
        let started = self.shared.start();
        self.warnings.extend_from_slice(self.shared.warnings().get(known..).unwrap_or_default());
        started
    }

    fn leave(&mut self) -> Result<()> {
        self.shared.leave()
    }

    fn exec(
        &mut self,
        process: &oci_spec::runtime::Process,
        io: Stdio,
        preserved: Vec<OwnedFd>,
    ) -> Result<Box<dyn ExecChild>> {
        let mut process = process.clone();
        if let Some(limit) = self.shared.spec.as_ref().and_then(request::memory_limit) {
            request::limit_data(&mut process, limit);
        }
        self.shared.exec(&process, io, preserved).map_err(in_our_name)
    }

    fn pid(&self) -> i32 {
        self.shared.pid()
    }

    fn saved(&self) -> SavedSandbox {
        SavedSandbox { backend: NAME.into(), chroot: Some(self.saved.clone()), ..self.shared.saved() }
    }

    fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        self.shared.exit_fd()
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.shared.try_wait()
    }

    fn signal(&self, signal: i32) -> Result<()> {
        self.shared.signal(signal)
    }

    /// By the control groups, which nobody leaves; else by the mark.
    fn kill_all(&self) -> Result<()> {
        if !self.has_groups() {
            processes::kill_all(&self.saved.mark, self.init())?;
        }
        self.shared.kill_all()
    }

    fn pids(&self) -> Result<Vec<i32>> {
        if self.has_groups() { self.shared.pids() } else { Ok(processes::list(&self.saved.mark, &self.shared.init)) }
    }

    fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.shared.take_terminal()
    }

    fn delete(&mut self) -> Result<()> {
        self.kill_all()?;
        self.shared.delete()?;
        self.saved.place.as_deref().map_or(Ok(()), place::clear)
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn freezer(&self) -> Option<&dyn Freezer> {
        self.shared.freezer()
    }

    fn stats(&self) -> Option<&dyn Stats> {
        self.shared.stats()
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        self.shared.limiter()
    }
}

impl Container {
    /// Unless it has been reaped, after which its number may be another one's.
    fn init(&self) -> Option<&Process> {
        self.shared.status.is_none().then_some(&self.shared.init)
    }
}

impl Drop for Container {
    /// As the shared one's, whose mounts are its own.
    fn drop(&mut self) {
        if self.shared.is_waiting() {
            let _ = self.delete();
        }
    }
}
