//! The kernel's facilities, one probe a file, each found by doing and not by version.
//!
//! Those marked as forking start a child that ends at once; `answers` keeps what they found until the next boot. Only `berth
//! doctor` and `berth info` call them, and what is in the path of `berth run` on hosts without root or namespaces. What
//! wraps a facility with its fallback lives elsewhere (`fd`, `process`, `root_dir`, `mount`).

pub mod cgroup;
pub mod clone3;
pub mod close_range;
pub mod copy_file_range;
pub mod filesystem;
pub mod fuse;
pub mod idmap;
pub mod limits;
pub mod misleading;
pub mod mount_api;
pub mod namespace;
pub mod needs;
pub mod netlink;
pub mod openat2;
pub mod options;
pub mod overlay;
pub mod packet_socket;
pub mod pidfd;
pub mod pivot_root;
pub mod seccomp;
pub mod setns;
pub mod statx;
pub mod userns;

use rustix::io::Errno;

use crate::{Probe, pretend};

/// Name, what it is good for, and the probe with its detail as text.
pub type Entry = (&'static str, &'static str, fn() -> Probe<String>);

/// In the order `berth doctor` prints them.
pub const PROBES: &[Entry] = &[
    ("namespaces", "keeps containers apart", || namespace::probe().map(|kinds| kinds.join(", "))),
    ("userns", "containers without root, and root in them that is nobody outside", || userns::probe().map(none)),
    ("cgroup", "limits and measures containers", || cgroup::probe().map(|found| found.to_string())),
    ("seccomp", "filters system calls", || seccomp::probe().map(|actions| actions.join(", "))),
    ("setns", "enters containers to start programs there", || setns::probe().map(none)),
    ("pivot_root", "leaves nothing of the host in a container's root", || pivot_root::probe().map(none)),
    ("overlay", "stacks layers without copying", || overlay::probe().map(|found| found.join(", "))),
    ("fuse", "storage drivers outside the kernel", || fuse::probe().map(none)),
    ("idmap", "one image for differently mapped users", || idmap::probe().map(|names| names.join(", "))),
    ("mount-api", "overlay with more layers than a page of options", || {
        mount_api::probe().map(|calls| calls.join(", "))
    }),
    ("netlink", "sets up networks", || netlink::probe().map(none)),
    ("packet-socket", "leads containers out where there is no packet filter", || packet_socket::probe().map(none)),
    ("limits", "raises resource limits above the engine's own", || limits::probe().map(none)),
    ("openat2", "resolves names inside a root in one call", || openat2::probe().map(none)),
    ("clone3", "starts a process in its cgroup", || clone3::probe().map(none)),
    ("pidfd", "names a process without a race", || pidfd::probe().map(none)),
    ("close_range", "keeps descriptors out of containers in one call", || close_range::probe().map(none)),
    ("statx", "tells mounts and birth times", || statx::probe().map(|fields| fields.join(", "))),
    ("emulation", "runs images of other architectures", crate::emulation::probe),
    ("copy_file_range", "copies without passing through the program", || copy_file_range::probe().map(none)),
];

fn none(_: ()) -> String {
    String::new()
}

/// What tells this root from another one, for answers that depend on it.
fn root_device() -> String {
    rustix::fs::stat("/").map_or_else(|_| String::new(), |found| format!("{}:{}", found.st_dev, found.st_ino))
}

/// By its version: where trying costs too much, or for facilities that leave nothing to try.
pub fn is_at_least(major: u32, minor: u32) -> bool {
    version() >= (major, minor)
}

fn version() -> (u32, u32) {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The answer for a facility that is not even tried: it is pretended away, or a call that this kernel is too old for.
fn absent<T>(facility: &str, hint: &str) -> Option<Probe<T>> {
    match pretend::without(facility) {
        false => None,
        true if pretend::is_named(facility) => Some(Probe::pretended(facility)),
        true => Some(refused(facility, Errno::NOSYS, hint)),
    }
}

/// The answer for a call that the kernel refused.
fn refused<T>(call: &str, error: Errno, hint: &str) -> Probe<T> {
    let hint = match error {
        Errno::PERM | Errno::ACCESS if !hint.contains("root") => {
            "a seccomp or LSM policy around berth forbids it, or the right is missing: run berth as root or relax the policy"
        }
        _ => hint,
    };
    Probe::unavailable(format!("{call}: {}", words(error)), hint)
}

/// The C library's text for an error number, as it stands in the middle of a sentence.
fn words(error: Errno) -> String {
    let text = std::io::Error::from(error).to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_answers_and_says_why_not() {
        for (name, description, probe) in PROBES {
            assert!(!description.is_empty());
            match probe() {
                Probe::Available { detail } => println!("{name}: yes {detail}"),
                Probe::Unavailable { reason, hint } => {
                    assert!(!reason.is_empty() && hint.is_some(), "{name}");
                    println!("{name}: no, {reason}; {hint:?}");
                }
            }
        }
    }

    #[test]
    fn names_are_listed_once() {
        for (index, (name, ..)) in PROBES.iter().enumerate() {
            assert!(PROBES[..index].iter().all(|(other, ..)| other != name), "{name}");
        }
    }

    #[test]
    fn an_error_reads_as_part_of_a_sentence() {
        let probe: Probe = refused("clone3", Errno::NOSYS, "needs Linux 5.3");
        assert_eq!(probe.reason(), Some("clone3: function not implemented"));
    }
}
