//! Processes by number, guarded against the number's reuse.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use super::sys;

/// sys/sysctl.h
const KERN_PROC_PID: i32 = 1;
const KERN_PROC_PROC: i32 = 8;
/// sys/proc.h
const SZOMB: libc::c_char = 5;

/// A process named by its number and start time, with a queue that tells of its end.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    start_time: u64,
    exit: OwnedFd,
}

impl Process {
    /// Fails with ESRCH if there is none, or if `start_time` is given and differs. A zombie can be opened.
    pub fn open(pid: i32, start_time: Option<u64>) -> io::Result<Self> {
        if pid <= 0 {
            return Err(Errno::SRCH.into());
        }
        // The queue first: what is read afterwards is of the process that it watches, if that has not ended.
        let exit = sys::watch_exit(pid)?;
        let found = Stat::read(pid)?.start_time;
        if start_time.is_some_and(|expected| expected != found) {
            return Err(Errno::SRCH.into());
        }
        Ok(Self { pid, start_time: found, exit })
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Microseconds since 1970.
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// Becomes readable when the process has ended.
    pub fn exit_fd(&self) -> BorrowedFd<'_> {
        self.exit.as_fd()
    }

    /// ESRCH if it has ended.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        if Stat::read(self.pid)?.start_time != self.start_time {
            return Err(Errno::SRCH.into());
        }
        Ok(sys::kill(self.pid, signal)?)
    }

    /// A zombie is not alive.
    pub fn is_alive(&self) -> bool {
        !sys::is_readable(self.exit.as_fd())
    }
}

/// What the kernel's record of a process (kinfo_proc, sys/user.h) has that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub pid: i32,
    pub parent: i32,
    /// Number of the jail that it is in; 0 is the host.
    pub jail: i32,
    /// Microseconds since 1970.
    pub start_time: u64,
    pub has_ended: bool,
}

impl Stat {
    /// ESRCH if there is no such process.
    pub fn read(pid: i32) -> io::Result<Self> {
        let found = sys::processes(KERN_PROC_PID, pid)?;
        found.first().map(Self::of).ok_or_else(|| Errno::SRCH.into())
    }

    fn of(process: &libc::kinfo_proc) -> Self {
        let seconds = u64::try_from(process.ki_start.tv_sec).unwrap_or(0);
        let micros = u64::try_from(process.ki_start.tv_usec).unwrap_or(0);
        Self {
            pid: process.ki_pid,
            parent: process.ki_ppid,
            jail: process.ki_jid,
            start_time: seconds.saturating_mul(1_000_000).saturating_add(micros),
            has_ended: process.ki_stat == SZOMB,
        }
    }
}

/// Every process that this one may see.
pub fn all() -> io::Result<Vec<Stat>> {
    Ok(sys::processes(KERN_PROC_PROC, 0)?.iter().map(Stat::of).collect())
}

/// The number and start time of this process.
pub fn myself() -> io::Result<(i32, u64)> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    Ok((pid, Stat::read(pid)?.start_time))
}

/// The raw status of wait(2) if the child `pid` has ended, which reaps it; `None` while it runs. ECHILD if it is
/// no child of this process or was reaped before.
pub fn try_wait(pid: i32) -> io::Result<Option<i32>> {
    wait_for(pid, WaitOptions::NOHANG)
}

/// As [`try_wait`], but waits.
pub fn wait(pid: i32) -> io::Result<i32> {
    loop {
        if let Some(status) = wait_for(pid, WaitOptions::empty())? {
            return Ok(status);
        }
    }
}

fn wait_for(pid: i32, options: WaitOptions) -> io::Result<Option<i32>> {
    let number = Pid::from_raw(pid).ok_or(Errno::CHILD)?;
    loop {
        match rustix::process::waitpid(Some(number), options) {
            Ok(ended) => return Ok(ended.map(|(_, status)| status.as_raw())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
