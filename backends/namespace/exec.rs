//! Further programs in a running container.
//!
//! A first process enters the control groups and namespaces; since nobody can change his own pid namespace, it
//! clones a second one as a sibling (CLONE_PARENT), which becomes the program. Both are out of the container's
//! sight: not dumpable, every descriptor close-on-exec, nothing of berth's executed inside.

use std::ffi::c_int;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use berth_arch::process::{self, Process};
use oci_spec::runtime::{ContainerState, Spec};
use rustix::fs::{Mode, OFlags};

use super::agent;
use super::become_program::{
    Kept, clean_slate, close_rest, enter_groups, label, limits, list_descriptors, oom_score, run as run_program,
    streams, surroundings,
};
use super::clone::{self, Entered};
use super::explain::explain_process;
use super::plan::forbid_nodes;
use super::process::{ProcessPlan, Streams, setup};
use super::report::{At, Channel, Done, Packet, Step};
use super::rootfs;
use super::sandbox::{Container, borrow};
use super::scheduling::Affinity;
use super::sys;
use super::terminal::{self, Place};
use crate::children::Child;
use crate::{Error, ExecChild, Result, Stdio};

/// What the first process needs.
struct Plan {
    process: ProcessPlan,
    affinity: Affinity,
    groups: Vec<OwnedFd>,
    /// The directory of the group, where the clone itself can join it.
    group: Option<OwnedFd>,
    /// In the order in which they are entered.
    namespaces: Vec<(OwnedFd, c_int)>,
    /// The container's root, where no mount namespace leads to it.
    root: Option<OwnedFd>,
}

/// The user namespace first, because it gives the right to enter the others; the mount namespace last, because
/// it takes away the names by which they could be found.
const KINDS: &[(&str, c_int)] = &[
    ("user", libc::CLONE_NEWUSER),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("ipc", libc::CLONE_NEWIPC),
    ("uts", libc::CLONE_NEWUTS),
    ("time", libc::CLONE_NEWTIME),
    ("net", libc::CLONE_NEWNET),
    ("pid", libc::CLONE_NEWPID),
    ("mnt", libc::CLONE_NEWNS),
];

pub(super) fn run(
    container: &Container,
    spec: &Spec,
    process: &oci_spec::runtime::Process,
    io: Stdio,
    preserved: Vec<OwnedFd>,
) -> Result<Box<dyn ExecChild>> {
    let Container { init, cgroup, .. } = container;
    let affinity = Affinity::new(process)?;
    let mut process = ProcessPlan::new(process, spec, io)?;
    process.preserve(preserved)?;
    process.outlives = container.gate.is_some();
    process.keep_keyring = container.keep_keyring;
    // The container's own start has said it.
    forbid_nodes(&mut process, spec, container.devices_enforced, &mut Vec::new());
    let root = if container.own_mounts { None } else { Some(root(init)?) };
    let plan = Plan {
        process,
        affinity,
        groups: cgroup.entry_fds_beside(init.pid())?,
        group: cgroup.into_fd_beside(init.pid())?,
        namespaces: namespaces(container)?,
        root,
    };
    let (ours, theirs) = Channel::pair().map_err(setup("make a socket pair"))?;
    // What is to happen before the group is entered needs that to be a step of its own.
    let group = if plan.affinity.initial.is_some() { None } else { borrow(&plan.group) };
    let first = clone::spawn(0, group, |entered| {
        ours.leave();
        first(&plan, &theirs, entered);
    })
    .map_err(setup("clone for exec"))?;
    drop(theirs);
    let Plan { mut process, groups, group, namespaces, root, .. } = plan;
    drop((groups, group, namespaces, root));
    let mut terminal = None;
    let answer = until_running(&ours, &process, &mut terminal, |listener, pid| {
        let of = container.of(ContainerState::Running);
        of.map_or(Ok(()), |of| agent::hand_over(listener, &of, pid))
    });
    let _ = process::wait(first);
    // Held until here, for the child had to copy them.
    process.streams = Streams::Terminal { size: None };
    process.preserved.clear();
    Ok(Box::new(Child::new(answer?, terminal)))
}

/// Reads what the two say until the program runs. A second process that fails is reaped.
fn until_running(
    channel: &Channel,
    plan: &ProcessPlan,
    terminal: &mut Option<OwnedFd>,
    hand_over: impl Fn(&OwnedFd, i32) -> Result<()>,
) -> Result<Process> {
    let (mut child, mut failure, mut listener) = (None, None, None);
    // To the end, for a second process that fails at once may be heard before the first one names it.
    while let Some(packet) = channel.receive().map_err(setup("read what the container says"))? {
        match packet {
            Packet::Child(pid) => child = Some(pid),
            Packet::Terminal(fd) => *terminal = Some(fd),
            Packet::Failed(failed) => failure = Some(failed),
            Packet::Listener(end) => listener = Some(end),
            Packet::Ready | Packet::Hooks | Packet::Warning(_) | Packet::Request(_) => {}
        }
        if let (Some(pid), Some(end)) = (child, &listener) {
            if let Err(error) = hand_over(end, pid) {
                clone::end(pid);
                return Err(error);
            }
            let _ = channel.go();
            listener = None;
        }
    }
    match (child, failure) {
        (Some(pid), None) => Process::open(pid, None).map_err(setup("open the process")),
        (child, Some(failure)) => {
            if let Some(pid) = child {
                clone::end(pid);
            }
            Err(explain_process(plan, failure))
        }
        (None, None) => Err(Error::NotFound("container: it ended while a program was started in it".into())),
    }
}

/// Those of init's namespaces that are not this process's own. Opened before the container can change anything.
fn namespaces(container: &Container) -> Result<Vec<(OwnedFd, c_int)>> {
    let init = &container.init;
    let mut found = Vec::new();
    for (name, kind) in KINDS {
        let path = format!("/proc/{}/ns/{name}", init.pid());
        let Ok(own) = rustix::fs::stat(format!("/proc/self/ns/{name}")) else {
            if *kind == libc::CLONE_NEWNS && container.own_mounts {
                return Err(Error::Unavailable(
                    "the namespace backend cannot enter a container: this kernel is older than Linux 3.8; \
                     use a newer one, or run the program by the container's first process"
                        .into(),
                ));
            }
            continue;
        };
        let theirs = match rustix::fs::stat(&path) {
            Err(_) if !init.is_alive() => return Err(ended()),
            found => found.map_err(setup(format!("look at {path}")))?,
        };
        if (theirs.st_dev, theirs.st_ino) != (own.st_dev, own.st_ino) {
            let file = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            found.push((file.map_err(setup(format!("open {path}")))?, *kind));
        }
    }
    // The number may have been reused between the look-up and here.
    if !init.is_alive() {
        return Err(ended());
    }
    Ok(found)
}

/// Of the first process, which cannot be another one's by the time [`namespaces`] has looked.
fn root(init: &Process) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", init.pid());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::open(&path, flags, Mode::empty()) {
        Err(_) if !init.is_alive() => Err(ended()),
        opened => opened.map_err(setup(format!("open {path}"))),
    }
}

fn ended() -> Error {
    Error::NotFound("container: it is not running".into())
}

fn first(plan: &Plan, channel: &Channel, entered: Entered) {
    if let Err(failure) = enter(plan, channel, entered) {
        channel.fail(failure);
    }
}

fn enter(plan: &Plan, channel: &Channel, entered: Entered) -> Done {
    clean_slate(false)?;
    // The container's own /proc may be anything.
    let proc = rustix::fs::open(c"/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).at(Step::Label)?;
    if let Some(processors) = &plan.affinity.initial {
        sys::set_processors(processors).at(Step::Scheduler)?;
    }
    if entered == Entered::No {
        enter_groups(&plan.groups)?;
    }
    if let Some(processors) = &plan.affinity.last {
        sys::set_processors(processors).at(Step::Scheduler)?;
    }
    oom_score(&plan.process, channel);
    for (index, (namespace, kind)) in plan.namespaces.iter().enumerate() {
        sys::setns(namespace, *kind).at_index(Step::Join, index)?;
    }
    if let Some(root) = &plan.root {
        rootfs::change_root(root.as_fd()).at(Step::PivotRoot)?;
    }
    let second =
        clone::spawn(libc::CLONE_PARENT, None, |_| second(&plan.process, proc.as_fd(), channel)).at(Step::Clone)?;
    channel.child(second).at(Step::Clone)
}

pub(super) fn second(plan: &ProcessPlan, proc: BorrowedFd<'_>, channel: &Channel) {
    match prepare(plan, proc, channel) {
        Ok([Some(channel), ..]) => {
            let channel = Channel::from_fd(channel);
            channel.fail(run_program(plan, &channel));
        }
        Ok(_) => {}
        Err(failure) => channel.fail(failure),
    }
}

fn prepare(plan: &ProcessPlan, proc: BorrowedFd<'_>, channel: &Channel) -> Done<Kept<OwnedFd>> {
    let _ = rustix::process::setsid();
    label(plan, proc, c"self/attr/exec")?;
    let terminal = match plan.streams {
        Streams::Terminal { size } => {
            let terminal = terminal::open(Place::Here, size).at(Step::Terminal)?;
            channel.terminal(terminal.controlling.as_fd()).at(Step::Terminal)?;
            Some(terminal)
        }
        Streams::Pipes(_) => None,
    };
    streams(plan, terminal.as_ref())?;
    limits(plan, channel)?;
    surroundings(plan)?;
    // Closed by the next step, all at once.
    std::mem::forget(terminal);
    let listed = list_descriptors(proc, c"self/fd");
    close_rest(plan, [Some(channel.as_fd()), None, None], listed)
}
