//! Names in /proc and /sys that older kernels do not have, and lines of files there.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::profiles::{Kernel, Profile};
use crate::since::{self, Version};

pub(crate) struct Paths {
    kernel: Kernel,
    absent: Vec<Vec<&'static str>>,
    /// Of which files the lines with this text are left out.
    lines: Vec<(Vec<&'static str>, String)>,
    /// Names of file systems that do not exist.
    filesystems: Vec<&'static str>,
}

impl Paths {
    pub(crate) fn new(profile: &Profile, kernel: Kernel) -> Self {
        let lacks = |since: Version| profile.lacks(since);
        let split = |pattern: &'static str| pattern.split('/').collect::<Vec<_>>();
        let plain = |name: &&'static str| !name.contains(':');
        Self {
            kernel,
            absent: since::files()
                .into_iter()
                .filter(|(_, since)| lacks(*since))
                .map(|(name, _)| split(name))
                .collect(),
            lines: since::file_lines()
                .into_iter()
                .filter(|(_, since, _)| lacks(*since))
                .map(|(pattern, _, text)| (split(pattern), text))
                .collect(),
            filesystems: since::filesystems()
                .into_iter()
                .filter(|(_, since)| lacks(*since))
                .map(|(name, _)| name)
                .filter(plain)
                .collect(),
        }
    }

    pub(crate) fn has_filesystem(&self, name: &str) -> bool {
        !self.filesystems.contains(&name)
    }

    /// Whether the kernel has no such file. What is below an absent folder is absent.
    pub(crate) fn lacks(&self, path: &str) -> bool {
        let names: Vec<&str> = path.split('/').collect();
        self.absent.iter().any(|pattern| match pattern.split_first() {
            Some((&"...", rest)) => names.ends_with(rest) && path.starts_with("/sys/"),
            _ => names.len() >= pattern.len() && fits(pattern, &names[..pattern.len()]),
        })
    }

    /// What the file holds on the older kernel, if that is not what it holds here.
    pub(crate) fn content(&self, pid: u32, path: &str) -> Option<Vec<u8>> {
        let release = self.kernel.release;
        match path {
            "/proc/sys/kernel/osrelease" => return Some(format!("{release}\n").into_bytes()),
            "/proc/version" => return Some(format!("Linux version {release} (gcc) #1 SMP\n").into_bytes()),
            "/proc/sys/kernel/cap_last_cap" => {
                return Some(format!("{}\n", self.kernel.last_capability()).into_bytes());
            }
            "/proc/filesystems" => {
                let known = |line: &&str| self.has_filesystem(line.rsplit('\t').next().unwrap_or(line));
                return Some(keep(&fs::read(path).ok()?, |line| known(&line)));
            }
            _ => {}
        }
        let names: Vec<&str> = path.split('/').collect();
        let table = ["mountinfo", "mounts"].contains(names.last()?) && names.get(1) == Some(&"proc");
        let texts: Vec<&str> =
            self.lines.iter().filter(|(pattern, _)| fits(pattern, &names)).map(|(_, text)| text.as_str()).collect();
        if texts.is_empty() && !(table && names.len() == 4) {
            return None;
        }
        let filesystem = |line: &str| {
            let mut words = line.split(' ');
            match names.last() {
                Some(&"mountinfo") => words.skip_while(|word| *word != "-").nth(1).map(str::to_owned),
                Some(&"mounts") => words.nth(2).map(str::to_owned),
                _ => None,
            }
        };
        let held = without_our_filter(read_as(pid, path)?);
        Some(keep(&held, |line| {
            texts.iter().all(|text| !line.contains(text))
                && filesystem(line).is_none_or(|name| self.has_filesystem(&name))
        }))
    }
}

/// A process that is under the launcher's filter alone says that it is under none.
fn without_our_filter(status: Vec<u8>) -> Vec<u8> {
    match String::from_utf8(status) {
        Ok(text) if text.contains("\nSeccomp_filters:\t1\n") => {
            text.replace("\nSeccomp:\t2\n", "\nSeccomp:\t0\n").into_bytes()
        }
        Ok(text) => text.into_bytes(),
        Err(error) => error.into_bytes(),
    }
}

/// What the file holds for the process: its /proc may be of other processes than ours, in which it has another number.
fn read_as(pid: u32, path: &str) -> Option<Vec<u8>> {
    let Some(rest) = path.strip_prefix("/proc/self/") else {
        return fs::read(format!("/proc/{pid}/root{path}")).ok();
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let inner = status.lines().find_map(|line| line.strip_prefix("NSpid:")?.split('\t').next_back());
    let inside = inner.and_then(|inner| fs::read(format!("/proc/{pid}/root/proc/{inner}/{rest}")).ok());
    inside.or_else(|| fs::read(format!("/proc/{pid}/{rest}")).ok())
}

/// The lines for which `wanted` holds. What is no text stays.
fn keep(bytes: &[u8], wanted: impl Fn(&str) -> bool) -> Vec<u8> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let kept = lines.filter(|line| std::str::from_utf8(line).map_or(true, |line| wanted(line.trim_end_matches('\n'))));
    kept.flatten().copied().collect()
}

fn fits(pattern: &[&str], names: &[&str]) -> bool {
    pattern.len() == names.len() && pattern.iter().zip(names).all(|(wanted, name)| *wanted == "*" || wanted == name)
}

/// The whole path of what a process names by `folder` (a descriptor, or AT_FDCWD) and `name`. None if it is not below /proc or
/// /sys: nothing else is of interest.
pub(crate) fn whole(pid: u32, folder: i32, name: &[u8]) -> Option<String> {
    if name.starts_with(b"/") {
        let name = std::str::from_utf8(name).ok()?;
        return interesting(name.to_owned());
    }
    let link = match folder {
        libc::AT_FDCWD => format!("/proc/{pid}/cwd"),
        _ => format!("/proc/{pid}/fd/{folder}"),
    };
    let link = fs::read_link(link).ok()?;
    let above = std::str::from_utf8(link.as_os_str().as_bytes()).ok()?;
    interesting(format!("{above}/{}", std::str::from_utf8(name).ok()?))
}

fn interesting(path: String) -> Option<String> {
    let short = path.replace("/./", "/").replace("//", "/");
    (short.starts_with("/proc/") || short.starts_with("/sys/")).then_some(short)
}
