//! The processes of a container without a namespace of theirs: by the container's mark, and whoever descends from one that
//! has it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use berth_arch::process::{self, Process, Stat};

use super::mark::Mark;
use crate::{Error, Result};

/// Rounds in which processes are stopped before they are killed; as long as they do not stop appearing.
const ROUNDS: usize = 20;
/// How long processes that have been killed may take to leave.
const PATIENCE: Duration = Duration::from_secs(5);

/// One look at all processes: calls `act` with each of the container's that has not ended, as soon as it is found. Numbers
/// grow, so what is forked meanwhile is mostly seen by the same look.
fn look(mark: &Mark, init: Option<i32>, mut act: impl FnMut(i32)) {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let (mut found, mut others) = (HashSet::new(), Vec::new());
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if pid != own && (mark.is_on(pid) || init == Some(pid)) {
            found.insert(pid);
            act(pid);
        } else {
            others.push(pid);
        }
    }
    if found.is_empty() {
        return;
    }
    // Those that have left the root and not their parents.
    let parents: Vec<(i32, i32)> =
        others.into_iter().filter_map(|pid| Some((pid, Stat::read(pid).ok()?.parent))).collect();
    loop {
        let fresh: Vec<i32> = parents
            .iter()
            .filter(|(pid, parent)| found.contains(parent) && !found.contains(pid))
            .map(|one| one.0)
            .collect();
        if fresh.is_empty() {
            return;
        }
        fresh.iter().copied().filter(|&pid| pid != own).for_each(&mut act);
        found.extend(fresh);
    }
}

/// `init` counts as long as it has not ended, also before its root has changed.
fn alive(init: Option<&Process>) -> Option<i32> {
    init.filter(|init| init.is_alive()).map(Process::pid)
}

/// As host process numbers. A snapshot.
pub(super) fn list(mark: &Mark, init: &Process) -> Vec<i32> {
    let mut pids = Vec::new();
    look(mark, alive(Some(init)), |pid| pids.push(pid));
    pids.retain(|&pid| Stat::read(pid).is_ok_and(|stat| !stat.has_ended()));
    pids
}

/// Stops all until no new one appears, so that nobody starts another one meanwhile, and then kills until none is left.
/// Unavailable if some do not end.
pub(super) fn kill_all(mark: &Mark, init: Option<&Process>) -> Result<()> {
    let mut stopped = HashSet::new();
    for _ in 0..ROUNDS {
        let before = stopped.len();
        look(mark, alive(init), |pid| {
            if let Some(start) = signal(pid, libc::SIGSTOP) {
                stopped.insert((pid, start));
            }
        });
        if stopped.len() == before {
            break;
        }
    }
    let until = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(200);
    loop {
        let mut left = 0;
        look(mark, alive(init), |pid| left += usize::from(signal(pid, libc::SIGKILL).is_some()));
        if left == 0 {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Error::Unavailable(format!("{left} processes did not end after SIGKILL")));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// The start time of the process, if it took the signal: none that has ended.
fn signal(pid: i32, signal: i32) -> Option<u64> {
    let process = process::Process::open(pid, None).ok()?;
    if !process.is_alive() {
        return None;
    }
    process.signal(signal).ok()?;
    Some(process.start_time())
}
