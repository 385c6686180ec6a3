//! What is done inside the root, in order, as values: mounts, device nodes, links, masks. Built before the clone,
//! done by `rootfs.rs` after it.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use berth_arch::mount::{Mount, Prepared};
use berth_arch::root_dir::RootDir;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Spec};

use super::idmap::IdMap;
use super::plan::Owners;
use super::resolve::{Links, Missing};
use crate::cgroup::{Cgroup, CgroupMount};
use crate::{Error, Result};

/// One thing to be done inside the root.
pub(super) enum Action {
    Mount(Box<MountAction>),
    /// A device node, or the host's own one bound over a file where nodes cannot be made.
    Device {
        path: CString,
        host: CString,
        mode: u32,
        device: u64,
        owner: (u32, u32),
    },
    /// Not made if something else has the name.
    Link {
        path: CString,
        text: CString,
    },
    /// Makes a file or directory appear empty; one that does not exist is left out.
    Mask(CString),
    /// Makes what exists read-only where it is.
    ReadOnly(CString),
}

pub(super) struct Planned {
    pub(super) action: Action,
    /// With a user namespace: done with the host's rights, before it is entered.
    pub(super) outside: bool,
}

pub(super) struct MountAction {
    pub(super) target: CString,
    pub(super) mount: Prepared,
    /// Of a bind mount: what is bound lies there inside the source (see [`crate::SUBPATH`]).
    pub(super) below: Option<CString>,
    /// Of a bind mount.
    pub(super) owners: Option<IdMap>,
    /// Tried if the kernel refuses `mount`.
    pub(super) otherwise: Option<Prepared>,
    /// Flags of the mount point and propagation, for which the new mount has to be found again.
    pub(super) then: Option<Prepared>,
    pub(super) missing: Missing,
    pub(super) links: Links,
    /// A host without this file system gives a warning.
    pub(super) optional: bool,
    /// Whether the target may be in a proc file system, where mounts can fool security modules.
    pub(super) in_proc: bool,
    /// Files of the root that the new tmpfs starts with.
    pub(super) copy_up: bool,
    /// A bind mount: what it shows is not the container's own.
    pub(super) bind: bool,
    /// Bind mounts and tmpfs: what belongs to no namespace of the container.
    pub(super) foreign: bool,
}

/// Of a proc file system: processes that the reader could not trace are not shown (5.8).
pub(crate) const HIDE_PROCESSES: &str = "hidepid=ptraceable";

/// Added to a tmpfs that is mounted for a user namespace.
const MAPPED_ROOT: &str = "uid=";

const PROPAGATION: &[&str] =
    &["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"];

/// What may be mounted below /proc: files that only inform. lxcfs provides them.
const IN_PROC: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Devices that every container has (OCI runtime specification, "Default Devices").
const DEVICES: &[(&str, u32, u32)] =
    &[("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// All actions for `spec`, in order.
pub(super) fn plan(spec: &Spec, cgroup: &Cgroup) -> Result<Vec<Planned>> {
    Ok(divide(list(spec, cgroup)?, Vec::new()))
}

/// As [`plan`], for a container that is entered in one step with all its namespaces, and whose control groups are not known before:
/// only a user namespace needs anything to be done outside, and what shows the groups is done inside.
pub(super) fn plan_of_foreign(spec: &Spec, cgroup: &Cgroup) -> Result<Vec<Planned>> {
    if Owners::new(spec).are_the_hosts() {
        let actions = list(spec, cgroup)?.into_iter();
        return Ok(actions.map(|action| Planned { action, outside: false }).collect());
    }
    let mounts = spec.mounts().iter().flatten();
    let late = mounts.filter(|mount| matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2")));
    Ok(divide(list(spec, cgroup)?, late.map(|mount| mount.destination().clone()).collect()))
}

pub(super) fn list(spec: &Spec, cgroup: &Cgroup) -> Result<Vec<Action>> {
    let mut actions = Vec::new();
    let owners = Owners::new(spec);
    let none = Vec::new();
    let mounts = spec.mounts().as_ref().unwrap_or(&none);
    for mount in mounts {
        match mount.typ().as_deref() {
            Some("cgroup" | "cgroup2") => cgroups(&mut actions, mount, cgroup, &owners)?,
            _ => actions.push(Action::Mount(Box::new(plain(mount, &owners)?))),
        }
    }
    let dev = |mount: &&oci_spec::runtime::Mount| mount.destination() == Path::new("/dev");
    let host_dev = mounts.iter().rfind(dev).is_some_and(is_bind);
    if !host_dev {
        devices(&mut actions, spec, &owners)?;
    }
    let linux = spec.linux().as_ref();
    for path in linux.and_then(|linux| linux.readonly_paths().as_ref()).into_iter().flatten() {
        actions.push(Action::ReadOnly(c_string(path)?));
    }
    for path in linux.and_then(|linux| linux.masked_paths().as_ref()).into_iter().flatten() {
        actions.push(Action::Mask(c_string(path)?));
    }
    Ok(actions)
}

/// A user namespace has to mount proc, sysfs, mqueue and devpts itself, for they belong to its namespaces, and what
/// is on them comes after. All else is done with the host's rights: its sources may be out of the user's reach. `inner`
/// is what has to be done inside for another reason.
fn divide(actions: Vec<Action>, mut inner: Vec<PathBuf>) -> Vec<Planned> {
    let decide = |action: Action| {
        let (path, possible) = match &action {
            Action::Mount(mount) => (&mount.target, mount.foreign),
            Action::Device { path, .. } | Action::Link { path, .. } => (path, true),
            Action::Mask(path) | Action::ReadOnly(path) => (path, false),
        };
        let path = Path::new(OsStr::from_bytes(path.to_bytes()));
        let outside = possible && !inner.iter().any(|other| path.starts_with(other));
        if !outside && matches!(action, Action::Mount(_)) {
            inner.push(path.to_owned());
        }
        Planned { action, outside }
    };
    actions.into_iter().map(decide).collect()
}

pub(super) fn is_bind(mount: &oci_spec::runtime::Mount) -> bool {
    let words = mount.options().as_ref();
    mount.typ().as_deref() == Some("bind")
        || words.is_some_and(|words| words.iter().any(|word| word == "bind" || word == "rbind"))
}

fn plain(mount: &oci_spec::runtime::Mount, owners: &Owners<'_>) -> Result<MountAction> {
    let destination = mount.destination();
    if !destination.is_absolute() {
        return Err(Error::InvalidArgument(format!("mount target {}: not absolute", destination.display())));
    }
    let bind = is_bind(mount);
    let fstype = if bind { "bind" } else { mount.typ().as_deref().unwrap_or("none") };
    let source = mount.source().clone().unwrap_or_else(|| PathBuf::from(fstype));
    let mut words: Vec<String> = mount.options().clone().unwrap_or_default();
    let mut copy_up = false;
    let below = words.iter().find_map(|word| word.strip_prefix(crate::SUBPATH)).map(PathBuf::from);
    words.retain(|word| !word.starts_with(crate::SUBPATH));
    if below.is_some() && !bind {
        return Err(Error::InvalidArgument(format!(
            "mount {}: a part of what is no bind mount",
            destination.display()
        )));
    }
    words.retain(|word| match word.as_str() {
        "tmpcopyup" => {
            copy_up = true;
            false
        }
        "" | "defaults" | "notmpcopyup" => false,
        _ => true,
    });
    let mapped = IdMap::new(mount, &mut words, owners)?;
    let root = owners.on_host(0, 0);
    if fstype == "tmpfs" && root != (0, 0) && !words.iter().any(|word| word.starts_with("uid=")) {
        words.push(format!("{MAPPED_ROOT}{},gid={}", root.0, root.1));
    }
    let directory = match &below {
        // A guess: what is bound is found at the moment of mounting.
        Some(path) => RootDir::open(&source).and_then(|root| root.stat(path)).map_or(true, |found| {
            rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::Directory
        }),
        None => source.is_dir(),
    };
    let missing = if bind && !directory { Missing::MakeFile } else { Missing::MakeDirectory };
    let (first, then) = if bind { split_bind(words) } else { split_new(words) };
    let described = |source: &io::Error| Error::Setup {
        step: format!("prepare mount {}", destination.display()),
        source: io::Error::new(source.kind(), source.to_string()),
    };
    let prepare = |fstype: &str, source: &Path, options: Vec<String>| {
        let mount = Mount {
            fstype: fstype.to_owned(),
            source: source.to_owned(),
            target: destination.clone(),
            options,
            base: None,
        };
        Prepared::new(&mount).map_err(|error| described(&error))
    };
    let otherwise = match fstype {
        // Before 5.8 it is a setting of all mounts of /proc, and the word is not known.
        "proc" if first.iter().any(|word| word == HIDE_PROCESSES) => {
            let words = first.iter().filter(|word| *word != HIDE_PROCESSES).cloned().collect();
            Some(prepare("proc", &source, words)?)
        }
        // The group tty may be without a number in a user namespace.
        "devpts" => {
            let words = first.iter().filter(|word| !word.starts_with("gid=")).cloned().collect();
            Some(prepare("devpts", &source, words)?)
        }
        // Where it has to be mounted inside, root is root already.
        "tmpfs" if root != (0, 0) => {
            let words = first.iter().filter(|word| !word.starts_with(MAPPED_ROOT)).cloned().collect();
            Some(prepare("tmpfs", &source, words)?)
        }
        // Processes that are the host's, the host's own /proc shows; a user namespace may mount none for them.
        "proc" if !owners.new_processes => Some(prepare("bind", Path::new("/proc"), vec!["rbind".into()])?),
        // sysfs belongs to the network namespace; without a new one a user namespace may only bind it.
        "sysfs" => Some(prepare("bind", Path::new("/sys"), vec!["rbind".into()])?),
        _ => None,
    };
    let then = match (then, fstype) {
        (words, _) if !words.is_empty() => {
            let fstype = if words.iter().any(|word| word == "remount") { "bind" } else { "none" };
            Some(prepare(fstype, &source, words)?)
        }
        _ => None,
    };
    let proc_or_sys = matches!(fstype, "proc" | "sysfs");
    Ok(MountAction {
        target: c_string(destination)?,
        mount: prepare(fstype, &source, first)?,
        below: below.map(c_string).transpose()?,
        owners: mapped,
        otherwise,
        then,
        missing,
        links: if proc_or_sys { Links::Refuse } else { Links::Follow },
        optional: fstype == "mqueue",
        in_proc: fstype == "proc" || IN_PROC.iter().any(|path| destination == Path::new(path)),
        copy_up,
        bind,
        foreign: bind || fstype == "tmpfs",
    })
}

/// The words for the mount itself, and those for its mount point afterwards.
fn split_new(words: Vec<String>) -> (Vec<String>, Vec<String>) {
    words.into_iter().partition(|word| !PROPAGATION.contains(&word.as_str()))
}

fn split_bind(words: Vec<String>) -> (Vec<String>, Vec<String>) {
    let (kind, rest): (Vec<_>, Vec<_>) =
        words.into_iter().partition(|word| matches!(word.as_str(), "bind" | "rbind" | "rec"));
    let mut then: Vec<_> = rest.into_iter().filter(|word| word != "rw").collect();
    if then.iter().any(|word| !PROPAGATION.contains(&word.as_str())) {
        then.push("remount".into());
        then.push("bind".into());
    }
    (kind, then)
}

fn devices(actions: &mut Vec<Action>, spec: &Spec, owners: &Owners<'_>) -> Result<()> {
    let listed = spec.linux().as_ref().and_then(|linux| linux.devices().as_ref()).into_iter().flatten();
    let mut own = Vec::new();
    for device in listed {
        own.push(device.path().clone());
        actions.push(node(device, owners)?);
    }
    for (name, major, minor) in DEVICES {
        let path = Path::new("/dev").join(name);
        if !own.contains(&path) {
            actions.push(Action::Device {
                path: c_string(&path)?,
                host: c_string(&path)?,
                mode: libc::S_IFCHR | 0o666,
                device: rustix::fs::makedev(*major, *minor),
                owner: owners.on_host(0, 0),
            });
        }
    }
    for (path, text) in LINKS {
        actions.push(Action::Link { path: c_string(path)?, text: c_string(text)? });
    }
    Ok(())
}

fn node(device: &LinuxDevice, owners: &Owners<'_>) -> Result<Action> {
    let kind = match device.typ() {
        LinuxDeviceType::B => libc::S_IFBLK,
        LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
        LinuxDeviceType::P => libc::S_IFIFO,
        LinuxDeviceType::A => {
            return Err(Error::InvalidArgument(format!("type of device {}", device.path().display())));
        }
    };
    let number = |number: i64| {
        u32::try_from(number)
            .map_err(|_| Error::InvalidArgument(format!("number of device {}", device.path().display())))
    };
    Ok(Action::Device {
        path: c_string(device.path())?,
        host: c_string(device.path())?,
        mode: kind | (device.file_mode().unwrap_or(0o666) & 0o7777),
        device: rustix::fs::makedev(number(device.major())?, number(device.minor())?),
        owner: owners.on_host(device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
    })
}

/// The container's own groups at `mount`'s target, by binding: the view is the same with and without a cgroup
/// namespace.
fn cgroups(
    actions: &mut Vec<Action>,
    mount: &oci_spec::runtime::Mount,
    cgroup: &Cgroup,
    owners: &Owners<'_>,
) -> Result<()> {
    let target = mount.destination();
    let words = mount.options().clone().unwrap_or_default();
    let bind = |path: &Path, to: PathBuf| {
        let mut words = words.clone();
        words.push("rbind".into());
        let mount = oci_spec::runtime::MountBuilder::default().destination(to).typ("bind").source(path).options(words);
        mount
            .build()
            .map_err(|error| Error::InvalidArgument(format!("cgroup mount: {error}")))
            .and_then(|m| plain(&m, owners))
    };
    let place = |options: &[&str]| {
        let words: Vec<_> = options.iter().map(|word| (*word).to_owned()).collect();
        let mount = oci_spec::runtime::MountBuilder::default()
            .destination(target)
            .typ("tmpfs")
            .source("tmpfs")
            .options(words)
            .build();
        mount.map_err(|error| Error::InvalidArgument(format!("cgroup mount: {error}"))).and_then(|m| plain(&m, owners))
    };
    let add = |action: MountAction| Action::Mount(Box::new(action));
    let view = if cgroup.paths().is_empty() { CgroupMount::None } else { cgroup.mounts_for_container() };
    match view {
        CgroupMount::None => actions.push(add(place(&["ro", "nosuid", "nodev", "noexec", "mode=755"])?)),
        CgroupMount::Unified { path } => actions.push(add(bind(&path, target.clone())?)),
        CgroupMount::Hierarchies(hierarchies) => {
            actions.push(add(place(&["nosuid", "nodev", "noexec", "mode=755"])?));
            for hierarchy in hierarchies {
                actions.push(add(bind(&hierarchy.path, target.join(&hierarchy.name))?));
                for link in hierarchy.links {
                    actions.push(Action::Link { path: c_string(target.join(link))?, text: c_string(&hierarchy.name)? });
                }
            }
            if words.iter().any(|word| word == "ro") {
                actions.push(Action::ReadOnly(c_string(target)?));
            }
        }
    }
    Ok(())
}

impl Action {
    /// For messages: `mount /proc`.
    pub(super) fn describe(&self) -> String {
        let (verb, path) = match self {
            Self::Mount(mount) => {
                let target = mount.target.to_string_lossy();
                return format!("mount {} on {target}", mount.mount.source().to_string_lossy());
            }
            Self::Device { path, .. } => ("make device", path),
            Self::Link { path, .. } => ("make link", path),
            Self::Mask(path) => ("mask", path),
            Self::ReadOnly(path) => ("make read-only", path),
        };
        format!("{verb} {}", path.to_string_lossy())
    }
}

pub(super) fn c_string(path: impl AsRef<Path>) -> Result<CString> {
    let path = path.as_ref();
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::InvalidArgument(format!("path {:?}: it holds a NUL byte", path.to_string_lossy())))
}
