//! Rules of devfs(8), by the system's own program: which devices are seen.

use std::path::Path;

use super::interfaces::run;
use super::mounts::{DEVICES, RULESET};
use crate::Result;
use crate::error::setup;

/// Makes berth's ruleset if it is not there as it has to be. Rulesets are the whole host's, and stay.
pub(super) fn prepare() -> Result<()> {
    let program = std::fs::File::open("/sbin/devfs").map_err(setup("open /sbin/devfs"))?;
    // Two containers at once would add the same rules twice.
    rustix::fs::flock(&program, rustix::fs::FlockOperation::LockExclusive).map_err(setup("lock /sbin/devfs"))?;
    let number = RULESET.to_string();
    let wanted: Vec<String> =
        std::iter::once("hide".to_owned()).chain(DEVICES.iter().map(|name| format!("path {name} unhide"))).collect();
    // Each line begins with the rule's number.
    let there = run("devfs", &["rule", "-s", &number, "show"]).unwrap_or_default();
    let there: Vec<String> = there.lines().filter_map(|line| Some(line.split_once(' ')?.1.trim().to_owned())).collect();
    if there == wanted {
        return Ok(());
    }
    if !there.is_empty() {
        run("devfs", &["rule", "-s", &number, "delset"])?;
    }
    for rule in &wanted {
        let words: Vec<&str> = ["rule", "-s", &number, "add"].into_iter().chain(rule.split(' ')).collect();
        run("devfs", &words)?;
    }
    Ok(())
}

/// Shows more devices in one mount.
pub(super) fn show(mount: &Path, devices: &[String]) -> Result<()> {
    let mount = mount.to_string_lossy();
    devices.iter().try_for_each(|name| run("devfs", &["-m", &mount, "rule", "apply", "path", name, "unhide"]).map(drop))
}
