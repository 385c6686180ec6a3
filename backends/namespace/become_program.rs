//! The last steps before the program: streams, limits, identity, capabilities, seccomp, exec. The same for the
//! first program of a container and for further ones. System calls only.

use std::ffi::{CStr, c_ulong};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Access, FileType, Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::process::{Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::capabilities::{LAST, Sets};
use super::process::{ProcessPlan, Streams};
use super::report::{At, Channel, Done, Failure, Step};
use super::sys;
use super::terminal::Terminal;

/// A clean slate, right after the clone.
pub(super) fn clean_slate(dumpable: bool) -> Done {
    if !dumpable {
        // Nobody in a container that is being entered may look at our memory, descriptors or executable.
        let _ = sys::prctl(libc::PR_SET_DUMPABLE, 0, 0);
    }
    let _ = berth_arch::fd::cloexec_from(3);
    sys::reset_signals();
    rustix::process::umask(Mode::empty());
    // Fails for the leader of a group only, which a process that was just cloned is not.
    let _ = rustix::process::setsid();
    Ok(())
}

/// Joins the control groups by writing to their files.
pub(super) fn enter_groups(entries: &[std::os::fd::OwnedFd]) -> Done {
    for (index, entry) in entries.iter().enumerate() {
        rustix::io::write(entry, b"0").map(drop).at_index(Step::Cgroup, index)?;
    }
    Ok(())
}

/// Through this process's own file in the host's /proc. Processes cloned later inherit it.
pub(super) fn oom_score(plan: &ProcessPlan, channel: &Channel) {
    if let Some(score) = &plan.oom_score {
        // Lowering it takes a right that root in a container of its own may not have.
        if let Err(failure) = write_file(c"/proc/self/oom_score_adj", score).at(Step::OomScore) {
            channel.warn(failure);
        }
    }
}

/// As [`oom_score`]; for the next exec of this process only.
pub(super) fn label(plan: &ProcessPlan, proc: BorrowedFd<'_>, path: &CStr) -> Done {
    match &plan.label {
        Some(label) => write_at(proc, path, label).at(Step::Label),
        None => Ok(()),
    }
}

pub(super) fn write_file(path: &CStr, text: &[u8]) -> Result<()> {
    write_at(rustix::fs::CWD, path, text)
}

fn write_at(directory: BorrowedFd<'_>, path: &CStr, text: &[u8]) -> Result<()> {
    let file = rustix::fs::openat(directory, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text).map(drop)
}

/// Standard input, output and error; with a terminal, it controls the session from now on.
pub(super) fn streams(plan: &ProcessPlan, terminal: Option<&Terminal>) -> Done {
    let three = match (&plan.streams, terminal) {
        (Streams::Pipes([stdin, stdout, stderr]), _) => [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
        (Streams::Terminal { .. }, Some(terminal)) => {
            rustix::process::ioctl_tiocsctty(&terminal.program).at(Step::Streams)?;
            [terminal.program.as_fd(); 3]
        }
        (Streams::Terminal { .. }, None) => return Err(Errno::NOTTY).at(Step::Streams),
    };
    for (number, stream) in (0..).zip(three) {
        give(stream, plan);
        sys::install(stream, number).at(Step::Streams)?;
    }
    Ok(())
}

/// A user other than root may open its streams again, as /dev/stdout.
fn give(stream: BorrowedFd<'_>, plan: &ProcessPlan) {
    let Ok(stat) = rustix::fs::fstat(stream) else { return };
    let null = stat.st_rdev == rustix::fs::makedev(1, 3);
    if stat.st_uid != plan.user.as_raw() && !null {
        let _ = rustix::fs::fchown(stream, Some(plan.user), None);
    }
}

pub(super) fn limits(plan: &ProcessPlan, channel: &Channel) -> Done {
    for (index, (resource, limit)) in plan.rlimits.iter().enumerate() {
        let Err(failure) = rustix::process::setrlimit(*resource, *limit).at_index(Step::Rlimit, index) else {
            continue;
        };
        channel.warn(failure);
        // Raising the hard limit takes a right that the host may not have given: then as far as it goes.
        let most = rustix::process::getrlimit(*resource).maximum;
        let nearest = |wanted: Option<u64>| match (wanted, most) {
            (Some(wanted), Some(most)) => Some(wanted.min(most)),
            (wanted, most) => wanted.or(most),
        };
        let limit = Rlimit { current: nearest(limit.current), maximum: nearest(limit.maximum) };
        let _ = rustix::process::setrlimit(*resource, limit);
    }
    Ok(())
}

pub(super) fn surroundings(plan: &ProcessPlan) -> Done {
    let joined = if plan.keep_keyring { Ok(()) } else { sys::join_session_keyring() };
    match joined {
        // Without keyrings, or with the quota used up, the program has none of ours either: they are not inherited
        // by a session of its own.
        Ok(()) | Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS | Errno::DQUOT) => {}
        Err(errno) => return Err(errno).at(Step::Keyring),
    }
    if let Some(persona) = plan.personality {
        sys::personality(persona).at(Step::Personality)?;
    }
    if let Some(policy) = &plan.scheduler {
        sys::set_scheduler(policy).at(Step::Scheduler)?;
    }
    match plan.io_priority {
        Some(priority) => sys::set_io_priority(priority).at(Step::Priority),
        None => Ok(()),
    }
}

/// Ends in the program, or in what kept it from running. The process has its root, streams and limits.
pub(super) fn run(plan: &ProcessPlan, channel: &Channel) -> Failure {
    match last_steps(plan, channel) {
        Ok(()) => execute(plan),
        Err(failure) => failure,
    }
}

fn last_steps(plan: &ProcessPlan, channel: &Channel) -> Done {
    // As root first: the user may not be allowed to go through what leads there.
    let entered = enter_directory(plan);
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true).at(Step::NoNewPrivileges)?;
    } else {
        // Without no_new_privs only CAP_SYS_ADMIN may install a filter, so it has to be there for the rest.
        seccomp(plan, channel)?;
    }
    identity(plan)?;
    if entered.is_err() {
        enter_directory(plan).at(Step::WorkingDirectory)?;
    }
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
    if !plan.outlives {
        // Taking another identity has cleared it. A creator that ended before is seen by its end of the channel.
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        if channel.is_abandoned() {
            sys::exit(1);
        }
    }
    if plan.no_new_privileges {
        seccomp(plan, channel)?;
    }
    Ok(())
}

/// This process's descriptors, below the host's /proc. Opened before the root changes; `None` without that /proc.
pub(super) fn list_descriptors(proc: BorrowedFd<'_>, path: &CStr) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(proc, path, flags, Mode::empty()).ok()
}

/// What is needed until the program runs: the channel, the gate and /dev/null.
pub(super) type Kept<T> = [Option<T>; 3];

/// Only the program's own descriptors and what is to be kept are left open, so that no name below /proc/self/fd leads
/// out. What is kept closes on exec.
pub(super) fn close_rest(
    plan: &ProcessPlan,
    keep: Kept<BorrowedFd<'_>>,
    listed: Option<OwnedFd>,
) -> Done<Kept<OwnedFd>> {
    // First out of the way of the numbers that are given out.
    let above = plan.first_closed(plan.preserved.len());
    let listed = listed.and_then(|list| rustix::io::fcntl_dupfd_cloexec(list, above).ok());
    let mut moved = [None, None, None];
    for (place, fd) in moved.iter_mut().zip(keep) {
        *place = fd.map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, above)).transpose().at(Step::Streams)?;
    }
    let mut next = 3;
    for fd in &plan.preserved {
        sys::install(fd.as_fd(), next).at(Step::Streams)?;
        next += 1;
    }
    let mut kept = [None, None, None];
    for (place, fd) in kept.iter_mut().zip(&moved) {
        if let Some(fd) = fd {
            *place = Some(sys::install_cloexec(fd.as_fd(), next).at(Step::Streams)?);
            next += 1;
        }
    }
    // Closed by the next step, all at once.
    std::mem::forget(moved);
    let _ = sys::close_from(next, listed);
    Ok(kept)
}

/// Looks for the program without running it: who creates a container that another process starts is told what is
/// missing. What only shows when it runs is said at the start.
pub(super) fn find(plan: &ProcessPlan) -> Done {
    let mut errno = Errno::NOENT;
    for candidate in &plan.candidates {
        // Below the working directory, which has not been entered.
        if candidate.to_bytes().first() != Some(&b'/') {
            return Ok(());
        }
        match executable(candidate) {
            Ok(()) => return Ok(()),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(other) => errno = other,
        }
    }
    Err(errno).at(Step::Exec)
}

fn executable(path: &CStr) -> Result<()> {
    rustix::fs::access(path, Access::EXEC_OK)?;
    match FileType::from_raw_mode(rustix::fs::stat(path)?.st_mode) {
        FileType::Directory => Err(Errno::ACCESS),
        _ => Ok(()),
    }
}

fn enter_directory(plan: &ProcessPlan) -> Result<()> {
    rustix::process::chdir(plan.directory.as_c_str())?;
    if sys::working_directory_is_inside() { Ok(()) } else { Err(Errno::NOENT) }
}

fn seccomp(plan: &ProcessPlan, channel: &Channel) -> Done {
    let Some(filter) = &plan.seccomp else { return Ok(()) };
    let installed = filter.install().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    if let Some(listener) = installed.at(Step::Seccomp)? {
        // Nothing of the program runs before the agent is there.
        channel.listener(listener.as_fd()).and_then(|()| channel.wait_for_go()).at(Step::Seccomp)?;
        // Closed by exec: closing may be a call that the agent decides about.
        std::mem::forget(listener);
    }
    Ok(())
}

/// User, groups and capabilities (capabilities(7)). The bounding set goes first, while CAP_SETPCAP is there; the
/// permitted set survives the change of user by keep-capabilities; the ambient set comes last.
fn identity(plan: &ProcessPlan) -> Done {
    if let Some(sets) = &plan.capabilities {
        drop_bounding(sets).at(Step::Capabilities)?;
        rustix::thread::set_keep_capabilities(true).at(Step::Capabilities)?;
    }
    rustix::thread::set_thread_groups(&plan.groups).or_else(not_allowed_but_empty(plan)).at(Step::Credentials)?;
    rustix::thread::set_thread_res_gid(plan.group, plan.group, plan.group).at(Step::Credentials)?;
    rustix::thread::set_thread_res_uid(plan.user, plan.user, plan.user).at(Step::Credentials)?;
    if let Some(sets) = &plan.capabilities {
        rustix::thread::set_keep_capabilities(false).at(Step::Capabilities)?;
        set_capabilities(sets).at(Step::Capabilities)?;
    }
    Ok(())
}

/// In a user namespace with setgroups denied (user_namespaces(7)), no further groups is what there is.
fn not_allowed_but_empty(plan: &ProcessPlan) -> impl FnOnce(Errno) -> Result<()> {
    let none = plan.groups.iter().all(|group| *group == plan.group);
    move |errno| if none && errno == Errno::PERM { Ok(()) } else { Err(errno) }
}

fn drop_bounding(sets: &Sets) -> Result<()> {
    for number in 0..=LAST {
        if sets.bounding >> number & 1 == 1 {
            continue;
        }
        match sys::prctl(libc::PR_CAPBSET_DROP, c_ulong::from(number), 0) {
            Ok(_) => {}
            // The first that this kernel does not know.
            Err(Errno::INVAL) => break,
            // Root without CAP_SETPCAP keeps what it cannot drop only if it does not have it anyway.
            Err(Errno::PERM) if sys::prctl(libc::PR_CAPBSET_READ, c_ulong::from(number), 0) == Ok(0) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn set_capabilities(sets: &Sets) -> Result<()> {
    // What the host did not give us cannot be given on.
    let have = rustix::thread::capabilities(None)?.permitted.bits();
    let known = |bits: u64| CapabilitySet::from_bits_retain(bits & have);
    rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: known(sets.effective),
            permitted: known(sets.permitted),
            inheritable: known(sets.inheritable),
        },
    )?;
    for number in (0..=LAST).filter(|number| (sets.ambient & have) >> number & 1 == 1) {
        let raise = libc::PR_CAP_AMBIENT_RAISE as c_ulong;
        match sys::prctl(libc::PR_CAP_AMBIENT, raise, c_ulong::from(number)) {
            // Before 4.3 there is no ambient set.
            Ok(_) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Tries the candidates as execvp(3) does: a file that may not be executed is remembered, and the search goes on.
fn execute(plan: &ProcessPlan) -> Failure {
    let mut errno = Errno::NOENT;
    for candidate in &plan.candidates {
        match sys::execve(candidate, &plan.arguments, &plan.environment) {
            Errno::NOENT | Errno::NOTDIR if plan.candidates.len() > 1 => {}
            Errno::ACCESS => errno = Errno::ACCESS,
            other => {
                errno = other;
                break;
            }
        }
    }
    Failure { step: Step::Exec, index: 0, errno }
}
