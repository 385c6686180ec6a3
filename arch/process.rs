//! Processes by number, guarded against the number's reuse.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitOptions};

use crate::{pretend, sys};

/// A process named by its number and start time, held by a pidfd where the kernel has it (5.3).
#[derive(Debug)]
pub struct Process {
    pid: i32,
    start_time: u64,
    pidfd: Option<OwnedFd>,
}

impl Process {
    /// Fails with ESRCH if there is none, or if `start_time` is given and differs. A zombie can be opened.
    pub fn open(pid: i32, start_time: Option<u64>) -> io::Result<Self> {
        let number = if pid > 0 { Pid::from_raw(pid) } else { None }.ok_or(Errno::SRCH)?;
        let opened = match pretend::without("pidfd") {
            true => Err(Errno::NOSYS),
            false => rustix::process::pidfd_open(number, PidfdFlags::empty()),
        };
        let pidfd = match opened {
            Ok(fd) => Some(fd),
            Err(Errno::SRCH) => return Err(Errno::SRCH.into()),
            Err(_) => None,
        };
        let found = Stat::read(pid)?.start_time;
        if start_time.is_some_and(|expected| expected != found) {
            return Err(Errno::SRCH.into());
        }
        let process = Self { pid, start_time: found, pidfd };
        // What was read belongs to the descriptor's process only if that has not been reaped meanwhile.
        if let Some(fd) = process.pidfd()
            && sys::pidfd_send_signal(fd, 0) == Err(Errno::SRCH)
        {
            return Err(Errno::SRCH.into());
        }
        Ok(process)
    }

    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Field 22 of /proc/PID/stat, clock ticks after boot (proc(5)).
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(|fd| fd.as_fd())
    }

    /// ESRCH if it has ended (and was reaped: a zombie takes signals without effect).
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        if let Some(fd) = self.pidfd() {
            match sys::pidfd_send_signal(fd, signal) {
                Err(Errno::NOSYS) => {}
                answer => return Ok(answer?),
            }
        }
        if Stat::read(self.pid)?.start_time != self.start_time {
            return Err(Errno::SRCH.into());
        }
        Ok(sys::kill(self.pid, signal)?)
    }

    /// A zombie is not alive.
    pub fn is_alive(&self) -> bool {
        match self.pidfd() {
            Some(fd) => {
                let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                matches!(rustix::event::poll(&mut polled, Some(&now)), Ok(0))
            }
            None => Stat::read(self.pid).is_ok_and(|stat| stat.start_time == self.start_time && !stat.has_ended()),
        }
    }
}

/// The fields of /proc/PID/stat (proc_pid_stat(5)) that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub state: u8,
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    pub threads: i32,
    /// Clock ticks after boot.
    pub start_time: u64,
}

impl Stat {
    /// ESRCH if there is no such process.
    pub fn read(pid: i32) -> io::Result<Self> {
        let text = std::fs::read(format!("/proc/{pid}/stat")).map_err(|error| match error.raw_os_error() {
            // A process that ends while its file is open gives ESRCH by itself.
            Some(libc::ENOENT) if std::fs::exists("/proc/self/stat").unwrap_or(false) => Errno::SRCH.into(),
            _ => error,
        })?;
        Self::parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("read /proc/{pid}/stat")))
    }

    /// The name in parentheses may hold anything, parentheses and newlines too.
    fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().rposition(|&byte| byte == b')')?;
        let fields = std::str::from_utf8(text.get(end + 2..)?).ok()?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().take(20).collect();
        // Field 3 of the manual page is the first here.
        let field = |number: usize| fields.get(number - 3).copied();
        Some(Self {
            state: *field(3)?.as_bytes().first()?,
            parent: field(4)?.parse().ok()?,
            group: field(5)?.parse().ok()?,
            session: field(6)?.parse().ok()?,
            threads: field(20)?.parse().ok()?,
            start_time: field(22)?.parse().ok()?,
        })
    }

    /// Zombie or dead; a leader whose other threads go on has not ended.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x') && self.threads <= 1
    }
}

/// The number and start time of this process.
pub fn myself() -> io::Result<(i32, u64)> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    Ok((pid, Stat::read(pid)?.start_time))
}

/// The direct children of `pid`, by the kernel's list (3.5 with CONFIG_CHECKPOINT_RESTORE, 4.2 with
/// CONFIG_PROC_CHILDREN), else by a look at every process. A snapshot: it may be old when it returns.
pub fn children(pid: i32) -> io::Result<Vec<i32>> {
    match children_listed(pid) {
        // No such list in this kernel, or a thread that ended while it was read.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => children_searched(pid),
        answer => answer,
    }
}

fn children_listed(pid: i32) -> io::Result<Vec<i32>> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let list = crate::kernel_file::read_to_string(task?.path().join("children"))?;
        children.extend(list.split_ascii_whitespace().filter_map(|number| number.parse::<i32>().ok()));
    }
    Ok(children)
}

fn children_searched(pid: i32) -> io::Result<Vec<i32>> {
    let is_child = |other: &i32| Stat::read(*other).is_ok_and(|stat| stat.parent == pid);
    Ok(all()?.into_iter().filter(is_child).collect())
}

/// Every process that /proc shows.
pub fn all() -> io::Result<Vec<i32>> {
    let entries = std::fs::read_dir("/proc")?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

/// `pid` (as this process sees it) as every nested pid namespace down to its own sees it, outermost first
/// (`NSpid`, 4.1). `None` on older kernels.
pub fn numbers_inside(pid: i32) -> io::Result<Option<Vec<i32>>> {
    let status = crate::kernel_file::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    Ok(line.map(|line| line.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect()))
}

/// The raw status of wait(2) if the child `pid` has ended, which reaps it; `None` while it runs. ECHILD if it is
/// no child of this process or was reaped before. A child that made this process its tracer (PTRACE_TRACEME) is let
/// go when it stops for that.
pub fn try_wait(pid: i32) -> io::Result<Option<i32>> {
    let number = Pid::from_raw(pid).ok_or(Errno::CHILD)?;
    loop {
        match rustix::process::waitpid(Some(number), WaitOptions::NOHANG) {
            Ok(Some((_, status))) if status.stopped() => sys::let_go(pid, status.as_raw()),
            Ok(ended) => return Ok(ended.map(|(_, status)| status.as_raw())),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// As [`try_wait`], but waits.
pub fn wait(pid: i32) -> io::Result<i32> {
    let number = Pid::from_raw(pid).ok_or(Errno::CHILD)?;
    loop {
        match rustix::process::waitpid(Some(number), WaitOptions::empty()) {
            Ok(Some((_, status))) if status.stopped() => sys::let_go(pid, status.as_raw()),
            Ok(Some((_, status))) => return Ok(status.as_raw()),
            Ok(None) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command};

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().unwrap()
    }

    fn number(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    /// The process with and without its descriptor: both ways have to behave alike.
    fn both_ways(pid: i32) -> [Process; 2] {
        let process = Process::open(pid, None).unwrap();
        let without = Process { pid, start_time: process.start_time, pidfd: None };
        [process, without]
    }

    #[test]
    fn a_zombie_is_not_alive_and_a_reaped_process_takes_no_signal() {
        let mut child = sleeper();
        let ways = both_ways(number(&child));
        for process in &ways {
            assert!(process.is_alive());
            process.signal(0).unwrap();
        }
        ways[1].signal(libc::SIGKILL).unwrap();
        while ways[1].is_alive() {
            std::thread::yield_now();
        }
        assert!(!ways[0].is_alive());
        assert!(Stat::read(number(&child)).unwrap().has_ended());
        child.wait().unwrap();
        for process in &ways {
            assert_eq!(process.signal(0).unwrap_err().raw_os_error(), Some(libc::ESRCH));
            assert!(!process.is_alive());
        }
    }

    #[test]
    fn another_start_time_is_another_process() {
        let (pid, start) = myself().unwrap();
        assert!(Process::open(pid, Some(start)).is_ok());
        let error = Process::open(pid, Some(start + 1)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
        for absent in [0, -1, i32::MAX] {
            assert_eq!(Process::open(absent, None).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        }
    }

    #[test]
    fn both_ways_to_list_children_find_the_same() {
        let mut child = sleeper();
        let pid = number(&child);
        let myself = myself().unwrap().0;
        assert!(children(myself).unwrap().contains(&pid));
        assert!(children_searched(myself).unwrap().contains(&pid));
        assert_eq!(try_wait(pid).unwrap(), None);
        child.kill().unwrap();
        assert_eq!(wait(pid).unwrap(), libc::SIGKILL);
        assert_eq!(try_wait(pid).unwrap_err().raw_os_error(), Some(libc::ECHILD));
        let _ = child.wait();
    }

    #[test]
    fn a_child_that_wants_to_be_traced_has_not_ended_when_it_stops() {
        if std::env::var_os("BERTH_TEST_EMULATED").is_some() {
            return println!("skipped: QEMU's user mode traces nobody");
        }
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("sh");
        command.args(["-c", "trap : USR1; kill -USR1 $$; exit 9"]);
        // SAFETY: the closure makes one system call, which is allowed between fork and exec.
        #[allow(unsafe_code)]
        let mut child = unsafe {
            command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            })
        }
        .spawn()
        .unwrap();
        assert_eq!(wait(number(&child)).unwrap(), 9 << 8);
        let _ = child.wait();
    }

    #[test]
    fn a_name_with_parentheses_hides_no_field() {
        let line = b"7 (a) R 1 (\n) S 3 4 5 0 -1 0 0 0 0 0 0 0 0 0 20 0 6 0 99 0 0";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.threads, stat.start_time), (b'S', 3, 6, 99));
    }
}
