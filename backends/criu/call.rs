//! A checkpoint and a restore, as requests to criu.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use berth_arch::process;
use berth_arch::program::find;
use rustix::fs::{Mode, OFlags};

use super::options::{NetworkLock, Options};
use super::rpc::{self, Failure, Kind, Notification};
use super::{log, program};
use crate::error::setup;
use crate::namespace::clone;
use crate::{Checkpoint, Error, Result};

/// The first version that can leave packet filters alone.
const SKIPS_LOCK: (u64, u64) = (4, 0);

/// What a backend says of the container that is written.
pub(crate) struct Dump<'d> {
    pub(crate) pid: i32,
    /// The directory of the group that stops all of its processes.
    pub(crate) freezer: Option<&'d Path>,
    /// What is not the container's own, in criu's words.
    pub(crate) externals: Vec<String>,
}

/// What a backend says of the container that is made.
pub(crate) struct Restore<'r> {
    pub(crate) root: &'r Path,
    pub(crate) externals: Vec<String>,
    /// What stands for that which the images call so.
    pub(crate) inherited: Vec<(String, BorrowedFd<'r>)>,
    /// The container's groups: controllers and path, as /proc/PID/cgroup has them.
    pub(crate) groups: Vec<(String, PathBuf)>,
}

impl Dump<'_> {
    pub(crate) fn write(&self, to: &Checkpoint, complete: &mut dyn FnMut() -> io::Result<()>) -> Result<()> {
        let call = Call::new(to, "dump.log")?;
        let kind = if to.pre_dump { Kind::PreDump } else { Kind::Dump };
        if to.pre_dump {
            call.check_memory_tracking()?;
        }
        let mut options = call.options(to);
        options.pid(self.pid).leave_running(to.leave_running);
        if let Some(parent) = &to.parent {
            options.parent(parent);
        }
        if to.pre_dump || to.parent.is_some() {
            options.track_memory();
        }
        if let Some(freezer) = self.freezer {
            options.freeze(freezer);
        }
        for external in &self.externals {
            options.external(external);
        }
        if !to.tcp_established {
            if call.version().is_some_and(|version| version >= SKIPS_LOCK) {
                options.network_lock(NetworkLock::Skip);
            }
        } else if find("iptables-restore").is_none() {
            options.network_lock(NetworkLock::Nftables);
        }
        // All is written, and the processes are still stopped.
        let mut notified = |now: Notification<'_>| if now.event == "post-dump" { complete() } else { Ok(()) };
        call.ask(kind, &options, &mut notified).map(drop)
    }
}

impl Restore<'_> {
    /// The number of the first process, a child of this one, and the controlling side of its terminal. `check` looks at it
    /// before it goes on.
    pub(crate) fn read(
        &self,
        from: &Checkpoint,
        check: &dyn Fn(i32) -> io::Result<()>,
    ) -> Result<(i32, Option<OwnedFd>)> {
        let call = Call::new(from, "restore.log")?;
        let mut options = call.options(from);
        options.root(self.root).as_sibling();
        for external in &self.externals {
            options.external(external);
        }
        for (controllers, path) in &self.groups {
            for controller in controllers.split(',') {
                options.group_root(controller, path);
            }
        }
        let mut lent = Vec::new();
        for (key, fd) in &self.inherited {
            // Without close-on-exec.
            let copy = rustix::io::dup(fd).map_err(setup("duplicate a descriptor for criu"))?;
            options.inherit(key, copy.as_raw_fd());
            lent.push(copy);
        }
        let (mut terminal, mut first) = (None, None);
        let mut notified = |now: Notification<'_>| {
            first = now.pid.or(first);
            match now.event {
                "orphan-pts-master" => {
                    terminal = now.handed;
                    Ok(())
                }
                // All is there, and nothing runs yet.
                "post-restore" => check(now.pid.ok_or(io::ErrorKind::NotFound)?),
                _ => Ok(()),
            }
        };
        let response = call.ask(Kind::Restore, &options, &mut notified).inspect_err(|_| {
            // criu, whose child it is not, kills it at best. An answer but ECHILD: it is this process's, and the number its own.
            if let Some(pid) = first
                && let Ok(None) = process::try_wait(pid)
            {
                clone::end(pid);
            }
        })?;
        let pid = response.pid.filter(|&pid| pid > 0).ok_or_else(|| {
            Error::Unavailable(format!("{}: it does not say what it has restored", call.program.display()))
        })?;
        Ok((pid, terminal))
    }
}

/// One start of criu.
struct Call {
    program: PathBuf,
    images: OwnedFd,
    work: OwnedFd,
    log: PathBuf,
    log_name: &'static str,
}

impl Call {
    fn new(checkpoint: &Checkpoint, log_name: &'static str) -> Result<Self> {
        let program = program::find(checkpoint.criu.as_deref())?;
        let work = checkpoint.work.as_deref().unwrap_or(&checkpoint.images);
        let folder = |path: &Path| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).map_err(setup(format!("open {}", path.display())))
        };
        Ok(Self {
            program,
            images: folder(&checkpoint.images)?,
            work: folder(work)?,
            log: work.join(log_name),
            log_name,
        })
    }

    /// What both have.
    fn options(&self, checkpoint: &Checkpoint) -> Options {
        let mut options = Options::default();
        options
            .folders(self.images.as_raw_fd(), self.work.as_raw_fd())
            .log(self.log_name)
            .notifies()
            .terminal_outside()
            .external_propagation()
            .tcp_established(checkpoint.tcp_established)
            .file_locks(checkpoint.file_locks)
            .external_sockets(checkpoint.external_sockets)
            .shell_job(checkpoint.shell_job)
            .groups(checkpoint.groups);
        options
    }

    fn version(&self) -> Option<(u64, u64)> {
        program::version(&self.program)
    }

    fn check_memory_tracking(&self) -> Result<()> {
        let answer = rpc::ask(&self.program, Kind::FeatureCheck, None, &mut |_| Ok(()));
        if matches!(&answer, Ok(features) if features.tracks_memory) {
            return Ok(());
        }
        Err(Error::Unavailable(
            "pre-dump: this kernel does not say which pages are written to; make a checkpoint without it".into(),
        ))
    }

    fn ask(&self, kind: Kind, options: &Options, notified: rpc::Notified<'_>) -> Result<rpc::Response> {
        // One of another attempt would speak for this one.
        let _ = std::fs::remove_file(&self.log);
        rpc::ask(&self.program, kind, Some(options), notified).map_err(|failure| self.explain(kind, failure))
    }

    fn explain(&self, kind: Kind, failure: Failure) -> Error {
        let verb = if kind == Kind::Restore { "restore" } else { "checkpoint" };
        let said = match failure {
            Failure::GivenUp(source) => return Error::Setup { step: verb.to_owned(), source },
            Failure::Refused(said) => said,
            Failure::Io(error) => error.to_string(),
        };
        if let Some(useless) = program::explain(&self.program) {
            return useless;
        }
        let reason = log::reasons(&self.log).or_else(|| (!said.is_empty()).then_some(said));
        let reason = reason.as_deref().unwrap_or("it gives no reason");
        Error::Unavailable(format!("{verb} by {}: {reason}", self.program.display()))
    }
}
