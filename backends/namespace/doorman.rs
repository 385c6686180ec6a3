//! Further programs on kernels that have no way into a container: before Linux 3.8 nobody can enter the mount and pid
//! namespaces of others. There the first process, with its root in place, leaves a copy of itself behind before it becomes
//! the program: the doorman, who makes those programs for the container's creator. Nobody else can run any.
//!
//! Each request is a socket with a task on it (`task.rs`). The doorman clones a waiter for it, the waiter the program, and its
//! end is the last that comes over the socket. All of them are as little of the container's as what enters it elsewhere: not
//! dumpable, every descriptor close-on-exec, nothing of berth's executed inside. The program does not see that it has a child:
//! one that sends no signal when it ends is waited for by none of the usual calls. It can kill it, as root and by a number; then
//! no program can be added any more.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use berth_arch::process::{self, Process};
use oci_spec::runtime::{Capability, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::become_program::{clean_slate, list_descriptors};
use super::exec::second;
use super::foreign::{Further, refuse_agents};
use super::plan::forbid_nodes;
use super::process::{ProcessPlan, setup};
use super::report::{At, Channel, Done, Failure, Packet, Step};
use super::sandbox::Container;
use super::scheduling::Affinity;
use super::task::{self, Streams, Task};
use super::{clone, sys};
use crate::children::Child;
use crate::{Error, ExecChild, Result, Stdio};

/// What all that happens inside for a program may take. Root there can stop the doorman, and must not stop the creator by that.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a container gets one: where nobody outside can enter its mount and pid namespaces, and not if it may trace others,
/// for the doorman has all of root's rights.
pub(super) fn is_wanted(spec: &Spec) -> bool {
    if berth_arch::kernel::setns::probe().is_available() {
        return false;
    }
    let capabilities = spec.process().as_ref().and_then(|process| process.capabilities().as_ref());
    let may = |one| {
        let bounding = capabilities.and_then(|sets| sets.bounding().as_ref());
        bounding.is_none_or(|set| set.contains(&one))
    };
    !may(Capability::SysPtrace) || may(Capability::SysAdmin)
}

/// The creator's end, and the doorman's.
pub(super) fn pair() -> Result<(Channel, Channel)> {
    let (ours, theirs) = Channel::pair().map_err(setup("make a socket pair"))?;
    ours.limit(PATIENCE).map_err(setup("limit the time of a socket"))?;
    Ok((ours, theirs))
}

/// Called by the first process while it still finds the host's /proc.
pub(super) fn open_proc() -> Option<OwnedFd> {
    rustix::fs::open(c"/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Called by the first process when it has its root. `proc` is the host's.
pub(super) fn leave_behind(line: BorrowedFd<'_>, proc: Option<&OwnedFd>) -> Done {
    let Some(proc) = proc else { return Err(Errno::NOENT).at(Step::Clone) };
    clone::spawn_unseen(|| {
        if let Ok((line, proc)) = settle(line, proc.as_fd()) {
            serve(&line, &proc);
        }
    })
    .map(drop)
    .at(Step::Clone)
}

/// With nothing open but what it needs: the program's streams would never end.
fn settle(line: BorrowedFd<'_>, proc: BorrowedFd<'_>) -> rustix::io::Result<(Channel, OwnedFd)> {
    // With users of its own the first process was, for a moment.
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0)?;
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as _, 0)?;
    let _ = rustix::thread::set_name(c"berth-doorman");
    let listed = list_descriptors(proc, c"self/fd");
    let listed = listed.and_then(|list| rustix::io::fcntl_dupfd_cloexec(list, 5).ok());
    let line = rustix::io::fcntl_dupfd_cloexec(line, 5)?;
    let proc = rustix::io::fcntl_dupfd_cloexec(proc, 5)?;
    let kept = (Channel::from_fd(sys::install_cloexec(line.as_fd(), 3)?), sys::install_cloexec(proc.as_fd(), 4)?);
    // Closed by the next step, all at once.
    std::mem::forget((line, proc));
    sys::close_from(5, listed)?;
    let null = rustix::fs::open(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    (0..3).try_for_each(|number| sys::install(null.as_fd(), number))?;
    Ok(kept)
}

/// Until the creator has ended.
fn serve(line: &Channel, proc: &OwnedFd) {
    sys::ignore_children();
    while let Ok(Some(packet)) = line.receive() {
        let Packet::Request(request) = packet else { continue };
        // Without a copy there is no program, which the end of the socket says.
        let _ = clone::spawn(0, None, |_| wait_for_one(UnixStream::from(request), proc));
    }
}

/// The waiter. What it makes of the task needs memory: this process, as the creator, has had one thread.
fn wait_for_one(mut stream: UnixStream, proc: &OwnedFd) {
    sys::reset_signals();
    let Ok((Task::Further { process, spec, devices_enforced, streams }, descriptors)) = task::take(&mut stream) else {
        return;
    };
    let mut descriptors = descriptors.into_iter();
    let Some(channel) = descriptors.next().map(Channel::from_fd) else { return };
    let Some(io) = streams.io(&mut descriptors) else { return };
    let plan =
        ProcessPlan::new(&process, &spec, io).and_then(|mut plan| plan.preserve(descriptors.collect()).map(|()| plan));
    let Ok(mut plan) = plan else {
        return channel.fail(Failure { step: Step::Clone, index: 0, errno: Errno::INVAL });
    };
    forbid_nodes(&mut plan, &spec, devices_enforced, &mut Vec::new());
    let made = clone::spawn(0, None, |_| {
        let ready = clean_slate(false).and_then(|()| task::say_hello(&stream).map_err(errno).at(Step::Clone));
        match ready {
            // The creator takes hold of this process first: later its number may be another's.
            Ok(()) if channel.wait_for_go().is_ok() => second(&plan, proc.as_fd(), &channel),
            Ok(()) => {}
            Err(failure) => channel.fail(failure),
        }
    });
    let made = made.at(Step::Clone);
    if let Err(failure) = made {
        channel.fail(failure);
    }
    // The program has its own copies.
    drop((plan, channel));
    if let Ok(status) = made.map(process::wait) {
        let _ = task::tell_end(&mut stream, status.unwrap_or(libc::SIGKILL));
    }
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// As `exec.rs` does it elsewhere, by the doorman at the other end of `line`.
pub(super) fn run(
    container: &Container,
    line: &Channel,
    spec: &Spec,
    process: &oci_spec::runtime::Process,
    io: Stdio,
    preserved: Vec<OwnedFd>,
) -> Result<Box<dyn ExecChild>> {
    refuse_agents(spec, "exec on a kernel older than Linux 3.8", "leave it out, or use a newer kernel")?;
    let Affinity { initial: None, last: None } = Affinity::new(process)? else {
        return Err(Error::Unavailable("execCPUAffinity: it takes Linux 3.8; leave it out".into()));
    };
    let streams = Streams::of(&io);
    let further = Further::new(process, spec, io, preserved)?;
    let until = Instant::now() + PATIENCE;
    let (mut ours, theirs) = task::pair().map_err(setup("make a socket pair"))?;
    ours.set_write_timeout(Some(PATIENCE)).map_err(setup("limit the time of a socket"))?;
    line.request(theirs.as_fd()).map_err(|_| gone(container))?;
    drop(theirs);
    let (channel, end) = Channel::pair().map_err(setup("make a socket pair"))?;
    let devices_enforced = container.devices_enforced;
    let (process, spec) = (Box::new(process.clone()), Box::new(spec.clone()));
    let task = Task::Further { process, spec, devices_enforced, streams };
    let mut given = vec![end.as_fd()];
    given.extend(further.descriptors());
    let in_vain = || Instant::now() > until || !container.init.is_alive();
    let met = task::give(&mut ours, &task, &given).and_then(|()| task::meet(&ours, in_vain));
    drop(given);
    drop(end);
    // Without one, the reason may still be heard.
    let process = met.ok().and_then(|pid| Process::open(pid, None).ok());
    let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    channel.limit(left).map_err(setup("limit the time of a socket"))?;
    match (further.hear(&channel), process) {
        (Ok(terminal), Some(process)) => Ok(Box::new(Child::told(process, terminal, ours))),
        (Ok(_), None) => Err(gone(container)),
        (Err(Error::Setup { source, .. }), process) if source.kind() == io::ErrorKind::WouldBlock => {
            // Nobody would have it if it went on some day.
            let _ = process.map(|process| process.signal(libc::SIGKILL));
            Err(gone(container))
        }
        (Err(error), _) => Err(error),
    }
}

fn gone(container: &Container) -> Error {
    Error::Unavailable(format!(
        "exec in container {}: what makes programs inside has been killed or stopped there; restart the container",
        container.name
    ))
}
