//! The process of ours that LXC's tools start in a container, and which becomes the user's program.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use crate::namespace::foreign;
use crate::namespace::task::{self, Task};

/// The role's name: the first argument.
pub const ROLE: &str = "berth-lxc";

/// As a shell has a program that SIGHUP ended: LXC takes such an end of a container's first process for the wish to be started
/// again, and finds that nobody has a task any more.
const NOBODY_HAS_A_TASK: u8 = 129;

/// Returns if there is no program to become, which has been said then to who wants to know.
pub fn main() -> ExitCode {
    // Whoever started this process has it as standard input, and the program's file as standard output.
    let Ok(stream) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { return ExitCode::FAILURE };
    if std::env::args().nth(2).as_deref() == Some(FURTHER) {
        foreign::outlive_the_tool();
    }
    let mut stream = UnixStream::from(stream);
    if task::say_hello(&stream).is_err() {
        return ExitCode::from(NOBODY_HAS_A_TASK);
    }
    let Ok((task, descriptors)) = task::take(&mut stream) else { return ExitCode::from(NOBODY_HAS_A_TASK) };
    drop(stream);
    let _ = become_it(task, descriptors);
    ExitCode::FAILURE
}

/// The second argument of a process that is not the container's first.
pub(super) const FURTHER: &str = "further";

fn become_it(task: Task, descriptors: Vec<OwnedFd>) -> Option<()> {
    let mut descriptors = descriptors.into_iter();
    let channel = descriptors.next()?;
    match task {
        Task::First { spec, cgroups, devices_enforced, streams } => {
            let io = streams.io(&mut descriptors)?;
            foreign::become_first(*spec, &cgroups, devices_enforced, io, channel);
        }
        Task::Further { process, spec, devices_enforced, streams } => {
            let io = streams.io(&mut descriptors)?;
            foreign::become_further(&process, &spec, devices_enforced, io, descriptors.collect(), channel);
        }
    }
    None
}
