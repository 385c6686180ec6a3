//! Processes that a backend waits for and signals, as [`crate::Sandbox`] answers.

use berth_arch::process::{self, Process};

use crate::error::setup;
use crate::{Error, ExitStatus, Result};

pub(crate) fn try_wait(process: &Process) -> Result<Option<ExitStatus>> {
    match process::try_wait(process.pid()) {
        Ok(status) => Ok(status.map(exit_status)),
        Err(error) => Err(setup(format!("wait for process {}", process.pid()))(error)),
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
