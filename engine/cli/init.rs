//! `--init`: process 1 inside a container. Starts the program, passes signals on to it, reaps what is orphaned, and
//! ends as the program did.
//!
//! Reached by `argv[0]` = `docker-init`; the program's file is bound read-only into the container.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Signals that tell about us and not about the program: faults, and stops of a terminal that we do not own.
const OURS: &[Signal] = &[
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGABRT,
    Signal::SIGTRAP,
    Signal::SIGSYS,
    Signal::SIGTTIN,
    Signal::SIGTTOU,
];

pub(crate) fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut arguments = arguments.skip_while(|argument| argument == "--");
    let Some(program) = arguments.next() else {
        eprintln!("docker-init: no program to run");
        return ExitCode::from(127);
    };
    let mut watched = SigSet::all();
    for &signal in OURS {
        watched.remove(signal);
    }
    let mut former = SigSet::empty();
    if let Err(error) = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&watched), Some(&mut former)) {
        eprintln!("docker-init: block signals: {error}");
        return ExitCode::from(126);
    }
    let child = match spawn(&program, arguments, former) {
        Ok(child) => child,
        Err(error) => {
            eprintln!("docker-init: exec {}: {error}", program.display());
            return ExitCode::from(if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 });
        }
    };
    loop {
        let Ok(signal) = watched.wait() else { continue };
        if signal != Signal::SIGCHLD {
            let _ = nix::sys::signal::kill(child, signal);
            continue;
        }
        if let Some(code) = reap(child) {
            return ExitCode::from(code);
        }
    }
}

/// Starts the program in a process group of its own that owns the terminal, if there is one.
fn spawn(program: &OsString, arguments: impl Iterator<Item = OsString>, mask: SigSet) -> std::io::Result<Pid> {
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    crate::sys::unblock_in_child(&mut command, mask);
    let child = command.spawn()?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let stdin = std::io::stdin();
    if rustix::termios::isatty(&stdin)
        && let Some(group) = rustix::process::Pid::from_raw(pid.as_raw())
    {
        let _ = rustix::termios::tcsetpgrp(&stdin, group);
    }
    Ok(pid)
}

/// Reaps everything that has ended. The program's exit code, if it was among them.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = u8::try_from(status & 0xff).ok(),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                code = u8::try_from(128 + signal as i32).ok();
            }
            Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => return code,
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return code,
        }
    }
}
