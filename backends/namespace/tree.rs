//! The processes of a container without control groups: those in its init's pid namespace, or those that descend
//! from its init if that namespace is the host's.

use std::fs;

use berth_arch::process::{self, Process};

use super::process::setup;
use crate::Result;
use crate::cgroup::Cgroup;

fn namespace(pid: &str) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// Whether the end of `init` is not the end of what it started.
fn shares_our_processes(init: &Process) -> bool {
    namespace(&init.pid().to_string()) == namespace("self")
}

/// Kills every process of the container `name`. Without groups, and without processes of its own, those that descend from
/// its first one; otherwise the end of a pid namespace's first process is the end of all others in it. `ended`: it has been
/// waited for.
pub(crate) fn kill_all(name: &str, init: &Process, ended: bool, groups: &Cgroup) -> Result<()> {
    let grouped = !groups.paths().is_empty();
    if !grouped && shares_our_processes(init) {
        kill_descendants(init);
    }
    if !ended {
        match init.signal(libc::SIGKILL) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                return Err(setup(format!("kill container {name}"))(error));
            }
            _ => {}
        }
    }
    if grouped { groups.kill_all() } else { Ok(()) }
}

/// All processes of a container, as host process numbers.
pub(crate) fn pids(init: &Process, groups: &Cgroup) -> Result<Vec<i32>> {
    if groups.paths().is_empty() { Ok(pids_with(init)) } else { groups.pids() }
}

/// As host process numbers. A snapshot: one that is being forked meanwhile may be missing.
fn pids_with(init: &Process) -> Vec<i32> {
    if shares_our_processes(init) {
        return descendants(init);
    }
    let Some(own) = namespace(&init.pid().to_string()) else { return Vec::new() };
    let inside = |pid: &i32| namespace(&pid.to_string()).as_ref() == Some(&own);
    process::all().unwrap_or_default().into_iter().filter(inside).collect()
}

fn descendants(init: &Process) -> Vec<i32> {
    if !init.is_alive() {
        return Vec::new();
    }
    let mut found = vec![init.pid()];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        found.extend(process::children(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// Stops and then kills all, so that nobody starts another one meanwhile.
fn kill_descendants(init: &Process) {
    for signal in [libc::SIGSTOP, libc::SIGKILL] {
        let mut done = 0;
        loop {
            let found = descendants(init);
            let open = |pid: &i32| Process::open(*pid, None).ok();
            found.iter().filter_map(open).for_each(|process| drop(process.signal(signal)));
            if found.len() <= done || signal == libc::SIGKILL {
                break;
            }
            done = found.len();
        }
    }
}
