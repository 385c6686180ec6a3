//! The processes of a container without a namespace of theirs: by the container's mark, and whoever descends from one that
//! has it.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use berth_arch::process::{Process, Stat};

use super::mark::Mark;
use crate::{Error, Result};

/// Rounds in which processes are stopped before they are killed; as long as they do not stop appearing.
const ROUNDS: usize = 20;
/// How long processes that have been killed may take to leave.
const PATIENCE: Duration = Duration::from_secs(5);

/// One look at all processes: calls `act` with each of the container's that has not ended, as soon as it is found. Numbers
/// grow, so what is forked meanwhile is mostly seen by the same look.
fn look(mark: &Mark, init: Option<i32>, mut act: impl FnMut(&Process)) {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let (mut found, mut others) = (HashSet::new(), Vec::new());
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let ours = || mark.is_on(pid) || init == Some(pid);
        if pid != own && ours() {
            found.insert(pid);
            hold(pid, ours).iter().for_each(&mut act);
        } else {
            others.push(pid);
        }
    }
    if found.is_empty() {
        return;
    }
    // Those that have left the root and not their parents.
    let parent = |pid: i32| Some(Stat::read(pid).ok()?.parent);
    let parents: Vec<(i32, i32)> = others.into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    loop {
        let below = |one: &&(i32, i32)| found.contains(&one.1) && !found.contains(&one.0) && one.0 != own;
        let fresh: Vec<(i32, i32)> = parents.iter().filter(below).copied().collect();
        if fresh.is_empty() {
            return;
        }
        for (pid, known) in fresh {
            found.insert(pid);
            hold(pid, || parent(pid) == Some(known)).iter().for_each(&mut act);
        }
    }
}

/// The process of that number, if it has not ended and what is known of it still holds now that nobody else can get the
/// number.
fn hold(pid: i32, known: impl Fn() -> bool) -> Option<Process> {
    let process = Process::open(pid, None).ok()?;
    (process.is_alive() && known()).then_some(process)
}

/// `init` counts as long as it has not ended, also before its root has changed.
fn alive(init: Option<&Process>) -> Option<i32> {
    init.filter(|init| init.is_alive()).map(Process::pid)
}

/// As host process numbers. A snapshot.
pub(super) fn list(mark: &Mark, init: &Process) -> Vec<i32> {
    let mut pids = Vec::new();
    look(mark, alive(Some(init)), |process| pids.push(process.pid()));
    pids
}

/// Stops all until no new one appears, so that nobody starts another one meanwhile, and then kills until none is left.
/// Unavailable if some do not end.
pub(super) fn kill_all(mark: &Mark, init: Option<&Process>) -> Result<()> {
    let mut stopped = HashSet::new();
    for _ in 0..ROUNDS {
        let before = stopped.len();
        look(mark, alive(init), |process| {
            if process.signal(libc::SIGSTOP).is_ok() {
                stopped.insert((process.pid(), process.start_time()));
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
        look(mark, alive(init), |process| left += usize::from(process.signal(libc::SIGKILL).is_ok()));
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
