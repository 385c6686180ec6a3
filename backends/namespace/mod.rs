//! Containers of namespaces, control groups, capabilities and seccomp: the strongest backend.
//!
//! Containers of chroot(2) are made by the same steps, with fewer namespaces or none (`super::chroot`).
//!
//! `plan.rs` (with `process.rs` and `actions.rs`) computes everything before the clone; `clone.rs` clones;
//! `init.rs` (with `rootfs.rs` and `become_program.rs`) is what the clone does, system calls only, and reports over
//! `report.rs`; `exec.rs` runs further programs; `sandbox.rs` is what the creator holds.

mod actions;
mod agent;
mod become_program;
mod capabilities;
mod checkpoint;
pub(crate) mod clone;
mod copy_up;
mod doorman;
mod exec;
mod explain;
mod externals;
pub(crate) mod foreign;
mod gate;
mod hooks;
mod idmap;
mod init;
mod known;
pub(crate) mod namespaces;
mod own_users;
mod plan;
mod process;
mod report;
mod resolve;
mod restrictions;
mod rootfs;
pub(crate) mod sandbox;
mod scheduling;
mod stages;
pub(crate) mod sys;
pub(crate) mod task;
mod terminal;
pub(crate) mod tree;

use berth_arch::kernel::cgroup::{Cgroups, Layout};
use berth_arch::process::Process;
use berth_arch::{Host, Probe, pretend};
use oci_spec::runtime::Spec;

pub(crate) use self::actions::HIDE_PROCESSES;
pub use self::hooks::run_hooks;
pub use self::known::{Known, known};
pub(crate) use self::namespaces::kernel_has;
use self::plan::Plan;
pub(crate) use self::plan::refuse_host_settings;
pub(crate) use self::process::{rlimit, setup};
use self::report::Channel;
pub(crate) use self::sandbox::Container;
use self::sandbox::{Creator, Heard, Waiting};
pub(crate) use self::sandbox::{exit_status, send, try_wait};
pub(crate) use self::sys::set_read_only;
use crate::cgroup::Cgroup;
use crate::{Backend, Bundle, ContainerId, Error, Isolation, Restorer, Result, Sandbox, SavedSandbox, Stdio};

pub(crate) const NAME: &str = "namespace";

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Namespace;

impl Backend for Namespace {
    fn name(&self) -> &str {
        NAME
    }

    /// Looks and does not try: it is on the path of every run, and forks would double its time. What the kernel
    /// refuses in spite of it is said by [`Backend::create`].
    fn probe(&self, host: &Host) -> Probe<Isolation> {
        const CAP_SYS_ADMIN: u64 = 1 << 21;
        let has = namespaces::kernel_has;
        for (name, option) in [("mnt", "NAMESPACES"), ("pid", "PID_NS"), ("uts", "UTS_NS"), ("ipc", "IPC_NS")] {
            if !has(name) {
                return Probe::unavailable(
                    format!("this kernel has no {name} namespaces"),
                    format!("use a kernel built with CONFIG_{option}"),
                );
            }
        }
        if host.user.effective_capabilities & CAP_SYS_ADMIN == 0
            && let Probe::Unavailable { reason, hint } = berth_arch::kernel::userns::probe()
        {
            let reason = format!("making namespaces takes CAP_SYS_ADMIN, which this user does not have; {reason}");
            return Probe::Unavailable { reason, hint };
        }
        let groups =
            Cgroups::detect().unwrap_or(Cgroups { layout: Layout::None, hierarchies: vec![], unmounted: vec![] });
        let controllers = controllers(&groups);
        Probe::available(Isolation {
            pid: true,
            mount: true,
            network: has("net"),
            uts: true,
            ipc: true,
            user: has("user") && !pretend::without("userns"),
            cgroup_namespace: has("cgroup"),
            pause: controllers.iter().any(|name| name == "freezer") || groups.layout == Layout::V2,
            stats: !controllers.is_empty(),
            checkpoint: !host.user.in_user_namespace,
            controllers,
            capabilities: true,
            no_new_privileges: host.kernel.version >= (3, 5),
            seccomp: berth_arch::kernel::seccomp::filters().is_available(),
        })
    }

    fn create(&self, id: &ContainerId, bundle: &Bundle, io: Stdio) -> Result<Box<dyn Sandbox>> {
        Ok(Box::new(make(id, bundle, io, true)?))
    }

    fn load(&self, id: &ContainerId, saved: &SavedSandbox, spec: Option<&Spec>) -> Result<Box<dyn Sandbox>> {
        if saved.backend != NAME {
            return Err(Error::InvalidArgument(format!(
                "container {id}: backend {} made it, not {NAME}",
                saved.backend
            )));
        }
        Ok(Box::new(find(id, saved, spec, true)?))
    }

    fn restorer(&self) -> Option<&dyn Restorer> {
        Some(self)
    }

    fn clear(&self, _id: &ContainerId, saved: &SavedSandbox) -> Result<()> {
        crate::cgroup::clear(&saved.cgroups)
    }
}

/// What [`Backend::create`] says; `own_mounts` as in the root's plan.
pub(crate) fn make(id: &ContainerId, bundle: &Bundle, io: Stdio, own_mounts: bool) -> Result<Container> {
    let within = own_users::enter(&bundle.spec)?.map(|spec| Bundle { spec, ..bundle.clone() });
    let cgroup = Cgroup::create(id, &bundle.spec)?;
    match create(id, within.as_ref().unwrap_or(bundle), io, own_mounts, &cgroup, within.is_some()) {
        Ok(made) => Ok(made.into_container(id, bundle, cgroup)),
        Err(error) => {
            if !cgroup.paths().is_empty() {
                let _ = cgroup.kill_all();
                let _ = cgroup.delete();
            }
            if let Some(standalone) = &bundle.standalone {
                let _ = std::fs::remove_file(&standalone.gate);
            }
            Err(error)
        }
    }
}

/// What [`Backend::load`] says, of a container of [`make`].
pub(crate) fn find(id: &ContainerId, saved: &SavedSandbox, spec: Option<&Spec>, own_mounts: bool) -> Result<Container> {
    let init = Process::open(saved.pid, Some(saved.start_time))
        .map_err(|_| Error::NotFound(format!("container {id}: it is not running")))?;
    Ok(Container {
        name: id.to_string(),
        init,
        own_mounts,
        cgroup: Cgroup::load(&saved.cgroups),
        warnings: Vec::new(),
        terminal: None,
        status: None,
        spec: spec.cloned(),
        gate: saved.gate.clone(),
        bundle: saved.bundle.clone(),
        devices_enforced: saved.devices_enforced,
        keep_keyring: saved.keep_keyring,
        creator: None,
    })
}

/// Those of the hierarchies that can be written to, by v2's names.
pub(crate) fn controllers(groups: &Cgroups) -> Vec<String> {
    let usable = groups.hierarchies.iter().filter(|hierarchy| hierarchy.is_writable(&hierarchy.own_directory()));
    let mut names: Vec<String> = usable.flat_map(|hierarchy| hierarchy.controllers.clone()).collect();
    names.iter_mut().filter(|name| *name == "blkio").for_each(|name| *name = "io".into());
    if groups.layout == Layout::V2 && !names.is_empty() {
        // By BPF and by cgroup.freeze, which have no controller of their own on v2.
        names.extend(["devices".into(), "freezer".into()]);
    }
    names.sort();
    names.dedup();
    names
}

struct Made {
    init: Process,
    plan: Plan,
    channel: Channel,
    terminal: Option<std::os::fd::OwnedFd>,
    doorman: Option<Channel>,
    warnings: Vec<String>,
}

impl Made {
    fn into_container(mut self, id: &ContainerId, bundle: &Bundle, cgroup: Cgroup) -> Container {
        // The child has its own copies of the streams: as long as ours are open, a pipe does not end.
        self.plan.let_go();
        self.warnings.splice(0..0, cgroup.warnings().iter().cloned());
        let standalone = bundle.standalone.as_ref();
        Container {
            name: id.to_string(),
            init: self.init,
            own_mounts: self.plan.root.own_mounts,
            devices_enforced: cgroup.devices_enforced(),
            cgroup,
            warnings: self.warnings,
            terminal: self.terminal,
            status: None,
            spec: Some(bundle.spec.clone()),
            gate: standalone.map(|standalone| standalone.gate.clone()),
            bundle: standalone.map(|standalone| standalone.folder.clone()),
            keep_keyring: standalone.is_some_and(|standalone| standalone.keep_keyring),
            creator: Some(Creator {
                waiting: Some(Waiting { channel: self.channel, plan: self.plan, restore: None }),
                doorman: self.doorman,
            }),
        }
    }
}

fn create(
    id: &ContainerId,
    bundle: &Bundle,
    io: Stdio,
    own_mounts: bool,
    cgroup: &Cgroup,
    becomes_root: bool,
) -> Result<Made> {
    let mut warnings = Vec::new();
    let mut plan = Plan { becomes_root, ..Plan::new(id, bundle, cgroup, io, own_mounts, &mut warnings)? };
    let entered = plan.root.own_mounts || plan.namespaces.has(libc::CLONE_NEWPID);
    let mut doorman = None;
    if entered && bundle.standalone.is_none() && doorman::is_wanted(&bundle.spec) {
        let (ours, theirs) = doorman::pair()?;
        (doorman, plan.doorman) = (Some(ours), Some(theirs));
    }
    let (ours, theirs) = Channel::pair().map_err(setup("make a socket pair"))?;
    let group = sandbox::borrow(&plan.group);
    let first = if plan.namespaces.in_two_steps() {
        let flags = stages::first_flags(&plan);
        clone::spawn(flags, group, |entered| {
            ours.leave();
            stages::main(&plan, &theirs, entered);
        })
    } else {
        clone::spawn(plan.namespaces.new, group, |entered| {
            ours.leave();
            init::main(&plan, &theirs, entered);
        })
    };
    let first = first.map_err(setup("clone into new namespaces"))?;
    drop(theirs);
    plan.root.lent.clear();
    let two_steps = plan.namespaces.in_two_steps();
    let mut heard = Heard { child: (!two_steps).then_some(first), ..Heard::default() };
    let ready = sandbox::until_ready(
        &ours,
        &mut heard,
        |failure| explain::explain(&plan, &bundle.spec, failure),
        |pid| plan.hooks.as_ref().map_or(Ok(()), |hooks| hooks.run_outside(pid)),
    );
    if two_steps {
        let _ = berth_arch::process::wait(first);
    }
    let Some(pid) = heard.child else { return Err(ready.err().unwrap_or_else(sandbox::killed)) };
    let init = ready.and_then(|()| Process::open(pid, None).map_err(setup("open the container's first process")));
    match init {
        Ok(init) => Ok(Made {
            init,
            plan,
            channel: ours,
            terminal: heard.terminal,
            doorman,
            warnings: [warnings, heard.warnings].concat(),
        }),
        Err(error) => {
            drop(ours);
            clone::end(pid);
            Err(error)
        }
    }
}
