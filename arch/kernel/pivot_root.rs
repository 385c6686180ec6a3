//! pivot_root(2), tried in a child with a mount namespace of its own. It cannot work while the root is the
//! initramfs (pivot_root(2), EINVAL): the root is moved over instead. Forks.

use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::refused;
use crate::{Probe, answers, child, mount, pretend};

pub fn probe() -> Probe {
    if pretend::without("pivot_root") {
        return Probe::pretended("pivot_root");
    }
    answers::remembered("pivot_root", &super::root_device(), || look().map(|()| String::new())).map(|_| ())
}

/// Which cannot be exchanged, only covered.
#[allow(clippy::unnecessary_cast)]
pub fn root_is_initramfs() -> bool {
    const RAMFS_MAGIC: u32 = 0x8584_58f6;
    const TMPFS_MAGIC: u32 = 0x0102_1994;
    rustix::fs::statfs("/").is_ok_and(|found| matches!(found.f_type as u32, RAMFS_MAGIC | TMPFS_MAGIC))
}

fn look() -> Probe {
    let answer = match child::in_child(libc::CLONE_NEWNS, pivot) {
        Err(Errno::PERM) => child::in_child(libc::CLONE_NEWUSER | libc::CLONE_NEWNS, pivot),
        answer => answer,
    };
    match answer {
        Ok(()) => Probe::available(()),
        Err(error @ Errno::INVAL) => {
            refused("pivot_root", error, "the host runs from its initramfs; roots are moved over and entered instead")
        }
        Err(error) => refused("pivot_root", error, "run berth as root or allow user namespaces"),
    }
}

/// Whatever is there: /proc is a folder on every Linux, and here nobody else sees it covered.
fn pivot() -> Result<(), Errno> {
    mount::make_rprivate(c"/")?;
    rustix::mount::mount(c"none", c"/proc", c"tmpfs", MountFlags::empty(), None)?;
    rustix::process::chdir(c"/proc")?;
    rustix::process::pivot_root(c".", c".")
}
