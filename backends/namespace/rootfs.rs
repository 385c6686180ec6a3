//! The root, assembled after the clone: system calls only.
//!
//! Every target is opened inside the root and mounted upon by its descriptor, so that links in an image lead
//! nowhere else, however they are changed meanwhile.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::mount::UnmountFlags;

use super::actions::{Action, MountAction, Planned};
use super::idmap::IdMap;
use super::plan::RootPlan;
use super::report::{At, Channel, Done, Failure, Step};
use super::resolve::{FdPath, Links, Missing, Root, file_system};
use super::{copy_up, sys};

/// PROC_SUPER_MAGIC of linux/magic.h.
pub(super) const PROC_MAGIC: u32 = 0x9fa0;

/// The root's name on the porch.
pub(super) const BEHIND: &CStr = c"root";

/// Which actions: with a user namespace, some are done before it is entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    All,
    Outside,
    Inside,
}

impl Side {
    fn includes(self, planned: &Planned) -> bool {
        match self {
            Self::All => true,
            Self::Outside => planned.outside,
            Self::Inside => !planned.outside,
        }
    }
}

/// Takes the mount namespace out of the host's propagation, as far as the specification asks for.
pub(super) fn propagation(plan: &RootPlan) -> Done {
    if !plan.own_mounts {
        return Ok(());
    }
    if let Some(parent) = &plan.shared_parent {
        return sys::mount(None, parent, None, libc::MS_PRIVATE, None).at(Step::Propagation);
    }
    let kind = if plan.private { libc::MS_PRIVATE } else { libc::MS_SLAVE };
    sys::mount(None, c"/", None, kind | libc::MS_REC, None).at(Step::Propagation)
}

/// Makes the root's own mounts and opens it.
pub(super) fn mount_root(plan: &RootPlan) -> Done<OwnedFd> {
    if let Some(porch) = &plan.porch {
        let index = plan.mounts.len();
        sys::mount(Some(c"tmpfs"), porch, Some(c"tmpfs"), 0, Some(c"mode=755")).at_index(Step::Rootfs, index)?;
        rustix::fs::mkdir(plan.mount_point.as_c_str(), Mode::from_raw_mode(0o755)).at_index(Step::Rootfs, index)?;
    }
    for (index, (mount, target)) in plan.mounts.iter().enumerate() {
        mount.perform(target).at_index(Step::Rootfs, index)?;
    }
    plan.lent.iter().for_each(|fd| sys::close_copy(fd.as_fd()));
    if !plan.own_mounts {
        // What is mounted below from here on does not spread to other mount namespaces.
        let private = libc::MS_PRIVATE | libc::MS_REC;
        sys::mount(None, &plan.mount_point, None, private, None).at_index(Step::Rootfs, plan.mounts.len())?;
    }
    open_directory(&plan.mount_point).at_index(Step::Rootfs, plan.mounts.len())
}

/// The root in a user namespace of its own, where the mounts that were made outside are locked in place and cannot
/// become a root: a copy of them laid over it can. The working directory is the porch.
pub(super) fn unlock_root(plan: &RootPlan) -> Done<OwnedFd> {
    let index = plan.mounts.len();
    sys::mount(Some(BEHIND), BEHIND, None, libc::MS_BIND | libc::MS_REC, None).at_index(Step::Rootfs, index)?;
    open_directory(BEHIND).at_index(Step::Rootfs, index)
}

fn open_directory(path: &CStr) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

pub(super) fn perform(plan: &RootPlan, root: BorrowedFd<'_>, side: Side, channel: &Channel) -> Done {
    let root = Root { directory: root, openat2: plan.openat2 };
    for (index, planned) in plan.actions.iter().enumerate() {
        if !side.includes(planned) {
            continue;
        }
        let action = &planned.action;
        match one(&root, action) {
            Ok(()) => {}
            Err(errno) => {
                let failure = Failure { step: Step::Action, index: index as u16, errno };
                if !tolerable(action, errno) {
                    return Err(failure);
                }
                channel.warn(failure);
            }
        }
    }
    Ok(())
}

fn tolerable(action: &Action, errno: Errno) -> bool {
    matches!(action, Action::Mount(mount) if mount.optional && matches!(errno, Errno::NODEV | Errno::PERM | Errno::NOSYS))
}

fn one(root: &Root<'_>, action: &Action) -> Result<()> {
    match action {
        Action::Mount(mount) => perform_mount(root, mount),
        Action::Device { path, host, mode, device, owner } => make_device(root, path, host, *mode, *device, *owner),
        Action::Link { path, text } => make_link(root, path, text),
        Action::Mask(path) => mask(root, path),
        Action::ReadOnly(path) => make_read_only(root, path),
    }
}

fn perform_mount(root: &Root<'_>, action: &MountAction) -> Result<()> {
    let target = root.open(&action.target, action.links, action.missing)?;
    if !action.in_proc && file_system(&rustix::fs::fstatfs(&target)?) == PROC_MAGIC {
        return Err(Errno::PERM);
    }
    let place = FdPath::new(target.as_fd());
    let mut before = [0; 4096];
    let before = name_of(&place, &mut before)?;
    match (mount_at(root, action, &place), &action.otherwise) {
        (Err(Errno::INVAL | Errno::PERM), Some(otherwise)) => otherwise.perform(place.as_c_str())?,
        (answer, _) => answer?,
    }
    if action.then.is_none() && !action.copy_up {
        return Ok(());
    }
    // The descriptor names what is below the new mount, so that has to be found again.
    let mounted = root.open(&action.target, action.links, Missing::Refuse)?;
    let mut after = [0; 4096];
    if name_of(&FdPath::new(mounted.as_fd()), &mut after)? != before {
        return Err(Errno::XDEV);
    }
    if action.copy_up {
        copy_up::copy(target.as_fd(), mounted.as_fd())?;
    }
    match &action.then {
        Some(then) => then.perform(FdPath::new(mounted.as_fd()).as_c_str()),
        None => Ok(()),
    }
}

/// The mount alone, at `place`.
pub(super) fn mount_at(root: &Root<'_>, action: &MountAction, place: &FdPath) -> Result<()> {
    match (&action.below, &action.owners) {
        (Some(path), owners) => bind_below(root, action.mount.source(), path, owners.as_ref(), place),
        (None, Some(owners)) => owners.bind(action.mount.source(), place.as_c_str()),
        (None, None) => action.mount.perform(place.as_c_str()),
    }
}

/// Binds what is at `path` inside the directory `source`, whose links lead nowhere else.
fn bind_below(root: &Root<'_>, source: &CStr, path: &CStr, owners: Option<&IdMap>, place: &FdPath) -> Result<()> {
    let directory = open_directory(source)?;
    let inside = Root { directory: directory.as_fd(), openat2: root.openat2 };
    let found = inside.open(path, Links::Follow, Missing::Refuse)?;
    let found = FdPath::new(found.as_fd());
    if let Some(owners) = owners {
        return owners.bind(found.as_c_str(), place.as_c_str());
    }
    sys::mount(Some(found.as_c_str()), place.as_c_str(), None, libc::MS_BIND | libc::MS_REC, None)
}

/// Where an open file is. In a folder that is shared with another container names may be exchanged at any time; what
/// follows a mount must not be done to another one.
fn name_of<'b>(file: &FdPath, space: &'b mut [u8; 4096]) -> Result<&'b [u8]> {
    let length = rustix::fs::readlinkat_raw(rustix::fs::CWD, file.as_c_str(), &mut space[..])?;
    Ok(&space[..length])
}

/// The directory that holds `path`, made if need be, and the last component.
fn parent<'p>(root: &Root<'_>, path: &'p CStr, space: &mut [u8; 4096]) -> Result<(OwnedFd, &'p CStr)> {
    let bytes = path.to_bytes_with_nul();
    let slash = bytes.iter().rposition(|&byte| byte == b'/').ok_or(Errno::INVAL)?;
    if slash + 1 >= space.len() {
        return Err(Errno::NAMETOOLONG);
    }
    space[..=slash].copy_from_slice(&bytes[..=slash]);
    space[slash + 1] = 0;
    let directory = CStr::from_bytes_until_nul(space).map_err(|_| Errno::INVAL)?;
    let name = CStr::from_bytes_with_nul(&bytes[slash + 1..]).map_err(|_| Errno::INVAL)?;
    if matches!(name.to_bytes(), b"" | b"." | b"..") {
        return Err(Errno::INVAL);
    }
    Ok((root.open(directory, Links::Follow, Missing::MakeDirectory)?, name))
}

fn make_device(root: &Root<'_>, path: &CStr, host: &CStr, mode: u32, device: u64, owner: (u32, u32)) -> Result<()> {
    let mut space = [0; 4096];
    let (directory, name) = parent(root, path, &mut space)?;
    let kind = FileType::from_raw_mode(mode);
    match rustix::fs::mknodat(&directory, name, kind, Mode::from_raw_mode(mode & 0o7777), device) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let found = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let same = FileType::from_raw_mode(found.st_mode) == kind && found.st_rdev == device;
            return if same { Ok(()) } else { Err(Errno::EXIST) };
        }
        // In a user namespace nodes cannot be made, or would not work.
        Err(Errno::PERM) => return bind_device(root, path, host),
        Err(errno) => return Err(errno),
    }
    if owner == (0, 0) {
        return Ok(());
    }
    let (user, group) = (rustix::fs::Uid::from_raw(owner.0), rustix::fs::Gid::from_raw(owner.1));
    rustix::fs::chownat(&directory, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
}

fn bind_device(root: &Root<'_>, path: &CStr, host: &CStr) -> Result<()> {
    let target = root.open(path, Links::Follow, Missing::MakeFile)?;
    sys::mount(Some(host), FdPath::new(target.as_fd()).as_c_str(), None, libc::MS_BIND, None)
}

fn make_link(root: &Root<'_>, path: &CStr, text: &CStr) -> Result<()> {
    let mut space = [0; 4096];
    let (directory, name) = parent(root, path, &mut space)?;
    match rustix::fs::symlinkat(text, &directory, name) {
        Err(Errno::EXIST) => Ok(()),
        answer => answer,
    }
}

fn mask(root: &Root<'_>, path: &CStr) -> Result<()> {
    let target = match root.open(path, Links::Follow, Missing::Refuse) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Ok(()),
        answer => answer?,
    };
    let directory = FileType::from_raw_mode(rustix::fs::fstat(&target)?.st_mode) == FileType::Directory;
    let place = FdPath::new(target.as_fd());
    if directory {
        sys::mount(Some(c"tmpfs"), place.as_c_str(), Some(c"tmpfs"), libc::MS_RDONLY, Some(c"size=0k,nr_inodes=2"))
    } else {
        sys::mount(Some(c"/dev/null"), place.as_c_str(), None, libc::MS_BIND, None)
    }
}

fn make_read_only(root: &Root<'_>, path: &CStr) -> Result<()> {
    let target = match root.open(path, Links::Follow, Missing::Refuse) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        answer => answer?,
    };
    let place = FdPath::new(target.as_fd());
    sys::mount(Some(place.as_c_str()), place.as_c_str(), None, libc::MS_BIND | libc::MS_REC, None)?;
    let bound = root.open(path, Links::Follow, Missing::Refuse)?;
    remount_read_only(bound.as_fd())
}

/// Read-only, with the other flags as they are: a user namespace may not take them off.
fn remount_read_only(mount: BorrowedFd<'_>) -> Result<()> {
    let present = rustix::fs::fstatvfs(mount)?.f_flag.bits() as libc::c_ulong;
    // ST_NOSUID, ST_NODEV and ST_NOEXEC have the values of the mount flags (statvfs(3)).
    let kept = present & (libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC);
    let flags = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY | kept;
    sys::mount(None, FdPath::new(mount).as_c_str(), None, flags, None)
}

/// Makes the root the process's root and lets go of the host's.
pub(super) fn pivot(plan: &RootPlan, root: BorrowedFd<'_>) -> Done {
    if plan.read_only {
        remount_read_only(root).at(Step::PivotRoot)?;
    }
    if !plan.own_mounts {
        return change_root(root).at(Step::PivotRoot);
    }
    let old = match plan.shared_parent {
        Some(_) => Some(open_directory(c"/").at(Step::PivotRoot)?),
        None => None,
    };
    rustix::process::fchdir(root).at(Step::PivotRoot)?;
    let pivoted = if plan.pivot_root { rustix::process::pivot_root(c".", c".") } else { Err(Errno::INVAL) };
    match pivoted {
        // The old root is now stacked upon the new one; the working directory is below it.
        Ok(()) => {
            if let Some(old) = &old {
                // Taking it off must not take it off the host.
                rustix::process::fchdir(old).at(Step::PivotRoot)?;
                sys::mount(None, c".", None, libc::MS_SLAVE | libc::MS_REC, None).at(Step::PivotRoot)?;
            }
            rustix::mount::unmount(c".", UnmountFlags::DETACH).at(Step::PivotRoot)?;
        }
        // EINVAL: the host runs from its initramfs, which cannot be exchanged but mounted over.
        Err(Errno::INVAL | Errno::NOSYS | Errno::PERM) => move_root(plan).at(Step::PivotRoot)?,
        Err(errno) => return Err(errno).at(Step::PivotRoot),
    }
    rustix::process::chdir(c"/").at(Step::PivotRoot)?;
    match plan.final_propagation {
        Some(kind) => sys::mount(None, c"/", None, kind, None).at(Step::Propagation),
        None => Ok(()),
    }
}

/// By chroot(2) alone. The working directory goes along, or it would be a way out.
pub(super) fn change_root(root: BorrowedFd<'_>) -> Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(".")?;
    rustix::process::chdir(c"/")
}

/// The fallback where the host's root is an initramfs. The root covers it and everything mounted below it, and the
/// working directory is in the root, so `..` leads no further up. What can be taken off is, so that the container
/// does not keep the host's file systems busy.
fn move_root(plan: &RootPlan) -> Result<()> {
    for point in &plan.host_mounts {
        let _ = sys::mount(None, point, None, libc::MS_PRIVATE, None);
        let _ = rustix::mount::unmount(point.as_c_str(), UnmountFlags::DETACH);
    }
    sys::mount(Some(c"."), c"/", None, libc::MS_MOVE, None)?;
    rustix::process::chroot(c".")
}
