//! A container of this backend, as its creator or another process holds it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_arch::process::{self, Process};
use oci_spec::runtime::{ContainerState, Spec};
use rustix::io::Errno;

use super::agent::{self, Of};
use super::doorman;
use super::exec;
use super::explain::{explain, explain_process};
use super::plan::Plan;
use super::process::{ProcessPlan, setup};
use super::report::{Channel, Failure, Packet, Step};
use super::tree;
use super::{checkpoint, gate, hooks};
use crate::cgroup::Cgroup;
pub(crate) use crate::children::{exit_status, send, try_wait};
use crate::{
    Checkpointer, Error, ExecChild, ExitStatus, Freezer, Limiter, Result, Sandbox, SavedSandbox, Stats, Stdio,
};

pub(crate) struct Container {
    pub(super) name: String,
    pub(crate) init: Process,
    /// Without, what is run inside changes its root by chroot(2).
    pub(super) own_mounts: bool,
    pub(crate) cgroup: Cgroup,
    pub(super) warnings: Vec<String>,
    pub(super) terminal: Option<OwnedFd>,
    pub(crate) status: Option<ExitStatus>,
    /// What further programs are run with; `None` if whoever loaded it had none.
    pub(crate) spec: Option<Spec>,
    /// Of a standalone container.
    pub(super) gate: Option<PathBuf>,
    pub(super) bundle: Option<PathBuf>,
    pub(super) devices_enforced: bool,
    pub(super) keep_keyring: bool,
    /// What only the creator has.
    pub(super) creator: Option<Creator>,
}

pub(super) struct Creator {
    /// Until the program runs, or is left to be started by others.
    pub(super) waiting: Option<Waiting>,
    /// By which further programs are run, of a container that nobody can enter.
    pub(super) doorman: Option<Channel>,
}

/// A first process at its gate.
pub(super) struct Waiting {
    pub(super) channel: Channel,
    pub(super) plan: Plan,
    /// What the start goes on with instead of the specification's program.
    pub(super) restore: Option<checkpoint::Waiting>,
}

impl Sandbox for Container {
    fn start(&mut self) -> Result<()> {
        let waiting = self.creator.as_mut().and_then(|creator| creator.waiting.take());
        let answer = match (waiting, &self.gate) {
            // The channel is open as long as that process has to wait.
            (Some(Waiting { restore: Some(restore), channel: _channel, .. }), _) => self.go_on(restore),
            (Some(Waiting { channel, plan, .. }), _) => {
                // A child that is gone says why in what it sent before.
                let _ = channel.go();
                let spec = self.spec.as_ref();
                let explain = |failure| spec.map_or_else(killed, |spec| explain(&plan, spec, failure));
                let mut warnings = Vec::new();
                let answer = until_exec(&channel, &mut warnings, explain, |listener| self.hand_over(&listener));
                self.warnings.append(&mut warnings);
                answer
            }
            (None, Some(gate)) => {
                let channel = self.enter(gate)?;
                let mut warnings = Vec::new();
                let explain = |failure| self.explain(failure);
                let answer = until_exec(&channel, &mut warnings, explain, |listener| self.hand_over(&listener));
                self.warnings.append(&mut warnings);
                answer
            }
            (None, None) => {
                return Err(Error::InvalidArgument(format!(
                    "start of container {}: it has been started, or another process created it",
                    self.name
                )));
            }
        };
        self.or_end(answer)
    }

    fn leave(&mut self) -> Result<()> {
        let waiting = self.creator.as_mut().and_then(|creator| creator.waiting.take());
        let (Some(Waiting { channel, .. }), Some(_)) = (waiting, &self.gate) else {
            return Err(Error::InvalidArgument(format!(
                "leaving container {}: it is not a standalone one that waits for its start",
                self.name
            )));
        };
        channel.go().map_err(setup(format!("leave container {}", self.name)))
    }

    fn exec(
        &mut self,
        process: &oci_spec::runtime::Process,
        io: Stdio,
        preserved: Vec<OwnedFd>,
    ) -> Result<Box<dyn ExecChild>> {
        let Some(spec) = &self.spec else {
            return Err(Error::Unavailable(format!(
                "exec in container {}: only the process that created it can; ask its monitor",
                self.name
            )));
        };
        if !self.init.is_alive() {
            return Err(Error::NotFound(format!("container {}: it is not running", self.name)));
        }
        match self.creator.as_ref().and_then(|creator| creator.doorman.as_ref()) {
            Some(line) => doorman::run(self, line, spec, process, io, preserved),
            None => exec::run(self, spec, process, io, preserved),
        }
    }

    fn pid(&self) -> i32 {
        self.init.pid()
    }

    fn saved(&self) -> SavedSandbox {
        SavedSandbox {
            backend: super::NAME.into(),
            runtime: None,
            pid: self.init.pid(),
            start_time: self.init.start_time(),
            cgroups: self.cgroup.paths().to_vec(),
            devices_enforced: self.devices_enforced,
            folder: None,
            gate: self.gate.clone(),
            bundle: self.bundle.clone(),
            keep_keyring: self.keep_keyring,
            chroot: None,
        }
    }

    fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        self.init.pidfd()
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = try_wait(&self.init)?;
        }
        Ok(self.status)
    }

    fn signal(&self, signal: i32) -> Result<()> {
        if self.status.is_some() {
            return Err(Error::NotFound(format!("container {}: it has ended", self.name)));
        }
        send(&self.init, signal)
    }

    fn kill_all(&self) -> Result<()> {
        tree::kill_all(&self.name, &self.init, self.status.is_some(), &self.cgroup)
    }

    fn pids(&self) -> Result<Vec<i32>> {
        tree::pids(&self.init, &self.cgroup)
    }

    fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    fn delete(&mut self) -> Result<()> {
        self.kill_all()?;
        self.reap();
        if let Some(gate) = &self.gate {
            let _ = std::fs::remove_file(gate);
        }
        if self.cgroup.paths().is_empty() { Ok(()) } else { self.cgroup.delete() }
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

    fn checkpointer(&self) -> Option<&dyn Checkpointer> {
        self.own_mounts.then_some(self)
    }
}

impl Container {
    /// Whether its program has still to be started by this process.
    pub(crate) fn is_waiting(&self) -> bool {
        self.creator.as_ref().is_some_and(|creator| creator.waiting.is_some())
    }

    /// A container that did not start ends, or has: it may wait for a seccomp agent that has not got its end.
    fn or_end(&mut self, answer: Result<()>) -> Result<()> {
        if answer.is_err() {
            let _ = self.kill_all();
            self.reap();
        }
        answer
    }

    /// Takes the place of the creator of a container that was left at its gate.
    fn enter(&self, gate: &Path) -> Result<Channel> {
        let channel = gate::connect(gate).map_err(|errno| match errno {
            Errno::NOENT => Error::InvalidArgument(format!("start of container {}: it has been started", self.name)),
            Errno::CONNREFUSED => Error::NotFound(format!("container {}: it has ended", self.name)),
            errno => setup(format!("connect to {}", gate.display()))(errno),
        })?;
        std::fs::remove_file(gate).map_err(setup(format!("remove {}", gate.display())))?;
        let _ = channel.go();
        Ok(channel)
    }

    fn hand_over(&self, listener: &OwnedFd) -> Result<()> {
        let Some(of) = self.of(ContainerState::Created) else { return Ok(()) };
        agent::hand_over(listener, &of, self.init.pid())
    }

    /// For a seccomp agent; `None` of a container that was loaded without its specification.
    pub(super) fn of(&self, status: ContainerState) -> Option<Of<'_>> {
        let spec = self.spec.as_ref()?;
        Some(Of { name: &self.name, spec, bundle: self.bundle.as_deref(), init: self.init.pid(), status })
    }

    /// What went wrong after the gate.
    fn explain(&self, failure: Failure) -> Error {
        let process = self.spec.as_ref().and_then(|spec| Some((spec, spec.process().as_ref()?)));
        let Some((spec, process)) = process else {
            return Error::Setup { step: format!("start container {}", self.name), source: failure.errno.into() };
        };
        match failure.step {
            Step::CreateContainerHook | Step::StartContainerHook => hooks::explain(spec, failure),
            _ => match ProcessPlan::new(process, spec, Stdio::Terminal { size: None }) {
                Ok(plan) => explain_process(&plan, failure),
                Err(error) => error,
            },
        }
    }

    /// Waits for a process that has ended or is being killed, if it is a child.
    fn reap(&mut self) {
        if self.creator.is_some() && self.status.is_none() {
            self.status = process::wait(self.init.pid()).ok().map(exit_status);
        }
    }
}

impl Drop for Container {
    /// A container that never started has no owner when its creator lets go of it.
    fn drop(&mut self) {
        if self.is_waiting() {
            let _ = self.delete();
        }
    }
}

/// Reads what the child says until its program runs. A seccomp agent's end is handed over meanwhile.
pub(super) fn until_exec(
    channel: &Channel,
    warnings: &mut Vec<String>,
    explain: impl Fn(Failure) -> Error,
    hand_over: impl Fn(OwnedFd) -> Result<()>,
) -> Result<()> {
    loop {
        match channel.receive().map_err(setup("read what the container says"))? {
            None => return Ok(()),
            Some(Packet::Failed(failure)) => return Err(explain(failure)),
            Some(Packet::Warning(failure)) => warnings.push(explain(failure).to_string()),
            Some(Packet::Listener(listener)) => {
                hand_over(listener)?;
                let _ = channel.go();
            }
            Some(Packet::Terminal(_) | Packet::Child(_) | Packet::Hooks | Packet::Ready | Packet::Request(_)) => {}
        }
    }
}

/// What the child says before it waits for its start.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) terminal: Option<OwnedFd>,
    pub(super) child: Option<i32>,
    pub(super) warnings: Vec<String>,
}

pub(super) fn killed() -> Error {
    Error::Setup {
        step: "make the container: its first process was killed".into(),
        source: rustix::io::Errno::SRCH.into(),
    }
}

/// Reads what the child says until it waits for its start. `hooks` are the creator's, for the process of that number.
pub(super) fn until_ready(
    channel: &Channel,
    heard: &mut Heard,
    explain: impl Fn(Failure) -> Error,
    hooks: impl Fn(i32) -> Result<()>,
) -> Result<()> {
    let (mut failure, mut asked, mut ready) = (None, false, false);
    // After a failure to the end, for a second process may be heard before the first one names it.
    while let Some(packet) = channel.receive().map_err(setup("read what the container says"))? {
        match packet {
            Packet::Ready => ready = true,
            Packet::Terminal(fd) => heard.terminal = Some(fd),
            Packet::Child(pid) => heard.child = Some(pid),
            Packet::Warning(warned) => heard.warnings.push(explain(warned).to_string()),
            Packet::Failed(failed) => failure = Some(failed),
            // The one comes after the start, and the other never.
            Packet::Listener(_) | Packet::Request(_) => {}
            Packet::Hooks => asked = true,
        }
        // Which process it is may be heard after what that says.
        let Some(pid) = heard.child else { continue };
        if ready {
            return Ok(());
        }
        if std::mem::take(&mut asked) {
            hooks(pid)?;
            let _ = channel.go();
        }
    }
    Err(match failure {
        Some(failure) => explain(failure),
        None => killed(),
    })
}

/// For the descriptors that a parent lends.
pub(super) fn borrow(fd: &Option<OwnedFd>) -> Option<BorrowedFd<'_>> {
    fd.as_ref().map(AsFd::as_fd)
}
