//! A jail, as its creator or another process holds it.
//!
//! The jail persists until it is deleted, and is found by its name: the kernel's own record of it (its number, its root) is all
//! that another process needs.

use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use berth_arch::process::{self, Process};
use berth_arch::{Host, Probe};
use oci_spec::runtime::Spec;
use rustix::io::Errno;

use super::child::{Report, Step};
use super::exec::{Started, refusal, spawn};
use super::network::Network;
use super::parameters::jail_name;
use super::plan::Plan;
use super::program::Program;
use super::stats::{self, Accounts};
use super::{devices, interfaces, limits, privileges, probe, refuse, root, sys};
use crate::children::{Child, exit_status, send, try_wait};
use crate::error::setup;
use crate::{
    Backend, Bundle, ContainerId, Error, ExecChild, ExitStatus, Freezer, Isolation, Limiter, Result, Sandbox,
    SavedSandbox, Stats, Stdio,
};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Jail;

impl Backend for Jail {
    fn name(&self) -> &str {
        super::NAME
    }

    fn probe(&self, host: &Host) -> Probe<Isolation> {
        probe::probe(host)
    }

    fn create(&self, id: &ContainerId, bundle: &Bundle, io: Stdio) -> Result<Box<dyn Sandbox>> {
        // The kernel knows mounts by names without links.
        let mount_point = fs::canonicalize(&bundle.mount_point);
        let mount_point = mount_point.map_err(setup(format!("find {}", bundle.mount_point.display())))?;
        let bundle = Bundle { mount_point, ..bundle.clone() };
        let mut warnings = Vec::new();
        let plan = Plan::new(id, &bundle, &mut warnings)?;
        if plan.network.is_own() && !probe::has_own_networks() {
            return Err(refuse::cannot("networks of a jail's own", "this kernel has no VIMAGE", "use --network host"));
        }
        if let Ok((number, _)) = sys::jail_find(&plan.name) {
            return Err(Error::InvalidArgument(format!(
                "container {id}: there is a jail of its name (number {number})"
            )));
        }
        let mut container = Container {
            id: id.clone(),
            accounts: Accounts { name: plan.name.clone(), jail: 0, rules: plan.limits.rules.clone() },
            root: bundle.mount_point.clone(),
            network: plan.network.clone(),
            init: None,
            warnings,
            terminal: None,
            status: None,
            waiting: None,
            creator: true,
            started: false,
        };
        // On an error the container that is half made is dropped, which deletes it.
        container.make(plan, io)?;
        Ok(Box::new(container))
    }

    fn load(&self, id: &ContainerId, saved: &SavedSandbox, spec: Option<&Spec>) -> Result<Box<dyn Sandbox>> {
        if saved.backend != super::NAME {
            let made = &saved.backend;
            return Err(Error::InvalidArgument(format!("container {id}: backend {made} made it, not {}", super::NAME)));
        }
        let gone = || Error::NotFound(format!("container {id}: it is not running"));
        let name = jail_name(id.as_str());
        let (jail, root) = sys::jail_find(&name).map_err(|_| gone())?;
        let mut warnings = Vec::new();
        let resources = spec.and_then(|spec| spec.linux().as_ref()?.resources().as_ref());
        let limits = resources.map(|resources| limits::Limits::new(resources, &mut warnings)).transpose()?;
        Ok(Box::new(Container {
            id: id.clone(),
            accounts: Accounts { name, jail, rules: limits.unwrap_or_default().rules },
            root,
            network: spec.map_or(Ok(Network::Inherit), Network::of)?,
            init: Some(Process::open(saved.pid, Some(saved.start_time)).map_err(|_| gone())?),
            warnings: Vec::new(),
            terminal: None,
            status: None,
            waiting: None,
            creator: false,
            started: true,
        }))
    }

    fn clear(&self, id: &ContainerId, saved: &SavedSandbox) -> Result<()> {
        match self.load(id, saved, None) {
            Ok(mut left) => left.delete(),
            Err(Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

struct Container {
    id: ContainerId,
    /// With the jail's name and number; the number is 0 until there is one.
    accounts: Accounts,
    /// Everything mounted there and below is the container's.
    root: PathBuf,
    network: Network,
    init: Option<Process>,
    warnings: Vec<String>,
    terminal: Option<OwnedFd>,
    status: Option<ExitStatus>,
    /// Until the program runs.
    waiting: Option<Waiting>,
    creator: bool,
    started: bool,
}

struct Waiting {
    gate: OwnedFd,
    report: OwnedFd,
    /// The program as the user wrote it, for messages.
    program: String,
}

impl Container {
    fn make(&mut self, plan: Plan, io: Stdio) -> Result<()> {
        if plan.mounts.inside.iter().any(|mount| mount.kind == "devfs") {
            devices::prepare()?;
        }
        root::mount_all(&self.root, &plan.mounts, &mut self.warnings)?;
        let name = plan.name.clone();
        self.accounts.jail = sys::jail_create(&plan.parameters)
            .map_err(|refused| Error::Setup { step: format!("make jail {name}"), source: refused.into() })?;
        stats::apply(&name, self.accounts.jail, &plan.limits, &mut self.warnings)?;
        interfaces::set_up(&self.id, &name, &plan.network)?;
        let program = plan.program.name.clone();
        let (started, gate) = spawn(self.accounts.jail, plan.program, io, Vec::new(), true)?;
        let Started { process, report, terminal } = started;
        self.terminal = terminal;
        self.init = Some(process);
        let gate = gate.ok_or_else(|| setup("make a gate")(Errno::PIPE))?;
        match Report::read(&report).map_err(setup("read what the container says"))? {
            Some(Report { step: Step::Ready, .. }) => {}
            other => return Err(refusal(other, &program)),
        }
        self.waiting = Some(Waiting { gate, report, program });
        Ok(())
    }

    fn kill_and_wait(&self) -> Result<()> {
        const PATIENCE: u32 = 500;
        if self.accounts.jail == 0 {
            return Ok(());
        }
        for _ in 0..PATIENCE {
            if self.pids()?.is_empty() {
                return Ok(());
            }
            // From inside, where -1 is all that is in the jail: nothing that forks meanwhile is missed twice.
            let jail = self.accounts.jail;
            let killer = sys::fork(|| {
                if sys::jail_attach(jail).is_ok() {
                    sys::kill_all();
                }
                sys::exit(0)
            });
            let killer = killer.map_err(setup("fork"))?;
            let _ = process::wait(killer);
            std::thread::sleep(Duration::from_millis(10));
        }
        let left = self.pids()?;
        let step = format!("kill container {}: processes {left:?} are left", self.id);
        if left.is_empty() { Ok(()) } else { Err(setup(step)(Errno::TIMEDOUT)) }
    }

    /// Waits for a process that has ended or is being killed, if it is a child.
    fn reap(&mut self) {
        if let (true, None, Some(init)) = (self.creator, self.status, &self.init) {
            self.status = process::wait(init.pid()).ok().map(exit_status);
        }
    }

    fn init(&self) -> Result<&Process> {
        self.init.as_ref().ok_or_else(|| Error::NotFound(format!("container {}: it is not running", self.id)))
    }
}

impl Sandbox for Container {
    fn start(&mut self) -> Result<()> {
        let Some(waiting) = self.waiting.take() else {
            return Err(Error::InvalidArgument(format!(
                "start of container {}: it has been started, or another process created it",
                self.id
            )));
        };
        self.started = true;
        // A child that is gone says why in what it sent before.
        let _ = rustix::io::write(&waiting.gate, &[1]);
        let answer = match Report::read(&waiting.report).map_err(setup("read what the container says"))? {
            None => Ok(()),
            refused => Err(refusal(refused, &waiting.program)),
        };
        if answer.is_err() {
            self.reap();
        }
        answer
    }

    fn leave(&mut self) -> Result<()> {
        Err(refuse::cannot(
            "containers that outlive their creator",
            "a jail ends with its monitor",
            "run it by the engine",
        ))
    }

    fn exec(
        &mut self,
        process: &oci_spec::runtime::Process,
        io: Stdio,
        preserved: Vec<OwnedFd>,
    ) -> Result<Box<dyn ExecChild>> {
        if !self.init()?.is_alive() {
            return Err(Error::NotFound(format!("container {}: it is not running", self.id)));
        }
        if let Some(given) = process.capabilities().as_ref().and_then(|sets| sets.bounding().as_ref()) {
            privileges::check(process, given, &self.network)?;
        }
        let program = Program::new(process)?;
        let name = program.name.clone();
        let (Started { process, report, terminal }, _) = spawn(self.accounts.jail, program, io, preserved, false)?;
        match Report::read(&report).map_err(setup("read what the program says"))? {
            None => Ok(Box::new(Child::new(process, terminal))),
            refused => {
                let _ = process::wait(process.pid());
                Err(refusal(refused, &name))
            }
        }
    }

    fn pid(&self) -> i32 {
        self.init.as_ref().map_or(0, Process::pid)
    }

    fn saved(&self) -> SavedSandbox {
        SavedSandbox {
            backend: super::NAME.into(),
            runtime: None,
            pid: self.pid(),
            start_time: self.init.as_ref().map_or(0, Process::start_time),
            cgroups: Vec::new(),
            // By devfs: nothing can make a node in a jail.
            devices_enforced: true,
            gate: None,
            keep_keyring: false,
            bundle: None,
            folder: None,
        }
    }

    fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        self.init.as_ref().map(Process::exit_fd)
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = try_wait(self.init()?)?;
        }
        Ok(self.status)
    }

    fn signal(&self, signal: i32) -> Result<()> {
        if self.status.is_some() {
            return Err(Error::NotFound(format!("container {}: it has ended", self.id)));
        }
        send(self.init()?, signal)
    }

    fn kill_all(&self) -> Result<()> {
        self.kill_and_wait()
    }

    fn pids(&self) -> Result<Vec<i32>> {
        let all = process::all().map_err(setup("list the processes"))?;
        let jail = self.accounts.jail;
        Ok(all.iter().filter(|one| jail != 0 && one.jail == jail && !one.has_ended).map(|one| one.pid).collect())
    }

    fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// The jail goes last: as long as it is there, another process finds by it what is left to undo.
    fn delete(&mut self) -> Result<()> {
        self.started = true;
        self.waiting = None;
        self.kill_and_wait()?;
        self.reap();
        if self.network.is_own() {
            interfaces::take_down(&self.id);
        }
        root::unmount_all(&self.root)?;
        if self.accounts.jail == 0 {
            return Ok(());
        }
        stats::clear(&self.accounts.name);
        match sys::jail_remove(self.accounts.jail) {
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(setup(format!("remove jail {}", self.accounts.name))(error)),
        }
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn freezer(&self) -> Option<&dyn Freezer> {
        None
    }

    fn stats(&self) -> Option<&dyn Stats> {
        probe::accounting().then_some(&self.accounts as &dyn Stats)
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        probe::accounting().then_some(&self.accounts as &dyn Limiter)
    }
}

impl Drop for Container {
    /// A container that never started has no owner when its creator lets go of it.
    fn drop(&mut self) {
        if self.creator && !self.started {
            let _ = self.delete();
        }
    }
}
