//! One process, from proc_pid_stat(5) and its neighbours.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Clock ticks a second in /proc (USER_HZ), the same on every architecture.
pub(super) const TICKS: u64 = 100;

/// What percentages and ages are computed from.
pub(super) struct Machine {
    /// Seconds after the Unix epoch.
    pub(super) now: u64,
    /// Seconds after the Unix epoch.
    pub(super) boot: u64,
    /// KiB.
    pub(super) memory: u64,
}

impl Machine {
    pub(super) fn now() -> Self {
        let field = |file: &str, name: &str| -> u64 {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        Self {
            now: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            boot: field("/proc/stat", "btime"),
            memory: field("/proc/meminfo", "MemTotal:").max(1),
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) name: String,
    pub(super) state: char,
    pub(super) ppid: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    pub(super) terminal: u32,
    pub(super) foreground_group: i32,
    /// Ticks.
    pub(super) time: u64,
    pub(super) priority: i64,
    pub(super) nice: i64,
    pub(super) threads: u64,
    /// Ticks after boot.
    pub(super) start: u64,
    /// Bytes.
    pub(super) virtual_size: u64,
    /// KiB.
    pub(super) resident: u64,
    /// The arguments, or the name in brackets.
    pub(super) command: String,
}

impl Process {
    /// `None` if there is none any more.
    pub(super) fn read(pid: i32) -> Option<Self> {
        let folder = format!("/proc/{pid}");
        let owner = fs::metadata(&folder).ok()?;
        let stat = fs::read(format!("{folder}/stat")).ok()?;
        let mut process = Self::parse(&String::from_utf8_lossy(&stat))?;
        (process.uid, process.gid) = (owner.uid(), owner.gid());
        let line = fs::read(format!("{folder}/cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&line).trim_end_matches('\0').replace(['\0', '\n'], " ");
        process.command = if arguments.is_empty() { format!("[{}]", process.name) } else { arguments };
        Some(process)
    }

    fn parse(stat: &str) -> Option<Self> {
        // The name may hold anything, parentheses too.
        let (open, close) = (stat.find('(')?, stat.rfind(')')?);
        let fields: Vec<&str> = stat.get(close + 1..)?.split_ascii_whitespace().collect();
        // Numbered as in the manual page, where the state is field 3.
        let field = |number: usize| fields.get(number - 3).copied().unwrap_or("0");
        let unsigned = |number| field(number).parse::<u64>().unwrap_or_default();
        let signed = |number| field(number).parse::<i64>().unwrap_or_default();
        let id = |number| field(number).parse::<i32>().unwrap_or_default();
        Some(Self {
            pid: stat.get(..open)?.trim().parse().ok()?,
            name: stat.get(open + 1..close)?.to_owned(),
            state: field(3).chars().next()?,
            ppid: id(4),
            group: id(5),
            session: id(6),
            terminal: u32::try_from(signed(7)).unwrap_or_default(),
            foreground_group: id(8),
            time: unsigned(14) + unsigned(15),
            priority: signed(18),
            nice: signed(19),
            threads: unsigned(20),
            start: unsigned(22),
            virtual_size: unsigned(23),
            resident: unsigned(24) * rustix::param::page_size() as u64 / 1024,
            ..Self::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read_whole() {
        let stat = "42 (a) b (c) S 1 40 41 34816 42 4194304 0 0 0 0 150 50 0 0 20 -5 3 0 777 4096 2 0";
        let process = Process::parse(stat).unwrap();
        assert_eq!((process.pid, process.name.as_str(), process.state), (42, "a) b (c", 'S'));
        assert_eq!((process.ppid, process.session, process.terminal), (1, 41, 34816));
        assert_eq!((process.time, process.nice, process.threads, process.start), (200, -5, 3, 777));
        assert!(Process::parse("nonsense").is_none());
    }

    #[test]
    fn this_process_is_found() {
        let own = Process::read(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(!own.command.is_empty());
        assert!(Process::read(i32::MAX).is_none());
    }
}
