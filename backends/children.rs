//! Processes that a backend waits for and signals, as [`crate::Sandbox`] answers.

#[cfg(target_os = "linux")]
use std::os::fd::AsFd;
use std::os::fd::{BorrowedFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::os::unix::net::UnixStream;

use berth_arch::process::{self, Process};

use crate::error::setup;
#[cfg(target_os = "linux")]
use crate::namespace::task;
use crate::{Error, ExecChild, ExitStatus, Result};

/// A program of [`crate::Sandbox::exec`].
pub(crate) struct Child {
    process: Process,
    terminal: Option<OwnedFd>,
    end: End,
    status: Option<ExitStatus>,
}

/// How its end is heard of.
enum End {
    /// It is a child of this process.
    Waited,
    /// Its parent, inside, says it over this socket.
    #[cfg(target_os = "linux")]
    Told(UnixStream),
}

impl Child {
    pub(crate) fn new(process: Process, terminal: Option<OwnedFd>) -> Self {
        Self { process, terminal, end: End::Waited, status: None }
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn told(process: Process, terminal: Option<OwnedFd>, stream: UnixStream) -> Self {
        Self { end: End::Told(stream), ..Self::new(process, terminal) }
    }
}

impl ExecChild for Child {
    fn pid(&self) -> i32 {
        self.process.pid()
    }

    #[cfg(target_os = "linux")]
    fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.end {
            End::Waited => self.process.pidfd(),
            End::Told(stream) => Some(stream.as_fd()),
        }
    }

    #[cfg(target_os = "freebsd")]
    fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.process.exit_fd())
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = match &self.end {
                End::Waited => try_wait(&self.process)?,
                #[cfg(target_os = "linux")]
                End::Told(stream) => task::end_of(stream).map_err(setup("wait for a program"))?.map(exit_status),
            };
        }
        Ok(self.status)
    }

    fn signal(&self, signal: i32) -> Result<()> {
        send_unless(self.status, &self.process, signal)
    }

    fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }
}

pub(crate) fn try_wait(process: &Process) -> Result<Option<ExitStatus>> {
    match process::try_wait(process.pid()) {
        Ok(status) => Ok(status.map(exit_status)),
        Err(error) => Err(setup(format!("wait for process {}", process.pid()))(error)),
    }
}

/// To a process that was waited for its number may mean another one.
pub(crate) fn send_unless(ended: Option<ExitStatus>, process: &Process, signal: i32) -> Result<()> {
    match ended {
        Some(_) => Err(Error::NotFound(format!("process {}: it has ended", process.pid()))),
        None => send(process, signal),
    }
}

pub(crate) fn send(process: &Process, signal: i32) -> Result<()> {
    process.signal(signal).map_err(|error| match error.raw_os_error() {
        Some(libc::ESRCH) => Error::NotFound(format!("process {}: it has ended", process.pid())),
        Some(libc::EINVAL) => Error::InvalidArgument(format!("signal {signal}")),
        _ => setup(format!("send signal {signal} to process {}", process.pid()))(error),
    })
}

/// From wait(2)'s status.
pub(crate) fn exit_status(status: i32) -> ExitStatus {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        return ExitStatus { code: 128 + signal, signal: Some(signal) };
    }
    ExitStatus { code: libc::WEXITSTATUS(status), signal: None }
}
