//! The container's first process, from the clone to its program: system calls only. A step that fails is reported
//! and ends it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::become_program::{
    Kept, clean_slate, close_rest, enter_groups, find, label, limits, list_descriptors, oom_score, run, streams,
    surroundings, write_file,
};
use super::clone::Entered;
use super::doorman;
use super::gate;
use super::plan::Plan;
use super::process::Streams;
use super::report::{At, Channel, Done, Step};
use super::resolve::{Links, Missing, Root};
use super::rootfs::{self, Side};
use super::sys;
use super::terminal::{self, Place, Terminal};

/// What the clone runs: the whole root is made here, with the host's rights.
pub(super) fn main(plan: &Plan, channel: &Channel, entered: Entered) {
    let made = || {
        clean_slate(false)?;
        if plan.becomes_root {
            become_root()?;
        }
        groups(plan, entered)?;
        join(plan)?;
        rootfs::propagation(&plan.root)?;
        let root = rootfs::mount_root(&plan.root)?;
        rootfs::perform(&plan.root, root.as_fd(), Side::All, channel)?;
        oom_score(&plan.process, channel);
        Ok(root)
    };
    finish(plan, channel, made());
}

/// As [`main`], in a user namespace that [`super::stages`] has prepared: the rest of the root is made with what
/// rights its own root has.
pub(super) fn mapped(plan: &Plan, channel: &Channel) {
    let made = || {
        become_root()?;
        let _ = rustix::process::setsid();
        new_cgroup_namespace(plan)?;
        join(plan)?;
        let root = rootfs::unlock_root(&plan.root)?;
        rootfs::perform(&plan.root, root.as_fd(), Side::Inside, channel)?;
        Ok(root)
    };
    finish(plan, channel, made());
}

pub(super) fn finish(plan: &Plan, channel: &Channel, root: Done<OwnedFd>) {
    let (channel, gate, null) = match root.and_then(|root| prepare(plan, channel, root)) {
        Ok([Some(channel), gate, null]) => (Channel::from_fd(channel), gate, null),
        Ok(_) => return,
        Err(failure) => return channel.fail(failure),
    };
    if gate.is_some()
        && let Err(failure) = find(&plan.process)
    {
        return channel.fail(failure);
    }
    // A creator that has ended: there is nobody to run for.
    if channel.ready().and_then(|()| channel.wait_for_go()).is_err() {
        return;
    }
    let channel = match gate.map(gate::wait) {
        None => channel,
        Some(Ok(starter)) => starter,
        Some(Err(_)) => return,
    };
    let hooked = match (&plan.hooks, &null) {
        (Some(hooks), Some(null)) => hooks.start_container(null),
        _ => Ok(()),
    };
    channel.fail(match hooked {
        Ok(()) => run(&plan.process, &channel),
        Err(failure) => failure,
    });
}

fn prepare(plan: &Plan, channel: &Channel, root: OwnedFd) -> Done<Kept<OwnedFd>> {
    names(plan, channel)?;
    // Before the label: programs that are run from here on would have it.
    hooks(plan, channel)?;
    label(&plan.process, rustix::fs::CWD, c"/proc/self/attr/exec")?;
    let inside = Root { directory: root.as_fd(), openat2: plan.root.openat2 };
    let terminal = open_terminal(plan, inside, channel)?;
    make_directory(plan, &inside);
    let listed = list_descriptors(rustix::fs::CWD, c"/proc/self/fd");
    let proc = plan.doorman.as_ref().and_then(|_| doorman::open_proc());
    rootfs::pivot(&plan.root, root.as_fd())?;
    if let Some(line) = &plan.doorman {
        doorman::leave_behind(line.as_fd(), proc.as_ref())?;
    }
    streams(&plan.process, terminal.as_ref())?;
    limits(&plan.process, channel)?;
    surroundings(&plan.process)?;
    if !plan.process.outlives {
        let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as _, 0);
    }
    // Closed by the next step, all at once.
    std::mem::forget((root, terminal, proc));
    let gate = plan.gate.as_ref().map(AsFd::as_fd);
    let null = plan.hooks.as_ref().map(|hooks| hooks.null().as_fd());
    close_rest(&plan.process, [Some(channel.as_fd()), gate, null], listed)
}

/// Those that are due before the root changes: the creator's, then the container's own.
fn hooks(plan: &Plan, channel: &Channel) -> Done {
    let Some(hooks) = &plan.hooks else { return Ok(()) };
    if hooks.before_pivot() {
        channel.hooks().and_then(|()| channel.wait_for_go()).at(Step::CreateContainerHook)?;
    }
    hooks.create_container()
}

/// The number 0 of the user namespace. The change of identity hides this process's files in /proc from itself,
/// which it needs for mounting.
fn become_root() -> Done {
    let (user, group) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    match rustix::thread::set_thread_groups(&[]) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(errno) => return Err(errno).at(Step::MapUsers),
    }
    rustix::thread::set_thread_res_gid(group, group, group).at(Step::MapUsers)?;
    rustix::thread::set_thread_res_uid(user, user, user).at(Step::MapUsers)?;
    sys::prctl(libc::PR_SET_DUMPABLE, 1, 0).map(drop).at(Step::MapUsers)
}

/// The control groups first, so that everything counts, and their namespace after, so that it begins there.
fn groups(plan: &Plan, entered: Entered) -> Done {
    if entered == Entered::No {
        enter_groups(&plan.groups)?;
    }
    new_cgroup_namespace(plan)
}

fn new_cgroup_namespace(plan: &Plan) -> Done {
    if plan.namespaces.new_cgroup { sys::unshare(libc::CLONE_NEWCGROUP).at(Step::Cgroup) } else { Ok(()) }
}

fn join(plan: &Plan) -> Done {
    for (index, (namespace, kind)) in plan.namespaces.join.iter().enumerate() {
        sys::setns(namespace, *kind).at_index(Step::Join, index)?;
    }
    Ok(())
}

fn names(plan: &Plan, channel: &Channel) -> Done {
    if let Some(name) = &plan.hostname {
        sys::sethostname(name).at(Step::Hostname)?;
    }
    if let Some(name) = &plan.domainname {
        sys::setdomainname(name).at(Step::Domainname)?;
    }
    if plan.namespaces.new & libc::CLONE_NEWNET != 0 {
        match sys::start_loopback().at(Step::Loopback) {
            // In a container that may make namespaces and no networks: what is in this one can do without.
            Err(failure) if failure.errno == Errno::PERM => channel.warn(failure),
            answer => answer?,
        }
    }
    for (index, (path, value)) in plan.sysctls.iter().enumerate() {
        write_file(path, value).at_index(Step::Sysctl, index)?;
    }
    Ok(())
}

/// The working directory, if it is missing; a root that is read-only is not so yet. What cannot be made is said when
/// it is entered.
fn make_directory(plan: &Plan, root: &Root<'_>) {
    let path = plan.process.directory.as_c_str();
    if path.to_bytes() != b"/" {
        let _ = root.open(path, Links::Follow, Missing::MakeDirectory);
    }
}

fn open_terminal(plan: &Plan, root: Root<'_>, channel: &Channel) -> Done<Option<Terminal>> {
    let Streams::Terminal { size } = plan.process.streams else { return Ok(None) };
    let terminal = terminal::open(Place::Root(root), size).at(Step::Terminal)?;
    terminal::bind_console(&root, &terminal).at(Step::Console)?;
    channel.terminal(terminal.controlling.as_fd()).at(Step::Terminal)?;
    Ok(Some(terminal))
}
