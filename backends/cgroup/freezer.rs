//! Stopping all processes: v1's freezer (freezer-subsystem.rst), v2's `cgroup.freeze` (5.2).

use std::io;
use std::time::{Duration, Instant};

use super::files;
use super::layout::Version;
use super::limits::{Group, Groups, find};
use crate::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(10);

/// The group that freezes, if this kernel has one.
pub(super) fn group(groups: &Groups) -> Option<&Group> {
    find(groups, "freezer").or_else(|| {
        groups.iter().find(|group| group.version == Version::V2 && files::exists(&group.dir, "cgroup.freeze"))
    })
}

fn write(group: &Group, freeze: bool) -> io::Result<()> {
    match (group.version, freeze) {
        (Version::V1, true) => files::write(&group.dir, "freezer.state", "FROZEN"),
        (Version::V1, false) => files::write(&group.dir, "freezer.state", "THAWED"),
        (Version::V2, freeze) => files::write(&group.dir, "cgroup.freeze", if freeze { "1" } else { "0" }),
    }
}

/// Asks without waiting; on the way of killing, where failure changes nothing.
pub(super) fn request(groups: &Groups, freeze: bool) {
    if let Some(group) = group(groups) {
        let _ = write(group, freeze);
    }
}

pub(super) fn set(groups: &Groups, freeze: bool) -> Result<()> {
    let Some(group) = group(groups) else {
        return Err(Error::Unavailable(
            "pause: no freezer; mount the freezer controller (cgroup v1) or use a kernel from 5.2 (cgroup v2)"
                .to_owned(),
        ));
    };
    let step = || format!("{} {}", if freeze { "freeze" } else { "thaw" }, group.dir.display());
    let failed = |source| Error::Setup { step: step(), source };
    let started = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        // v1 may stay in FREEZING while processes fork; writing again picks up the new ones.
        write(group, freeze).map_err(failed)?;
        if is_frozen(group).map_err(failed)? == freeze {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            if freeze {
                let _ = write(group, false);
            }
            return Err(failed(io::Error::from(io::ErrorKind::TimedOut)));
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

pub(super) fn is_frozen(group: &Group) -> io::Result<bool> {
    match group.version {
        Version::V1 => Ok(files::read(&group.dir, "freezer.state")?.trim() == "FROZEN"),
        Version::V2 => {
            let events = files::read(&group.dir, "cgroup.events")?;
            Ok(files::parse_flat_keyed(&events).get("frozen") == Some(&1))
        }
    }
}
