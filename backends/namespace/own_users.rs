//! Containers of ordinary users: who may not make namespaces becomes root of the container's user namespace, where he may.
//!
//! The creator itself goes there, before anything of the container is made, and makes it as a host's root would. One
//! number is mapped by the kernel's own rules; for more, newuidmap and newgidmap have to agree (subuid(5)).

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use berth_arch::{host, program};
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use rustix::io::Errno;
use rustix::process::{getegid, geteuid};

use super::clone;
use super::process::{has_own_users, setup};
use super::report::Channel;
use super::sys::{self, Strings};
use crate::{Error, Result};

const CAP_SYS_ADMIN: u32 = 21;

/// Enters the user namespace that `spec` asks for, if this process has no rights without. What is left to be made is
/// returned. The process has one thread.
pub(super) fn enter(spec: &Spec) -> Result<Option<Spec>> {
    if host::User::detect().has_capability(CAP_SYS_ADMIN) {
        return Ok(None);
    }
    let linux = spec.linux().as_ref();
    let listed = linux.and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
    let new = listed.clone().any(|one| one.typ() == LinuxNamespaceType::User && one.path().is_none());
    if !new {
        let what = if has_own_users(spec) { "the user namespace of others" } else { "no user namespace" };
        return Err(Error::Unavailable(format!(
            "the namespace backend makes no container with {what} for an ordinary user: add a new namespace \"user\" \
             with uidMappings and gidMappings (berth oci spec --rootless), or run berth as root"
        )));
    }
    let none = Vec::new();
    let users = linux.and_then(|linux| linux.uid_mappings().as_ref()).unwrap_or(&none);
    let groups = linux.and_then(|linux| linux.gid_mappings().as_ref()).unwrap_or(&none);
    if users.is_empty() || groups.is_empty() {
        return Err(Error::InvalidArgument("specification: a user namespace needs uidMappings and gidMappings".into()));
    }
    map(users, groups)?;
    let mut rest = spec.clone();
    if let Some(linux) = rest.linux_mut() {
        linux.set_uid_mappings(None).set_gid_mappings(None);
        if let Some(namespaces) = linux.namespaces_mut() {
            namespaces.retain(|one| one.typ() != LinuxNamespaceType::User);
        }
    }
    Ok(Some(rest))
}

fn map(users: &[LinuxIdMapping], groups: &[LinuxIdMapping]) -> Result<()> {
    let alone = |list: &[LinuxIdMapping], own: u32| matches!(list, [one] if one.size() == 1 && one.host_id() == own);
    let pid = std::process::id();
    // Whoever is inside has no say any more: those that ask the programs are outside, and wait until there is something
    // to map.
    let helper = |tool: &str, list: &[LinuxIdMapping], own: u32| match alone(list, own) {
        true => Ok(None),
        false => Helper::new(tool, pid, list).map(Some),
    };
    let users_by = helper("newuidmap", users, geteuid().as_raw())?;
    let groups_by = helper("newgidmap", groups, getegid().as_raw())?;
    sys::unshare(libc::CLONE_NEWUSER).map_err(|errno| match berth_arch::kernel::userns::probe() {
        berth_arch::Probe::Unavailable { reason, hint } => {
            Error::Unavailable(format!("{reason}; {}", hint.unwrap_or_else(|| "run berth as root".into())))
        }
        berth_arch::Probe::Available { .. } => setup("make a user namespace")(errno),
    })?;
    match groups_by {
        Some(helper) => helper.act()?,
        None => {
            match std::fs::write("/proc/self/setgroups", "deny") {
                // Before 3.19.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other.map_err(setup("write /proc/self/setgroups"))?,
            }
            write("gid_map", groups)?;
        }
    }
    match users_by {
        Some(helper) => helper.act(),
        None => write("uid_map", users),
    }
}

fn write(name: &str, list: &[LinuxIdMapping]) -> Result<()> {
    let lines: String =
        list.iter().map(|one| format!("{} {} {}\n", one.container_id(), one.host_id(), one.size())).collect();
    std::fs::write(format!("/proc/self/{name}"), lines).map_err(setup(format!("write /proc/self/{name}")))
}

/// A process that stays outside and becomes newuidmap or newgidmap.
struct Helper {
    tool: String,
    child: i32,
    channel: Channel,
}

impl Helper {
    fn new(tool: &str, pid: u32, list: &[LinuxIdMapping]) -> Result<Self> {
        let path = program::find(tool).ok_or_else(|| {
            Error::Unavailable(format!(
                "map more than this user: {tool} is not installed; install uidmap, or map one user and group only"
            ))
        })?;
        let numbers = list.iter().flat_map(|one| [one.container_id(), one.host_id(), one.size()]);
        let words = [tool.to_owned(), pid.to_string()].into_iter().chain(numbers.map(|number| number.to_string()));
        let words = words.filter_map(|word| CString::new(word).ok()).collect();
        let invalid = |_| Error::InvalidArgument(format!("path of {tool}"));
        let (path, arguments) = (CString::new(path.as_os_str().as_bytes()).map_err(invalid)?, Strings::new(words));
        let (ours, theirs) = Channel::pair().map_err(setup("make a socket pair"))?;
        let child = clone::spawn(0, None, |_| {
            ours.leave();
            if theirs.wait_for_go().is_ok() {
                sys::execve(&path, &arguments, &Strings::new(Vec::new()));
            }
        });
        let child = child.map_err(setup(format!("start {tool}")))?;
        Ok(Self { tool: tool.to_owned(), child, channel: ours })
    }

    fn act(self) -> Result<()> {
        let ended = self.channel.go().map_err(std::io::Error::from);
        let ended = ended.and_then(|()| berth_arch::process::wait(self.child));
        match ended {
            Ok(0) => Ok(()),
            Ok(_) => Err(Error::Unavailable(format!(
                "map users and groups: {} refused, for what it said; map what /etc/subuid and /etc/subgid give this user",
                self.tool
            ))),
            Err(error) => Err(setup(format!("map users and groups with {}", self.tool))(
                Errno::from_io_error(&error).unwrap_or(Errno::IO),
            )),
        }
    }
}
