//! Making a container in two steps: a first process prepares the ground and clones the one that becomes the program
//! as its sibling (CLONE_PARENT). Needed to join a pid namespace, and for user namespaces. System calls only.
//!
//! With a user namespace the first process makes, with the host's rights and in a mount namespace of its own, the
//! root and all mounts whose sources the container's users may not reach. The second starts in a copy of that.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::io::Result;

use super::become_program::{clean_slate, enter_groups, oom_score, write_file};
use super::clone::{self, Entered};
use super::init;
use super::namespaces::User;
use super::plan::Plan;
use super::report::{At, Channel, Done, Step};
use super::resolve::write_decimal;
use super::rootfs::{self, Side};
use super::sys;

/// The namespaces of the first process itself.
pub(super) fn first_flags(plan: &Plan) -> i32 {
    if plan.namespaces.user.is_some() { libc::CLONE_NEWNS } else { 0 }
}

/// What the first process runs.
pub(super) fn main(plan: &Plan, channel: &Channel, entered: Entered) {
    let result = match &plan.namespaces.user {
        Some(user) => with_user(plan, user, channel, entered),
        None => without_user(plan, channel, entered),
    };
    if let Err(failure) = result {
        channel.fail(failure);
    }
}

fn join_pid(plan: &Plan) -> Done {
    match &plan.namespaces.join_pid {
        Some(namespace) => sys::setns(namespace, libc::CLONE_NEWPID).at(Step::Join),
        None => Ok(()),
    }
}

/// For the processes that are cloned from here on.
fn new_time(plan: &Plan) -> Done {
    let Some(offsets) = &plan.namespaces.new_time else { return Ok(()) };
    sys::unshare(libc::CLONE_NEWTIME).at(Step::TimeOffsets)?;
    if offsets.is_empty() { Ok(()) } else { write_file(c"/proc/self/timens_offsets", offsets).at(Step::TimeOffsets) }
}

fn without_user(plan: &Plan, channel: &Channel, entered: Entered) -> Done {
    join_pid(plan)?;
    new_time(plan)?;
    let flags = plan.namespaces.new | libc::CLONE_PARENT;
    // It inherits the groups, if the clone of this process entered them.
    let second = clone::spawn(flags, None, |_| init::main(plan, channel, entered)).at(Step::Clone)?;
    channel.child(second).at(Step::Clone)
}

fn with_user(plan: &Plan, user: &User, channel: &Channel, entered: Entered) -> Done {
    clean_slate(true)?;
    if entered == Entered::No {
        enter_groups(&plan.groups)?;
    }
    rootfs::propagation(&plan.root)?;
    let root = rootfs::mount_root(&plan.root)?;
    rootfs::perform(&plan.root, root.as_fd(), Side::Outside, channel)?;
    oom_score(&plan.process, channel);
    if let Some(porch) = &plan.root.porch {
        rustix::process::chdir(porch.as_c_str()).at(Step::Rootfs)?;
    }
    join_pid(plan)?;
    new_time(plan)?;
    let mut flags = plan.namespaces.new | libc::CLONE_PARENT;
    match user {
        User::New { .. } => flags |= libc::CLONE_NEWUSER,
        User::Join(namespace) => sys::setns(namespace, libc::CLONE_NEWUSER).at(Step::Join)?,
    }
    let (ours, theirs) = Channel::pair().at(Step::MapUsers)?;
    let second = clone::spawn(flags, None, |_| {
        ours.leave();
        // Nothing is allowed before the maps are there.
        if theirs.wait_for_go().is_ok() {
            init::mapped(plan, channel);
        }
    })
    .at(Step::Clone)?;
    channel.child(second).at(Step::Clone)?;
    if let User::New { users, groups } = user {
        write_map(second, b"/gid_map", groups).at(Step::MapUsers)?;
        write_map(second, b"/uid_map", users).at(Step::MapUsers)?;
    }
    ours.go().at(Step::MapUsers)
}

pub(super) fn write_map(pid: i32, name: &[u8], map: &[u8]) -> Result<()> {
    let mut path = [0_u8; 40];
    path[..6].copy_from_slice(b"/proc/");
    let end = 6 + write_decimal(&mut path[6..], pid.unsigned_abs());
    path[end..end + name.len()].copy_from_slice(name);
    write_file(CStr::from_bytes_until_nul(&path).unwrap_or_default(), map)
}
