//! Descriptors that this process was started with.
#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};

use anyhow::{Context as _, ensure};
use berth_backends::Stdio;

/// The first that is not one of the three streams.
const FIRST: i32 = 3;

/// What a program gets from 3 on: what a service manager passed on by sd_listen_fds(3), then `--preserve-fds`.
pub(crate) struct Preserved {
    pub(crate) files: Vec<OwnedFd>,
    /// How many of them are a service manager's.
    pub(crate) listening: usize,
}

impl Preserved {
    /// Copies. Called before this process has opened anything.
    pub(crate) fn take(count: usize) -> anyhow::Result<Self> {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u32>().ok());
        let listening = if number("LISTEN_PID") == Some(std::process::id()) { number("LISTEN_FDS") } else { None };
        let listening = listening.unwrap_or(0) as usize;
        let total = listening.checked_add(count).filter(|total| *total < 1024);
        let total = total.with_context(|| format!("--preserve-fds {count}: too many"))? as i32;
        Ok(Self { files: (FIRST..FIRST + total).map(take).collect::<anyhow::Result<_>>()?, listening })
    }
}

fn take(number: i32) -> anyhow::Result<OwnedFd> {
    // SAFETY: takes no pointers. A copy of a number that nobody else in this process owns or closes.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, FIRST) };
    ensure!(copy >= 0, "--preserve-fds: descriptor {number} is not open");
    // SAFETY: just made, and owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// This process's own streams.
pub(crate) fn streams() -> anyhow::Result<Stdio> {
    let copy =
        |stream: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(stream, FIRST).context("duplicate a standard stream");
    Ok(Stdio::Pipes {
        stdin: copy(rustix::stdio::stdin())?,
        stdout: copy(rustix::stdio::stdout())?,
        stderr: copy(rustix::stdio::stderr())?,
    })
}
