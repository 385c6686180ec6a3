//! Which namespaces a container has: those that are made for it, and those of others that it joins.

use std::ffi::c_int;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use berth_arch::pretend;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, LinuxTimeOffset, Spec};

use super::process::setup;
use crate::{Error, Result};

/// Which namespaces are new and which are another container's.
#[derive(Default)]
pub(super) struct Namespaces {
    /// CLONE_NEW* for the clone.
    pub(super) new: c_int,
    /// Made by the child, after it has joined its groups.
    pub(super) new_cgroup: bool,
    /// Made by a first process, whose child is the first one in it: what is written to its timens_offsets.
    pub(super) new_time: Option<Vec<u8>>,
    /// Joined by the child.
    pub(super) join: Vec<(OwnedFd, c_int)>,
    /// Joined before the clone: a process cannot change its own pid namespace.
    pub(super) join_pid: Option<OwnedFd>,
    pub(super) user: Option<User>,
}

/// The user namespace.
pub(super) enum User {
    /// With the text of its uid_map and gid_map (user_namespaces(7)).
    New {
        users: Vec<u8>,
        groups: Vec<u8>,
    },
    Join(OwnedFd),
}

impl Namespaces {
    /// `own_mounts`: whether there has to be a new mount namespace.
    pub(super) fn new(spec: &Spec, own_mounts: bool, warnings: &mut Vec<String>) -> Result<Self> {
        let mut namespaces = Self::default();
        let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        for namespace in listed.into_iter().flatten() {
            let (kind, name) = kind(namespace.typ())?;
            let Some(path) = namespace.path() else {
                match kind {
                    libc::CLONE_NEWUSER => namespaces.user = Some(new_user(spec)?),
                    libc::CLONE_NEWTIME if kernel_has(name) => namespaces.new_time = Some(time_offsets(spec)?),
                    _ => namespaces.add(kind, name, warnings)?,
                }
                continue;
            };
            let enterable = berth_arch::kernel::setns::probe().is_available();
            if !enterable && matches!(kind, libc::CLONE_NEWPID | libc::CLONE_NEWNS) {
                return Err(Error::Unavailable(format!(
                    "the {name} namespace {} cannot be shared: this kernel is older than Linux 3.8, and nobody enters one there; \
                     use a newer kernel, or a namespace of the container's own",
                    path.display()
                )));
            }
            let file = File::open(path).map_err(setup(format!("open the {name} namespace {}", path.display())))?;
            match kind {
                libc::CLONE_NEWPID => namespaces.join_pid = Some(file.into()),
                libc::CLONE_NEWUSER => namespaces.user = Some(User::Join(file.into())),
                _ => namespaces.join.push((file.into(), kind)),
            }
        }
        let offsets = spec.linux().as_ref().and_then(|linux| linux.time_offsets().as_ref());
        if namespaces.new_time.is_none() && offsets.is_some_and(|offsets| !offsets.is_empty()) {
            return Err(Error::InvalidArgument("timeOffsets: they need a new time namespace".into()));
        }
        if own_mounts && namespaces.new & libc::CLONE_NEWNS == 0 {
            return Err(Error::Unavailable(
                "the namespace backend makes containers with a mount namespace of their own only: \
                 add the namespace \"mount\""
                    .into(),
            ));
        }
        Ok(namespaces)
    }

    /// Whether the container has one that is not the host's.
    pub(super) fn has(&self, kind: c_int) -> bool {
        self.new & kind != 0
            || self.join.iter().any(|(_, joined)| *joined == kind)
            || (kind == libc::CLONE_NEWUSER && self.user.is_some())
    }

    /// Whether a first process has to prepare the ground for the one that becomes the program.
    pub(super) fn in_two_steps(&self) -> bool {
        self.user.is_some() || self.join_pid.is_some() || self.new_time.is_some()
    }

    fn add(&mut self, kind: c_int, name: &str, warnings: &mut Vec<String>) -> Result<()> {
        let present = kernel_has(name);
        match (kind, present) {
            (libc::CLONE_NEWCGROUP, true) => self.new_cgroup = true,
            (libc::CLONE_NEWCGROUP, false) => warnings.push(
                "this kernel has no cgroup namespaces (they come with Linux 4.6): \
                 the container sees the names of the host's control groups"
                    .into(),
            ),
            (_, true) => self.new |= kind,
            (_, false) => {
                return Err(Error::Unavailable(format!(
                    "the namespace backend cannot make a {name} namespace: this kernel has none; \
                     use a kernel with namespaces, or another backend"
                )));
            }
        }
        Ok(())
    }
}

/// Whether the kernel has a kind of namespace. Before 3.8, /proc does not show those of mounts and processes, which
/// are older: the clone will say.
pub(crate) fn kernel_has(name: &str) -> bool {
    if name == "mnt" && pretend::without("mount-namespace") {
        return false;
    }
    let shown = |name: &str| Path::new("/proc/self/ns").join(name).exists();
    shown(name) || (matches!(name, "mnt" | "pid") && !shown("mnt"))
}

fn new_user(spec: &Spec) -> Result<User> {
    if pretend::without("userns") || !Path::new("/proc/self/ns/user").exists() {
        return Err(Error::Unavailable(
            "the namespace backend cannot map users: this kernel has no user namespaces; \
             leave out the mapping, or use a kernel built with CONFIG_USER_NS"
                .into(),
        ));
    }
    let linux = spec.linux().as_ref();
    let users = map(linux.and_then(|linux| linux.uid_mappings().as_ref()));
    let groups = map(linux.and_then(|linux| linux.gid_mappings().as_ref()));
    if users.is_empty() || groups.is_empty() {
        return Err(Error::InvalidArgument("specification: a user namespace needs uidMappings and gidMappings".into()));
    }
    Ok(User::New { users, groups })
}

/// Lines of /proc/PID/timens_offsets (time_namespaces(7)).
fn time_offsets(spec: &Spec) -> Result<Vec<u8>> {
    let listed = spec.linux().as_ref().and_then(|linux| linux.time_offsets().as_ref());
    let line = |(clock, offset): (&String, &LinuxTimeOffset)| match clock.as_str() {
        "monotonic" | "boottime" => {
            Ok(format!("{clock} {} {}\n", offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0)))
        }
        _ => Err(Error::InvalidArgument(format!("timeOffsets: clock {clock:?}: use \"monotonic\" or \"boottime\""))),
    };
    Ok(listed.into_iter().flatten().map(line).collect::<Result<String>>()?.into_bytes())
}

pub(super) fn map(mappings: Option<&Vec<LinuxIdMapping>>) -> Vec<u8> {
    let line = |one: &LinuxIdMapping| format!("{} {} {}\n", one.container_id(), one.host_id(), one.size());
    mappings.into_iter().flatten().map(line).collect::<String>().into_bytes()
}

fn kind(kind: LinuxNamespaceType) -> Result<(c_int, &'static str)> {
    Ok(match kind {
        LinuxNamespaceType::Mount => (libc::CLONE_NEWNS, "mnt"),
        LinuxNamespaceType::Cgroup => (libc::CLONE_NEWCGROUP, "cgroup"),
        LinuxNamespaceType::Uts => (libc::CLONE_NEWUTS, "uts"),
        LinuxNamespaceType::Ipc => (libc::CLONE_NEWIPC, "ipc"),
        LinuxNamespaceType::User => (libc::CLONE_NEWUSER, "user"),
        LinuxNamespaceType::Pid => (libc::CLONE_NEWPID, "pid"),
        LinuxNamespaceType::Network => (libc::CLONE_NEWNET, "net"),
        LinuxNamespaceType::Time => (libc::CLONE_NEWTIME, "time"),
    })
}
