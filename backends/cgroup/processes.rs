//! The processes of a container: listing and killing them; removing the directories.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use berth_arch::pretend;
use rustix::process::{Pid, Signal, kill_process};

use super::layout::Version;
use super::limits::{Group, Groups, find};
use super::{files, freezer};
use crate::{Error, Result};

/// All hierarchies hold the same processes; the freezer's is the one that stays complete when a container
/// manages nested groups of its own in the others.
fn listing(groups: &Groups) -> Option<&Group> {
    find(groups, "freezer").or_else(|| find(groups, "pids")).or(groups.first())
}

pub(super) fn list(groups: &Groups) -> Result<BTreeSet<i32>> {
    let mut pids = BTreeSet::new();
    if let Some(group) = listing(groups) {
        walk(&group.dir, &mut |dir| collect(dir, &mut pids)).map_err(|source| Error::Setup {
            step: format!("list the processes of {}", group.dir.display()),
            source,
        })?;
    }
    Ok(pids)
}

/// The group at or below `dir` that has the process in it.
pub(super) fn group_of(dir: &Path, pid: i32) -> Option<PathBuf> {
    let mut found = None;
    let _ = walk(dir, &mut |dir| {
        let mut pids = BTreeSet::new();
        collect(dir, &mut pids)?;
        if pids.contains(&pid) {
            found = Some(dir.to_owned());
        }
        Ok(())
    });
    found
}

fn collect(dir: &Path, pids: &mut BTreeSet<i32>) -> io::Result<()> {
    let text = match files::read(dir, "cgroup.procs") {
        // A threaded group lists its processes at the top of its domain only.
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(()),
        other => other?,
    };
    // 0: a process of another PID namespace.
    pids.extend(text.lines().filter_map(|line| line.parse().ok()).filter(|&pid: &i32| pid > 0));
    Ok(())
}

/// Calls `visit` on every group at and below `dir`, nested ones first. Groups that vanish meanwhile are fine.
fn walk(dir: &Path, visit: &mut dyn FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    let gone =
        |error: &io::Error| error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV);
    let entries = match std::fs::read_dir(dir) {
        Err(error) if gone(&error) => return Ok(()),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), visit)?;
        }
    }
    match visit(dir) {
        Err(error) if !gone(&error) => Err(error),
        _ => Ok(()),
    }
}

/// `cgroup.kill` (v2, 5.14), else SIGKILL to each until no new one appears; from the second round on they are
/// frozen meanwhile, so that a fork bomb cannot outrun it.
pub(super) fn kill_all(groups: &Groups) -> Result<()> {
    if let Some(group) = groups.iter().find(|group| group.version == Version::V2 && groups.len() == 1)
        && !pretend::without("cgroup-kill")
        && files::write(&group.dir, "cgroup.kill", "1").is_ok()
    {
        return Ok(());
    }
    let mut killed = BTreeSet::new();
    for round in 0..50 {
        if round > 0 {
            freezer::request(groups, true);
        }
        let pids = list(groups);
        let fresh: Vec<i32> = match &pids {
            Ok(pids) => pids.difference(&killed).copied().collect(),
            Err(_) => Vec::new(),
        };
        for pid in fresh.iter().filter_map(|&pid| Pid::from_raw(pid)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        // Also ends a pause: v1 delivers the signal only when thawed.
        freezer::request(groups, false);
        pids?;
        if fresh.is_empty() {
            break;
        }
        killed.extend(fresh);
    }
    Ok(())
}

/// How long processes that have been killed may take to leave.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn remove(dir: &Path) -> Result<()> {
    let started = std::time::Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        let error = match std::fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::ENOENT) => return Ok(()),
            Some(libc::EBUSY | libc::ENOTEMPTY) if started.elapsed() < PATIENCE => {}
            _ => return Err(Error::Setup { step: format!("remove cgroup {}", dir.display()), source: error }),
        }
        let mut nested = Ok(());
        let _ = walk(dir, &mut |inner| {
            if inner != dir
                && let Err(error) = std::fs::remove_dir(inner)
            {
                nested = Err(error);
            }
            Ok(())
        });
        if nested.is_err() || std::fs::remove_dir(dir).is_err() {
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        } else {
            return Ok(());
        }
    }
}
