//! Who is who inside: root is the owner, and the others are of the ranges that the host's administrator gave him
//! (subuid(5), subgid(5)), by newuidmap and newgidmap. Without those the owner is alone.

use std::path::Path;
use std::process::Command;

use berth_arch::program;
use rustix::process::{getegid, geteuid};

use crate::{Error, Result, by_fork};

/// Users, then groups: the program, the table and the kernel's file.
const KINDS: [(&str, &str, &str); 2] =
    [("newuidmap", "/etc/subuid", "uid_map"), ("newgidmap", "/etc/subgid", "gid_map")];

/// First number and count.
type Range = (u32, u32);

/// Maps users and groups of the process `pid`, which has just made a user namespace. `Some`: why there is only one.
pub(crate) fn map(pid: i32) -> Result<Option<String>> {
    let own = [geteuid().as_raw(), getegid().as_raw()];
    let mut missing = None;
    // Groups first: as long as they are not there, nobody inside is anybody.
    for ((tool, table, file), own) in KINDS.into_iter().zip(own).rev() {
        let by_tool = match missing {
            None => with_ranges(pid, tool, table, own),
            Some(_) => Err(String::new()),
        };
        if let Err(reason) = by_tool {
            missing.get_or_insert(reason);
            alone(pid, file, own)?;
        }
    }
    Ok(missing)
}

/// The kernel lets everybody be himself (user_namespaces(7)); groups only if they cannot be left any more.
fn alone(pid: i32, file: &str, own: u32) -> Result<()> {
    if file == "gid_map" {
        let path = format!("/proc/{pid}/setgroups");
        match std::fs::write(&path, "deny") {
            // Before 3.19.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other.map_err(Error::io(format!("write {path}")))?,
        }
    }
    let path = format!("/proc/{pid}/{file}");
    std::fs::write(&path, format!("0 {own} 1\n")).map_err(Error::io(format!("write {path}")))
}

fn with_ranges(pid: i32, tool: &str, table: &str, own: u32) -> Result<(), String> {
    let program = program::find(tool).ok_or_else(|| format!("{tool} is not installed (the package uidmap)"))?;
    let text = std::fs::read_to_string(table).unwrap_or_default();
    let ranges = ranges(&text, &name(), geteuid().as_raw());
    if ranges.is_empty() {
        return Err(format!("{table} has no line for this user"));
    }
    let mut command = Command::new(program);
    command.arg(pid.to_string()).args(["0", &own.to_string(), "1"]);
    let mut next: u32 = 1;
    for (first, count) in ranges {
        command.args([next, first, count].map(|number| number.to_string()));
        next = next.saturating_add(count);
    }
    let output = by_fork(&mut command).output().map_err(|error| format!("{tool}: {error}"))?;
    if output.status.success() { Ok(()) } else { Err(program::first_line(&output.stderr)) }
}

/// As the table has it: a name that no local file knows comes from the session.
fn name() -> String {
    let own = geteuid().as_raw().to_string();
    let users = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == own).then(|| name.to_owned())
    });
    found.or_else(|| std::env::var("LOGNAME").ok()).or_else(|| std::env::var("USER").ok()).unwrap_or_default()
}

/// Of the lines `NAME:FIRST:COUNT` and `NUMBER:FIRST:COUNT`.
fn ranges(table: &str, name: &str, number: u32) -> Vec<Range> {
    let number = number.to_string();
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let whose = fields.next()?;
        let range = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        ((whose == name && !name.is_empty()) || whose == number).then_some(range)
    };
    table.lines().filter_map(range).filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let table = "root:1:2\nann:100000:65536\n# ann:1:1\n1000:300000:10\nanna:7:7\nann:x:1\nann:5:0\n";
        assert_eq!(ranges(table, "ann", 1000), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(ranges(table, "", 1001), []);
    }
}
