//! One call of a runtime's command line.
#![allow(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use berth_arch::process::{self, Process};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, Signal};

use super::Runtime;
use super::view::View;
use crate::namespace::sys;
use crate::{Error, Result};

/// For a question.
pub(super) const BRIEF: Duration = Duration::from_secs(5);
/// For making and removing, which may wait for disks and for hooks.
pub(super) const LONG: Duration = Duration::from_secs(120);

/// What is read of what a call writes.
const MOST: u64 = 1024 * 1024;

/// A runtime with the arguments that come before the verb.
#[derive(Debug, Clone)]
pub(super) struct Call {
    /// The backend's, for messages.
    name: String,
    program: PathBuf,
    arguments: Vec<OsString>,
    log: Option<PathBuf>,
}

/// The streams of a call that becomes a program in a container.
pub(super) struct Streams {
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// How a call came out.
pub(super) struct Answer {
    pub(super) status: ExitStatus,
    /// Empty of a call whose streams are somebody else's.
    pub(super) output: String,
    /// What it said of its failure.
    pub(super) said: String,
}

impl Call {
    pub(super) fn new(name: &str, runtime: &Runtime) -> Result<Self> {
        let program = runtime.program().ok_or_else(|| {
            Error::Unavailable(format!(
                "the {name} backend cannot be used: {} is not installed; install it, or correct runtimes.{name}.path in \
                 berth.toml",
                runtime.path.display()
            ))
        })?;
        let arguments = runtime.args.iter().map(OsString::from).collect();
        Ok(Self { name: name.to_owned(), program, arguments, log: None })
    }

    /// With its state in `root`, and its words in a file beside that.
    pub(super) fn in_folder(mut self, folder: &Path) -> Self {
        // Processes may call at the same time.
        let log = folder.join(format!("log.{}", std::process::id()));
        self.push("--root").push(folder.join("state"));
        self.push("--log").push(&log).push("--log-format").push("json");
        self.log = Some(log);
        self
    }

    pub(super) fn push(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) fn arguments(&self) -> &[OsString] {
        &self.arguments
    }

    /// Calls with streams that are somebody else's from then on.
    pub(super) fn run_with(&self, streams: Streams) -> Result<Answer> {
        let mut command = self.command()?;
        command.stdin(streams.stdin).stdout(streams.stdout).stderr(streams.stderr);
        let before = children();
        let mut child = command.spawn().map_err(|error| self.failed(error))?;
        // The command has copies, by which a pipe would not end.
        drop(command);
        let status = self.wait(&mut child, LONG);
        if !matches!(&status, Ok(status) if status.success()) {
            bury(&before);
        }
        let status = status?;
        Ok(Answer { status, output: String::new(), said: self.said(&[]) })
    }

    /// Calls and collects what it writes.
    pub(super) fn run(&self, patience: Duration) -> Result<Answer> {
        let mut command = self.command()?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| self.failed(error))?;
        let (stdout, stderr) = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
        let status = self.wait(&mut child, patience)?;
        let output = stdout.map(read_now).unwrap_or_default();
        let errors = stderr.map(read_now).unwrap_or_default();
        Ok(Answer { status, output: String::from_utf8_lossy(&output).into_owned(), said: self.said(&errors) })
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(&self.program);
        // A group of its own, by which it can be ended with what it has started.
        command.args(&self.arguments).process_group(0);
        let view = View::new()?;
        // SAFETY: the closure makes system calls only, on memory that was made before.
        unsafe {
            command.pre_exec(move || {
                // A call that outlives who waits for its answer would make a container that belongs to nobody.
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
                berth_arch::fd::cloexec_from(3)?;
                view.enter();
                sys::reset_signals();
                Ok(())
            });
        }
        Ok(command)
    }

    fn wait(&self, child: &mut Child, patience: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + patience;
        let process = i32::try_from(child.id()).ok().and_then(|pid| Process::open(pid, None).ok());
        let failed = |error| self.failed(error);
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                return Ok(status);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.end(child);
                let seconds = patience.as_secs();
                return Err(failed(io::Error::other(format!("it has not answered for {seconds} s and was ended"))));
            }
            sleep_until_ended(process.as_ref(), left);
        }
    }

    fn end(&self, child: &mut Child) {
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = child.kill();
        let _ = child.wait();
        self.forget_log();
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::Setup { step: format!("call {} ({})", self.name, self.program.display()), source: error }
    }

    /// The reason in the log, else the last line of `errors`.
    fn said(&self, errors: &[u8]) -> String {
        let log = self.log.as_ref().and_then(|log| std::fs::File::open(log).ok()).map(|file| {
            let mut text = Vec::new();
            let _ = file.take(MOST).read_to_end(&mut text);
            text
        });
        self.forget_log();
        let logged = log.as_deref().and_then(reason_of_log);
        let errors = String::from_utf8_lossy(errors);
        let line = || errors.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
        berth_arch::message::quiet(&logged.or_else(line).unwrap_or_default())
    }

    fn forget_log(&self) {
        if let Some(log) = &self.log {
            let _ = std::fs::remove_file(log);
        }
    }
}

impl Answer {
    pub(super) fn reason(&self) -> String {
        if self.said.is_empty() { format!("it ended with {} and said nothing", self.status) } else { self.said.clone() }
    }
}

fn children() -> Vec<i32> {
    i32::try_from(std::process::id()).ok().and_then(|own| process::children(own).ok()).unwrap_or_default()
}

/// Collects what a call that failed has left: this process is the parent of orphans. Those that do not end at once belong to
/// somebody else.
fn bury(before: &[i32]) {
    let until = Instant::now() + Duration::from_millis(200);
    let mut left: Vec<i32> = children().into_iter().filter(|pid| !before.contains(pid)).collect();
    loop {
        left.retain(|&pid| matches!(process::try_wait(pid), Ok(None)));
        if left.is_empty() || Instant::now() > until {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The last message that is an error (JSON, one object a line).
fn reason_of_log(log: &[u8]) -> Option<String> {
    let message = |line: &str| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_error = entry["level"].as_str().is_none_or(|level| !matches!(level, "debug" | "info" | "warning"));
        let text = entry["msg"].as_str().or_else(|| entry["message"].as_str())?;
        is_error.then(|| text.to_owned())
    };
    String::from_utf8_lossy(log).lines().rev().find_map(message)
}

/// What is there: whoever else has the other end may keep it for ever.
fn read_now(end: OwnedFd) -> Vec<u8> {
    let mut text = Vec::new();
    if rustix::io::ioctl_fionbio(end.as_fd(), true).is_ok() {
        // The end of what is there is an error, WouldBlock.
        let _ = std::fs::File::from(end).take(MOST).read_to_end(&mut text);
    }
    text
}

fn sleep_until_ended(process: Option<&Process>, most: Duration) {
    const PAUSE: Duration = Duration::from_millis(1);
    let Some(fd) = process.and_then(Process::pidfd) else { return std::thread::sleep(most.min(PAUSE)) };
    let timeout = Timespec::try_from(most).ok();
    let _ = rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], timeout.as_ref());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_of_a_log_is_the_reason() {
        let log = b"{\"level\":\"error\",\"msg\":\"a\"}\n{\"level\":\"error\",\"msg\":\"b\"}\n{\"level\":\"warning\",\"msg\":\"c\"}\nx\n";
        assert_eq!(reason_of_log(log).as_deref(), Some("b"));
        assert_eq!(reason_of_log(b"garbage"), None);
    }

    #[test]
    fn a_call_that_does_not_answer_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let runtime = Runtime { path: "/bin/sh".into(), args: vec!["-c".into(), script] };
        let call = Call::new("mine", &runtime).unwrap();
        let Err(error) = call.run(Duration::from_secs(3)) else { panic!("it has ended") };
        assert!(error.to_string().contains("call mine (/bin/sh): it has not answered"), "{error}");
        let started: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
        // Killed with the call, and gone a moment later.
        let until = Instant::now() + BRIEF;
        while Process::open(started, None).is_ok_and(|process| process.is_alive()) {
            assert!(Instant::now() < until, "process {started} goes on");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[test]
    fn a_call_without_a_log_gives_its_last_line() {
        let runtime = Runtime { path: "/bin/sh".into(), args: vec!["-c".into(), "echo a; echo b >&2; exit 3".into()] };
        let answer = Call::new("mine", &runtime).unwrap().run(BRIEF).unwrap();
        assert_eq!((answer.output.as_str(), answer.reason().as_str(), answer.status.code()), ("a\n", "b", Some(3)));
    }
}
