//! The columns that can be asked for, and how each is shown.

use std::fs;

use super::process::{Machine, Process, TICKS};

pub(super) type Show = fn(&Process, &Machine) -> String;

/// Names of `-o`, the title, and how it is shown. The first of several names is the usual one.
pub(super) const COLUMNS: &[(&[&str], &str, Show)] = &[
    (&["pid", "tgid"], "PID", |p, _| p.pid.to_string()),
    (&["ppid"], "PPID", |p, _| p.ppid.to_string()),
    (&["pgid", "pgrp"], "PGID", |p, _| p.group.to_string()),
    (&["sid", "sess", "session"], "SID", |p, _| p.session.to_string()),
    (&["user", "euser", "ruser", "uname"], "USER", |p, _| user(p.uid)),
    (&["uid", "euid", "ruid"], "UID", |p, _| p.uid.to_string()),
    (&["group", "egroup", "rgroup"], "GROUP", |p, _| name_in("/etc/group", p.gid)),
    (&["gid", "egid", "rgid"], "GID", |p, _| p.gid.to_string()),
    (&["c"], "C", |p, m| percent_of_cpu(p, m).min(99.0).floor().to_string()),
    (&["pcpu", "%cpu"], "%CPU", |p, m| format!("{:.1}", percent_of_cpu(p, m))),
    (&["pmem", "%mem"], "%MEM", |p, m| format!("{:.1}", percent_of_memory(p, m))),
    (&["vsz", "vsize"], "VSZ", |p, _| (p.virtual_size / 1024).to_string()),
    (&["rss", "rssize", "rsz"], "RSS", |p, _| p.resident.to_string()),
    (&["tty", "tt", "tname"], "TTY", |p, _| terminal(p.terminal)),
    (&["stat"], "STAT", |p, _| state(p)),
    (&["s", "state"], "S", |p, _| p.state.to_string()),
    (&["stime", "start_time", "start"], "STIME", started),
    (&["lstart"], "STARTED", |p, m| local(started_at(p, m), "%a %b %e %H:%M:%S %Y")),
    (&["etime"], "ELAPSED", |p, m| elapsed(age(p, m))),
    (&["etimes"], "ELAPSED", |p, m| age(p, m).to_string()),
    (&["time", "cputime"], "TIME", |p, _| cpu_time(p.time / TICKS)),
    (&["pri"], "PRI", |p, _| (39 - p.priority).to_string()),
    (&["ni", "nice"], "NI", |p, _| p.nice.to_string()),
    (&["nlwp", "thcount"], "NLWP", |p, _| p.threads.to_string()),
    (&["comm", "ucmd", "ucomm"], "COMMAND", |p, _| p.name.clone()),
    (&["cmd"], "CMD", |p, _| p.command.clone()),
    (&["args", "command"], "COMMAND", |p, _| p.command.clone()),
];

pub(super) fn find(name: &str) -> Option<(&'static str, Show)> {
    COLUMNS.iter().find(|(names, ..)| names.contains(&name)).map(|(_, title, show)| (*title, *show))
}

pub(super) fn user(uid: u32) -> String {
    name_in("/etc/passwd", uid)
}

/// As the host calls it; the number if it has no name.
fn name_in(file: &str, id: u32) -> String {
    let table = fs::read_to_string(file).unwrap_or_default();
    let number = id.to_string();
    let name = table.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1) == Some(&number)).then(|| name.to_owned())
    });
    name.unwrap_or(number)
}

fn started_at(process: &Process, machine: &Machine) -> u64 {
    machine.boot + process.start / TICKS
}

fn age(process: &Process, machine: &Machine) -> u64 {
    machine.now.saturating_sub(started_at(process, machine))
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn percent_of_cpu(process: &Process, machine: &Machine) -> f64 {
    match age(process, machine) {
        0 => 0.0,
        age => process.time as f64 * 100.0 / TICKS as f64 / age as f64,
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one digit after the point")]
fn percent_of_memory(process: &Process, machine: &Machine) -> f64 {
    (process.resident as f64 * 100.0 / machine.memory as f64).min(99.9)
}

/// Major and minor are packed as in the kernel's `new_encode_dev`; see proc_tty_drivers(5) for the numbers.
fn terminal(device: u32) -> String {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
    match major {
        0 => "?".to_owned(),
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        5 if minor == 1 => "console".to_owned(),
        _ => format!("{major}:{minor}"),
    }
}

fn state(process: &Process) -> String {
    let mut text = process.state.to_string();
    let flags = [
        (process.nice < 0, '<'),
        (process.nice > 0, 'N'),
        (process.session == process.pid, 's'),
        (process.threads > 1, 'l'),
        (process.foreground_group == process.group, '+'),
    ];
    text.extend(flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag));
    text
}

/// The time of day, for an older process the day, for a still older one the year.
fn started(process: &Process, machine: &Machine) -> String {
    let format = match age(process, machine) {
        0..86_400 => "%H:%M",
        86_400..31_536_000 => "%b%d",
        _ => "%Y",
    };
    local(started_at(process, machine), format)
}

fn local(seconds: u64, format: &str) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(String::new, |time| time.to_zoned(jiff::tz::TimeZone::UTC).strftime(format).to_string())
}

/// `[DAYS-]HH:MM:SS`.
pub(super) fn cpu_time(seconds: u64) -> String {
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match seconds / 86_400 {
        0 => clock,
        days => format!("{days}-{clock}"),
    }
}

/// `[[DAYS-]HH:]MM:SS`.
fn elapsed(seconds: u64) -> String {
    if seconds < 3600 { format!("{:02}:{:02}", seconds / 60, seconds % 60) } else { cpu_time(seconds) }
}

/// `MMM:SS`, as `ps aux` has it.
pub(super) fn minutes(process: &Process, _: &Machine) -> String {
    let seconds = process.time / TICKS;
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_times_read_as_in_ps() {
        assert_eq!(terminal(0), "?");
        assert_eq!(terminal(136 << 8 | 3), "pts/3");
        assert_eq!(terminal(4 << 8 | 1), "tty1");
        assert_eq!(terminal(4 << 8 | 64), "ttyS0");
        assert_eq!(cpu_time(3_661), "01:01:01");
        assert_eq!(cpu_time(90_000), "1-01:00:00");
        assert_eq!(elapsed(61), "01:01");
        assert_eq!(user(0), "root");
        assert_eq!(user(4_000_000_000), "4000000000");
    }
}
