//! A container of an external runtime, as its creator or another process holds it.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use berth_arch::kernel::pivot_root;
use berth_arch::process::{self, Process};
use oci_spec::runtime::Spec;

use super::adapt::{self, Adapted};
use super::call::{LONG, Streams};
use super::console::Console;
use super::folder::Folder;
use super::sources::Sources;
use super::warden::Warden;
use super::{External, exec, explain};
use crate::assemble::Assembled;
use crate::cgroup::Cgroup;
use crate::namespace::{send, setup, sys, tree, try_wait};
use crate::{
    Bundle, ContainerId, Error, ExecChild, ExitStatus, Freezer, Limiter, Result, Sandbox, SavedSandbox, Stats, Stdio,
};

/// Where the runtime writes the number of the first process.
const PID: &str = "pid";

pub(super) struct Container {
    pub(super) backend: External,
    pub(super) id: ContainerId,
    pub(super) folder: Folder,
    pub(super) init: Process,
    cgroup: Cgroup,
    devices_enforced: bool,
    warnings: Vec<String>,
    terminal: Option<OwnedFd>,
    pub(super) status: Option<ExitStatus>,
    /// What the runtime was given; `None` if whoever loaded it had none.
    pub(super) spec: Option<Spec>,
    started: bool,
    /// Of the creator, until the end.
    warden: Option<Warden>,
    is_creator: bool,
}

pub(super) fn create(backend: &External, id: &ContainerId, bundle: &Bundle, io: Stdio) -> Result<Container> {
    let folder = Folder::create(backend, id, bundle)?;
    let made = make(backend, id, bundle, io, &folder);
    if made.is_err() {
        let _ = folder.remove(backend, id);
    }
    made
}

fn make(backend: &External, id: &ContainerId, bundle: &Bundle, io: Stdio, folder: &Folder) -> Result<Container> {
    let root = Assembled::new(bundle)?;
    let assembled = !bundle.rootfs.is_empty();
    let sources = Sources::in_folder(folder.sources());
    let adapted = adapt::adapt(backend, id, &bundle.spec, (root.path(), assembled), sources, &io)?;
    let Adapted { spec, warnings, sources } = adapted;
    folder.write("config.json", &spec)?;
    let mut delete = backend.call()?.in_folder(folder.path());
    delete.push("delete").push("--force").push(id.as_str());
    let warden = Warden::new(&delete, folder.lock_file()?)?;

    let mut call = backend.call()?.in_folder(folder.path());
    call.push("create").push("--bundle").push(folder.path()).push("--pid-file").push(folder.file(PID));
    // Where these are forbidden the runtime would give up. What keeps it from keyrings keeps the container from others'.
    if sys::keyrings_are_forbidden() {
        call.push("--no-new-keyring");
    }
    if !pivot_root::probe().is_available() {
        call.push("--no-pivot");
    }
    let (streams, console) = streams(io, folder)?;
    if let Some((console, _)) = &console {
        call.push("--console-socket").push(console.name());
    }
    call.push(id.as_str());
    let path = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_deref());
    let answer = call.run_with(streams);
    // The container has copies.
    drop((sources, root));
    let made = answer.and_then(|answer| {
        if !answer.status.success() {
            return Err(explain::container(&format!("{} create", backend.name), &answer.reason(), &spec));
        }
        let pid = folder.read_pid(PID)?;
        let init = Process::open(pid, None).map_err(setup("open the container's first process"))?;
        let terminal = console.map(|(console, size)| console.receive(size)).transpose()?;
        Ok((init, terminal, Cgroup::find(id, path)?))
    });
    let (init, terminal, cgroup) = match made {
        Ok(made) => made,
        Err(error) => {
            abandon(backend, id, folder, path);
            warden.dismiss();
            return Err(error);
        }
    };
    let devices_enforced = cgroup.controllers().iter().any(|name| name == "devices") || cgroup.is_unified();
    Ok(Container {
        backend: backend.clone(),
        id: id.clone(),
        folder: folder.clone(),
        init,
        cgroup,
        devices_enforced,
        warnings,
        terminal,
        status: None,
        spec: Some(spec),
        started: false,
        warden: Some(warden),
        is_creator: true,
    })
}

/// Of a container that was made half-way.
fn abandon(backend: &External, id: &ContainerId, folder: &Folder, path: Option<&Path>) {
    let init = folder.read_pid(PID).ok();
    let _ = folder.remove(backend, id);
    if let Ok(cgroup) = Cgroup::find(id, path) {
        let _ = cgroup.kill_all();
        let _ = cgroup.delete();
    }
    if let Some(pid) = init {
        let _ = process::try_wait(pid);
    }
}

/// What a call has as its own streams, and the socket for a terminal's other side with the size.
pub(super) type Terminal = Option<(Console, Option<(u16, u16)>)>;

pub(super) fn streams(io: Stdio, folder: &Folder) -> Result<(Streams, Terminal)> {
    match io {
        Stdio::Pipes { stdin, stdout, stderr } => Ok((Streams { stdin, stdout, stderr }, None)),
        Stdio::Terminal { size } => {
            let null = || {
                let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
                file.map(OwnedFd::from).map_err(setup("open /dev/null"))
            };
            let streams = Streams { stdin: null()?, stdout: null()?, stderr: null()? };
            Ok((streams, Some((Console::listen(folder.path())?, size))))
        }
    }
}

pub(super) fn load(
    backend: &External,
    id: &ContainerId,
    saved: &SavedSandbox,
    spec: Option<&Spec>,
) -> Result<Container> {
    let Some(folder) = saved.folder.as_deref().filter(|_| saved.backend == backend.name) else {
        return Err(Error::InvalidArgument(format!(
            "container {id}: backend {} made it, not {}",
            saved.backend, backend.name
        )));
    };
    let init = Process::open(saved.pid, Some(saved.start_time))
        .map_err(|_| Error::NotFound(format!("container {id}: it is not running")))?;
    Ok(Container {
        backend: backend.clone(),
        id: id.clone(),
        folder: Folder::at(folder),
        init,
        cgroup: Cgroup::load(&saved.cgroups),
        devices_enforced: saved.devices_enforced,
        warnings: Vec::new(),
        terminal: None,
        status: None,
        spec: spec.cloned(),
        started: true,
        warden: None,
        is_creator: false,
    })
}

impl Sandbox for Container {
    fn start(&mut self) -> Result<()> {
        if self.started && self.is_creator {
            return Err(Error::InvalidArgument(format!("start of container {}: it has been started", self.id)));
        }
        let mut call = self.backend.call()?.in_folder(self.folder.path());
        call.push("start").push(self.id.as_str());
        let answer = call.run(LONG)?;
        if answer.status.success() {
            self.started = true;
            return Ok(());
        }
        let step = format!("{} start", self.backend.name);
        let error = match &self.spec {
            Some(spec) => explain::container(&step, &answer.reason(), spec),
            None => Error::Setup { step, source: std::io::Error::other(answer.reason()) },
        };
        if self.is_creator {
            let _ = self.kill_all();
            self.reap();
        }
        Err(error)
    }

    fn leave(&mut self) -> Result<()> {
        Err(Error::InvalidArgument(format!("leaving container {}: it is not a standalone one", self.id)))
    }

    fn exec(
        &mut self,
        process: &oci_spec::runtime::Process,
        io: Stdio,
        preserved: Vec<OwnedFd>,
    ) -> Result<Box<dyn ExecChild>> {
        if self.spec.is_none() {
            return Err(Error::Unavailable(format!(
                "exec in container {}: only the process that created it can; ask its monitor",
                self.id
            )));
        }
        exec::run(self, process, io, preserved)
    }

    fn pid(&self) -> i32 {
        self.init.pid()
    }

    fn saved(&self) -> SavedSandbox {
        SavedSandbox {
            backend: self.backend.name.clone(),
            runtime: Some(self.backend.runtime.clone()),
            pid: self.init.pid(),
            start_time: self.init.start_time(),
            cgroups: self.cgroup.paths().to_vec(),
            devices_enforced: self.devices_enforced,
            folder: Some(self.folder.path().to_owned()),
            gate: None,
            keep_keyring: false,
            bundle: None,
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
            return Err(Error::NotFound(format!("container {}: it has ended", self.id)));
        }
        send(&self.init, signal)
    }

    fn kill_all(&self) -> Result<()> {
        tree::kill_all(self.id.as_str(), &self.init, self.status.is_some(), &self.cgroup)
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
        // The runtime first, for its hooks; then what it may have left.
        let removed = self.folder.remove(&self.backend, &self.id);
        if !self.cgroup.paths().is_empty() {
            self.cgroup.delete()?;
        }
        removed?;
        if let Some(warden) = self.warden.take() {
            warden.dismiss();
        }
        Ok(())
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

impl Container {
    /// Waits for a process that has ended or is being killed, if it is a child.
    fn reap(&mut self) {
        if self.is_creator && self.status.is_none() {
            self.status = process::wait(self.init.pid()).ok().map(crate::namespace::exit_status);
        }
    }
}

impl Drop for Container {
    /// A container that never started has no owner when its creator lets go of it.
    fn drop(&mut self) {
        let Some(warden) = self.warden.take() else { return };
        if self.started {
            return warden.forget();
        }
        self.warden = Some(warden);
        let _ = self.delete();
    }
}
