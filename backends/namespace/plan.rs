//! Everything that can be computed before the clone: the child finds numbers, descriptors and C strings, and makes
//! system calls with them.

use std::ffi::{CString, OsStr, c_int, c_ulong};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use berth_arch::kernel::pivot_root::root_is_initramfs;
use berth_arch::mount::{Mount, Prepared};
use berth_arch::{host, pretend};
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType, Spec};

use super::actions::{self, Planned, c_string};
use super::capabilities::Sets;
use super::gate;
use super::hooks::Hooks;
use super::namespaces::Namespaces;
use super::process::{ProcessPlan, Streams, has_own_users, setup};
use super::report::Channel;
use super::rootfs;
use crate::assemble::root_of;
use crate::cgroup::Cgroup;
use crate::{Bundle, ContainerId, Error, Result, Standalone, Stdio};

pub(super) struct Plan {
    pub(super) process: ProcessPlan,
    pub(super) namespaces: Namespaces,
    pub(super) root: RootPlan,
    /// Files by which the child joins the control groups.
    pub(super) groups: Vec<OwnedFd>,
    /// The directory of the group, where the clone itself can join it.
    pub(super) group: Option<OwnedFd>,
    pub(super) hostname: Option<Vec<u8>>,
    pub(super) domainname: Option<Vec<u8>>,
    /// Files below /proc/sys and what is written to them.
    pub(super) sysctls: Vec<(CString, Vec<u8>)>,
    pub(super) hooks: Option<Hooks>,
    /// Where a standalone container waits for its start.
    pub(super) gate: Option<OwnedFd>,
    /// Where the doorman listens, of a container that nobody can enter.
    pub(super) doorman: Option<Channel>,
    /// The creator is in the container's user namespace, as who he was.
    pub(super) becomes_root: bool,
}

pub(super) struct RootPlan {
    /// Whether there is a mount namespace of the container's own. Without, the mounts are made on the host, at and below
    /// the mount point and nowhere else, and the root is changed by chroot(2).
    pub(super) own_mounts: bool,
    /// Where the root is assembled.
    pub(super) mount_point: CString,
    /// With a user namespace: a tmpfs that holds the mount point, so that its users find the root by a name without
    /// being allowed on the way from the host's root to there.
    pub(super) porch: Option<CString>,
    /// Each with its absolute target.
    pub(super) mounts: Vec<(Prepared, CString)>,
    /// See [`crate::Lent`]: closed by whoever has made the mounts, and by this process when somebody was cloned for that.
    pub(super) lent: Vec<OwnedFd>,
    /// With a user namespace: user and group of its root outside, to whom what is made in the root from there belongs. Where the
    /// owners of the root are mapped, nobody else makes anything.
    pub(super) owner: Option<(u32, u32)>,
    pub(super) actions: Vec<Planned>,
    pub(super) read_only: bool,
    /// The host's mounts do not arrive in the container.
    pub(super) private: bool,
    /// With shared propagation: the mount that holds the mount point, which alone is made private.
    pub(super) shared_parent: Option<CString>,
    /// Flags of mount(2) for the finished root.
    pub(super) final_propagation: Option<c_ulong>,
    pub(super) openat2: bool,
    pub(super) pivot_root: bool,
    /// Where pivot_root cannot work: what to take off, deepest first.
    pub(super) host_mounts: Vec<CString>,
}

impl Plan {
    pub(super) fn new(
        id: &ContainerId,
        bundle: &Bundle,
        cgroup: &Cgroup,
        io: Stdio,
        own_mounts: bool,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let spec = &bundle.spec;
        let process = spec.process().as_ref();
        let process = process.ok_or_else(|| Error::InvalidArgument("specification: it has no process".into()))?;
        let namespaces = Namespaces::new(spec, own_mounts, warnings)?;
        refuse_unsupported(spec, bundle.standalone.is_some())?;
        refuse_host_settings(spec, |kind| namespaces.has(kind))?;
        let mut process = ProcessPlan::new(process, spec, io)?;
        forbid_nodes(&mut process, spec, cgroup.devices_enforced(), warnings);
        let mut hooks = None;
        if let Some(standalone) = &bundle.standalone {
            hooks = Hooks::new(id, spec, standalone)?;
            process.preserve(standalone.preserved.take())?;
            process.outlives = true;
            process.keep_keyring = standalone.keep_keyring;
        }
        Ok(Self {
            process,
            hooks,
            root: RootPlan::new(bundle, actions::plan(spec, cgroup)?, own_mounts, namespaces.user.is_some())?,
            namespaces,
            groups: entries(cgroup)?,
            group: if cgroup.paths().is_empty() { None } else { cgroup.into_fd()? },
            hostname: name(spec.hostname()),
            domainname: name(spec.domainname()),
            sysctls: sysctls(spec)?,
            becomes_root: false,
            doorman: None,
            gate: match &bundle.standalone {
                Some(Standalone { gate, .. }) => {
                    Some(gate::listen(gate).map_err(setup(format!("listen on {}", gate.display())))?)
                }
                None => None,
            },
        })
    }
}

impl Plan {
    /// Of a container whose namespaces another program makes, and which has its root on a porch: before that, and by its
    /// first process, which knows its groups.
    pub(super) fn foreign(bundle: &Bundle, cgroup: &Cgroup, namespaces: Namespaces, io: Stdio) -> Result<Self> {
        let spec = &bundle.spec;
        let process = spec.process().as_ref();
        let process = process.ok_or_else(|| Error::InvalidArgument("specification: it has no process".into()))?;
        Ok(Self {
            process: ProcessPlan::new(process, spec, io)?,
            root: RootPlan::new(bundle, actions::plan_of_foreign(spec, cgroup)?, true, true)?,
            namespaces,
            groups: Vec::new(),
            group: None,
            hostname: name(spec.hostname()),
            domainname: name(spec.domainname()),
            sysctls: sysctls(spec)?,
            becomes_root: false,
            hooks: None,
            doorman: None,
            gate: None,
        })
    }

    /// Closes what was for the child; what is left is for messages.
    pub(super) fn let_go(&mut self) {
        self.process.streams = Streams::Terminal { size: None };
        self.process.preserved.clear();
        self.hooks = None;
        self.gate = None;
        self.doorman = None;
        self.groups.clear();
        self.group = None;
        self.namespaces = Namespaces::default();
    }
}

/// Without the control group that denies devices, a container that can make nodes has the host's disks.
pub(super) fn forbid_nodes(process: &mut ProcessPlan, spec: &Spec, enforced: bool, warnings: &mut Vec<String>) {
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    let rules = resources.and_then(|resources| resources.devices().as_ref());
    let asked = rules.is_some_and(|rules| rules.iter().any(|rule| !rule.allow()));
    // In a user namespace the kernel makes none that would open.
    if !asked || enforced || host::User::detect().in_user_namespace {
        return;
    }
    if process.capabilities.as_mut().is_some_and(Sets::take_mknod) {
        warnings.push(
            "this host cannot restrict the devices of a container (no devices controller): \
             CAP_MKNOD is taken from it"
                .into(),
        );
    }
}

/// Files by which a process joins the container's groups; none on a host without.
fn entries(cgroup: &Cgroup) -> Result<Vec<OwnedFd>> {
    if cgroup.paths().is_empty() { Ok(Vec::new()) } else { cgroup.entry_fds() }
}

/// The host's number for `id` inside; itself without mappings.
fn on_host(mappings: Option<&Vec<LinuxIdMapping>>, id: u32) -> u32 {
    let holds = |one: &&LinuxIdMapping| id >= one.container_id() && id - one.container_id() < one.size();
    mappings.into_iter().flatten().find(holds).map_or(id, |one| one.host_id() + (id - one.container_id()))
}

/// Numbers of the container as the host sees them.
pub(super) struct Owners<'s> {
    users: Option<&'s Vec<LinuxIdMapping>>,
    groups: Option<&'s Vec<LinuxIdMapping>>,
    /// Whether the container has a pid namespace of its own.
    pub(super) new_processes: bool,
}

impl<'s> Owners<'s> {
    pub(super) fn new(spec: &'s Spec) -> Self {
        let linux = spec.linux().as_ref().filter(|_| has_own_users(spec));
        let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        let mut listed = listed.into_iter().flatten();
        Self {
            new_processes: listed.any(|namespace| namespace.typ() == LinuxNamespaceType::Pid),
            users: linux.and_then(|linux| linux.uid_mappings().as_ref()),
            groups: linux.and_then(|linux| linux.gid_mappings().as_ref()),
        }
    }

    /// Whether there is no mapping.
    pub(super) fn are_the_hosts(&self) -> bool {
        self.users.is_none() && self.groups.is_none()
    }

    /// The container's own mappings, if it has a user namespace.
    pub(super) fn users(&self) -> Option<&'s Vec<LinuxIdMapping>> {
        self.users
    }

    pub(super) fn groups(&self) -> Option<&'s Vec<LinuxIdMapping>> {
        self.groups
    }

    pub(super) fn on_host(&self, user: u32, group: u32) -> (u32, u32) {
        (on_host(self.users, user), on_host(self.groups, group))
    }
}

impl RootPlan {
    fn new(bundle: &Bundle, actions: Vec<Planned>, own_mounts: bool, porch: bool) -> Result<Self> {
        let spec = &bundle.spec;
        let porch = porch.then_some(bundle.mount_point.as_path());
        let behind = porch.map(|porch| porch.join(OsStr::from_bytes(rootfs::BEHIND.to_bytes())));
        let mount_point = behind.as_deref().unwrap_or(&bundle.mount_point);
        let root = spec.root().as_ref();
        let propagation = spec.linux().as_ref().and_then(|linux| linux.rootfs_propagation().clone());
        let propagation = propagation.as_deref().unwrap_or("");
        let shared = matches!(propagation, "shared" | "rshared");
        let final_propagation = match propagation {
            "shared" | "rshared" => Some(libc::MS_SHARED),
            "unbindable" | "runbindable" => Some(libc::MS_UNBINDABLE),
            "" | "slave" | "rslave" | "private" | "rprivate" => None,
            other => return Err(Error::InvalidArgument(format!("rootfsPropagation {other:?}"))),
        };
        let no_pivot = bundle.standalone.as_ref().is_some_and(|standalone| standalone.no_pivot);
        let pivot_root = !no_pivot && !pretend::without("pivot_root");
        Ok(Self {
            own_mounts,
            mount_point: c_string(mount_point)?,
            porch: porch.map(c_string).transpose()?,
            mounts: root_mounts(bundle, mount_point)?,
            lent: bundle.lent.take(),
            owner: Some(Owners::new(spec)).filter(|owners| !owners.are_the_hosts()).map(|owners| owners.on_host(0, 0)),
            actions,
            read_only: root.and_then(|root| root.readonly()).unwrap_or(false),
            private: matches!(propagation, "private" | "rprivate"),
            shared_parent: if shared { Some(mount_of(&bundle.mount_point)?) } else { None },
            final_propagation,
            openat2: !pretend::without("openat2"),
            pivot_root,
            // With shared propagation they would be taken off the host too.
            host_mounts: if !own_mounts || shared || (pivot_root && !root_is_initramfs()) {
                Vec::new()
            } else {
                other_mounts(&bundle.mount_point)?
            },
        })
    }
}

fn root_mounts(bundle: &Bundle, mount_point: &Path) -> Result<Vec<(Prepared, CString)>> {
    let mut mounts = bundle.rootfs.clone();
    if mounts.is_empty() {
        // The root has to be a mount for pivot_root.
        mounts.push(root_of(&bundle.spec)?);
    }
    mounts.iter().map(|mount| root_mount(mount_point, mount)).collect()
}

fn root_mount(mount_point: &Path, mount: &Mount) -> Result<(Prepared, CString)> {
    let inside = mount.target.strip_prefix("/").unwrap_or(&mount.target);
    if inside.components().any(|part| part == Component::ParentDir) {
        return Err(Error::InvalidArgument(format!("root mount target {}", mount.target.display())));
    }
    let prepared = Prepared::new(mount).map_err(setup(format!("prepare the root's mount {}", mount.fstype)))?;
    let target = if inside.as_os_str().is_empty() { mount_point.to_owned() } else { mount_point.join(inside) };
    Ok((prepared, c_string(target)?))
}

fn mount_of(path: &Path) -> Result<CString> {
    let table = berth_arch::mount::mounts().map_err(setup("read /proc/self/mountinfo"))?;
    let found = berth_arch::mount::find_mount(&table, path);
    c_string(found.map_or(Path::new("/"), |mount| &mount.mount_point))
}

/// All mounts but those that hold the mount point.
fn other_mounts(mount_point: &Path) -> Result<Vec<CString>> {
    let table = berth_arch::mount::mounts().map_err(setup("read /proc/self/mountinfo"))?;
    let others = table.iter().rev().filter(|mount| !mount_point.starts_with(&mount.mount_point));
    others.map(|mount| c_string(&mount.mount_point)).collect()
}

/// Names with dots or with slashes (sysctl(8)); `..` cannot come about because a dot separates.
fn sysctls(spec: &Spec) -> Result<Vec<(CString, Vec<u8>)>> {
    let listed = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    let file = |(name, value): (&String, &String)| {
        let path = if name.contains('/') { name.clone() } else { name.replace('.', "/") };
        if path.split('/').any(|part| part == "..") {
            return Err(Error::InvalidArgument(format!("sysctl {name:?}")));
        }
        Ok((c_string(format!("/proc/sys/{path}"))?, value.clone().into_bytes()))
    };
    listed.into_iter().flatten().map(file).collect()
}

/// What the specification may ask for and this backend does not do.
pub(super) fn refuse_unsupported(spec: &Spec, standalone: bool) -> Result<()> {
    let linux = spec.linux().as_ref();
    let asked = |what: fn(&Linux) -> bool| linux.is_some_and(what);
    let some = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let found = [
        ("hooks", !standalone && spec.hooks().as_ref().is_some_and(|hooks| *hooks != Default::default())),
        ("linux.intelRdt", asked(|linux| linux.intel_rdt().is_some())),
        ("linux.netDevices", asked(|linux| linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()))),
        ("linux.memoryPolicy", asked(|linux| linux.memory_policy().is_some())),
        ("linux.mountLabel", linux.is_some_and(|linux| some(linux.mount_label()))),
    ];
    match found.into_iter().find(|(_, asked)| *asked) {
        Some((what, _)) => Err(Error::Unavailable(format!(
            "the namespace backend does not do {what}: leave it out of the specification"
        ))),
        None => Ok(()),
    }
}

fn name(name: &Option<String>) -> Option<Vec<u8>> {
    name.as_deref().filter(|name| !name.is_empty()).map(|name| name.as_bytes().to_vec())
}

/// What would be set on the host, for want of a namespace. `has` is asked by CLONE_NEW*.
pub(crate) fn refuse_host_settings(spec: &Spec, has: impl Fn(c_int) -> bool) -> Result<()> {
    let refuse = |what: String, kind: &str| {
        Err(Error::InvalidArgument(format!("{what}: without a {kind} namespace it would be set on the host")))
    };
    if (name(spec.hostname()).is_some() || name(spec.domainname()).is_some()) && !has(libc::CLONE_NEWUTS) {
        return refuse("host name".into(), "uts");
    }
    let listed = spec.linux().as_ref().and_then(|linux| linux.sysctl().as_ref());
    for name in listed.into_iter().flat_map(|listed| listed.keys()) {
        let dotted = if name.contains('/') { name.replace('/', ".") } else { name.clone() };
        let (kind, word) = match dotted.as_str() {
            name if name.starts_with("net.") => (libc::CLONE_NEWNET, "network"),
            name if name.starts_with("fs.mqueue.") || IPC_SYSCTLS.contains(&name) => (libc::CLONE_NEWIPC, "ipc"),
            "kernel.hostname" | "kernel.domainname" => (libc::CLONE_NEWUTS, "uts"),
            name if name.starts_with("user.") => (libc::CLONE_NEWUSER, "user"),
            _ => return Err(Error::InvalidArgument(format!("sysctl {name}: it belongs to the whole host"))),
        };
        if !has(kind) {
            return refuse(format!("sysctl {name}"), word);
        }
    }
    Ok(())
}

/// Of the ipc namespace (ipc_namespaces(7)).
const IPC_SYSCTLS: &[&str] = &[
    "kernel.msg_next_id",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.sem_next_id",
    "kernel.shm_next_id",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];
