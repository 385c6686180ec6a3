//! Starts a program's process, for the first one of a container and for further ones.

use std::os::fd::{AsFd, OwnedFd};

use berth_arch::process::{self, Process};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::pty::OpenptFlags;

use super::child::{Report, Step, Streams, Task};
use super::program::Program;
use super::sys;
use crate::error::setup;
use crate::words::exec_error;
use crate::{Error, Result, Stdio};

pub(super) struct Started {
    pub(super) process: Process,
    pub(super) report: OwnedFd,
    pub(super) terminal: Option<OwnedFd>,
}

/// Forks a program's process.
pub(super) fn spawn(
    jail: i32,
    program: Program,
    io: Stdio,
    preserved: Vec<OwnedFd>,
    waits: bool,
) -> Result<(Started, Option<OwnedFd>)> {
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(setup("make a pipe"));
    let (report, theirs) = pipe()?;
    let (streams, terminal) = streams(io)?;
    let mut task = Task::new(jail, program, streams, theirs);
    task.preserved = preserved;
    let gate = if waits {
        let (wait, gate) = pipe()?;
        task.gate = Some(wait);
        Some(gate)
    } else {
        None
    };
    task.move_up().map_err(setup("duplicate a descriptor"))?;
    let ours = gate.as_ref();
    let pid = sys::fork(|| {
        // The child's own copy: as long as it is open, the gate would not end with its creator.
        if let Some(gate) = ours {
            sys::close(gate.as_fd());
        }
        task.run()
    });
    let pid = pid.map_err(setup("fork"))?;
    // The child has its own copies: as long as ours are open, a pipe does not end.
    drop(task);
    match Process::open(pid, None) {
        Ok(process) => Ok((Started { process, report, terminal }, gate)),
        Err(error) => {
            drop(gate);
            let _ = process::wait(pid);
            Err(setup("open the program's process")(error))
        }
    }
}

/// The program's side of its streams, and the controlling side of a terminal. The terminal is the host's: a jail sees none but
/// those that were opened in it and the one of its own session (devfs(5)).
fn streams(io: Stdio) -> Result<(Streams, Option<OwnedFd>)> {
    let size = match io {
        Stdio::Pipes { stdin, stdout, stderr } => return Ok((Streams::Pipes([stdin, stdout, stderr]), None)),
        Stdio::Terminal { size } => size,
    };
    let step = || setup("open a pseudo-terminal");
    let controlling =
        rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).map_err(step())?;
    rustix::pty::grantpt(&controlling).map_err(step())?;
    rustix::pty::unlockpt(&controlling).map_err(step())?;
    let name = rustix::pty::ptsname(&controlling, Vec::new()).map_err(step())?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let program = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).map_err(step())?;
    if let Some((columns, rows)) = size {
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&controlling, size).map_err(step())?;
    }
    Ok((Streams::Terminal(program), Some(controlling)))
}

/// What a child that did not get to its program said.
pub(super) fn refusal(report: Option<Report>, program: &str) -> Error {
    match report {
        Some(Report { step: Step::Exec, errno }) => exec_error(program, errno),
        Some(Report { step, errno }) => setup(step.words())(errno),
        None => setup("make the container: its first process was killed")(Errno::SRCH),
    }
}
