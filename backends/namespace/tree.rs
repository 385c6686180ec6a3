//! The processes of a container without control groups: those in its init's pid namespace, or those that descend
//! from its init if that namespace is the host's.

use std::fs;

use berth_arch::process::{self, Process};

fn namespace(pid: &str) -> Option<std::path::PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/pid")).ok()
}

/// Whether the end of `init` is not the end of what it started.
pub(crate) fn shares_our_processes(init: &Process) -> bool {
    namespace(&init.pid().to_string()) == namespace("self")
}

/// As host process numbers. A snapshot: one that is being forked meanwhile may be missing.
pub(crate) fn pids_with(init: &Process) -> Vec<i32> {
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
pub(crate) fn kill_descendants(init: &Process) {
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
