//! The machine at a glance, cheap enough for the path of `berth run`: a handful of small files of /proc and
//! /etc, no process, no trial. What has to be tried is under `kernel`.

mod platform;

cfg_if::cfg_if! {
    if #[cfg(target_os = "freebsd")] {
        mod freebsd;
        use freebsd as system;
    } else {
        mod init;
        mod linux;
        use linux as system;
    }
}

use std::ops::Deref;
use std::sync::OnceLock;

use serde::Serialize;

pub use platform::{Platform, runnable};

#[derive(Debug, Clone, Serialize)]
pub struct Host {
    pub kernel: Kernel,
    pub platform: Platform,
    pub user: User,
    /// `systemd`, `openrc`, `sysvinit`, `runit`, `s6`, `busybox`, else the name of process 1, or `none`.
    pub init: Late,
    pub hostname: String,
    /// PRETTY_NAME of os-release(5).
    pub operating_system: Late,
    /// Processors that this process may run on.
    pub cpus: usize,
    /// Bytes.
    pub memory: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Kernel {
    pub release: String,
    /// Major and minor; a fast path for probes, never an answer.
    pub version: (u32, u32),
}

#[derive(Debug, Clone, Serialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Whether the process is in a user namespace other than the host's first one.
    pub in_user_namespace: bool,
    /// A bit each, by number of linux/capability.h.
    pub effective_capabilities: u64,
}

/// A text that is looked for when it is asked for: not in the path of `berth run`.
#[derive(Debug, Clone)]
pub struct Late {
    text: OnceLock<String>,
    find: fn() -> String,
}

impl Late {
    fn new(find: fn() -> String) -> Self {
        Self { text: OnceLock::new(), find }
    }
}

impl Deref for Late {
    type Target = String;

    fn deref(&self) -> &String {
        self.text.get_or_init(self.find)
    }
}

impl std::fmt::Display for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self)
    }
}

impl Serialize for Late {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl Host {
    pub fn detect() -> Self {
        let name = rustix::system::uname();
        let machine = name.machine().to_string_lossy();
        Self {
            kernel: Kernel::parse(&name.release().to_string_lossy()),
            platform: Platform::of(&machine),
            user: User::detect(),
            init: Late::new(system::init),
            hostname: name.nodename().to_string_lossy().into_owned(),
            operating_system: Late::new(operating_system),
            cpus: system::cpus(),
            memory: memory(),
        }
    }
}

/// Bytes that the kernel has.
pub fn memory() -> u64 {
    system::memory()
}

impl Kernel {
    pub(crate) fn parse(release: &str) -> Self {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Self { release: release.to_owned(), version }
    }
}

impl User {
    /// As the process is at this moment.
    pub fn detect() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            in_user_namespace: system::in_user_namespace(),
            effective_capabilities: system::effective_capabilities(),
        }
    }

    /// By number of linux/capability.h (0 to 63).
    pub fn has_capability(&self, number: u32) -> bool {
        number < 64 && self.effective_capabilities & (1 << number) != 0
    }
}

fn operating_system() -> String {
    let release = ["/etc/os-release", "/usr/lib/os-release"].iter().find_map(|path| std::fs::read_to_string(path).ok());
    release.as_deref().and_then(pretty_name).unwrap_or_else(|| system::NAME.to_owned())
}

/// os-release(5): shell quoting, so one pair of quotes and backslashes come off.
fn pretty_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME="))?.trim();
    let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    let mut name = String::new();
    let mut characters = quoted.unwrap_or(value).chars();
    while let Some(c) = characters.next() {
        name.push(if c == '\\' { characters.next().unwrap_or(c) } else { c });
    }
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_vendors_release_names() {
        for (release, version) in [
            ("6.18.1", (6, 18)),
            ("3.2.0-4-amd64", (3, 2)),
            ("5.15.0-1.el9+x86", (5, 15)),
            ("4.1", (4, 1)),
            ("6-rc1", (6, 0)),
            ("odd", (0, 0)),
        ] {
            assert_eq!(Kernel::parse(release).version, version, "{release}");
        }
    }

    #[test]
    fn the_pretty_name_loses_its_quotes() {
        assert_eq!(pretty_name("NAME=x\nPRETTY_NAME=\"A \\\"B\\\" 1\"\n").as_deref(), Some("A \"B\" 1"));
        assert_eq!(pretty_name("PRETTY_NAME=Plain").as_deref(), Some("Plain"));
        assert_eq!(pretty_name("PRETTY_NAME=\"\""), None);
    }

    #[test]
    fn this_machine_is_described() {
        let host = Host::detect();
        assert!(host.kernel.version >= (3, 2) && host.cpus > 0 && host.memory > 1 << 24);
        assert_eq!(host.platform.os, "linux");
        assert!(!host.init.is_empty() && !host.operating_system.is_empty());
    }
}
