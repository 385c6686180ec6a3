//! Device nodes: those that the kernel puts into /dev itself (devtmpfs, 2.6.32), else some of our own. No udev is needed.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use berth_arch::pretend;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::dm::Control;
use crate::error::At;
use crate::tree::Meta;
use crate::{Error, Result};

/// Of our own, below the driver's folder.
const FOLDER: &str = ".nodes";

/// The numbers that device-mapper has had since 2.6.36 (linux/miscdevice.h); opening it loads the module.
const CONTROL: (u32, u32) = (10, 236);

/// Gives a path by which block device `device` can be opened and mounted; the kernel calls it `name`.
pub(super) fn block(folder: &Path, name: &str, device: u64) -> Result<PathBuf> {
    node(folder, name, FileType::BlockDevice, device)
}

pub(super) fn character(folder: &Path, name: &str, device: u64) -> Result<PathBuf> {
    node(folder, name, FileType::CharacterDevice, device)
}

/// Of a device of device-mapper.
pub(super) fn mapped(folder: &Path, device: u64) -> Result<PathBuf> {
    block(folder, &format!("dm-{}", rustix::fs::minor(device)), device)
}

fn node(folder: &Path, name: &str, kind: FileType, device: u64) -> Result<PathBuf> {
    let is_it =
        |path: &Path| Meta::at(CWD, path.as_os_str()).is_ok_and(|meta| meta.kind() == kind && meta.rdev == device);
    let theirs = Path::new("/dev").join(name);
    if !pretend::without("devtmpfs") && is_it(&theirs) {
        return Ok(theirs);
    }
    let letter = if kind == FileType::BlockDevice { 'b' } else { 'c' };
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let own = folder.join(FOLDER).join(format!("{letter}{major}:{minor}"));
    match std::fs::create_dir(folder.join(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error).at("create", folder.join(FOLDER))?,
        _ => {}
    }
    match rustix::fs::mknodat(CWD, &own, kind, Mode::RUSR | Mode::WUSR, device) {
        Err(Errno::EXIST) if is_it(&own) => {}
        other => other.at("make the device node", &own)?,
    }
    Ok(own)
}

/// Opens a device. ENXIO and ENODEV: it is on its way out.
pub(super) fn open(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NOCTTY, Mode::empty())
}

/// Opens what device-mapper is controlled by.
pub(super) fn control(folder: &Path) -> Result<Control> {
    let listed = std::fs::read_to_string("/proc/misc").unwrap_or_default();
    let minor = listed.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [minor, "device-mapper"] => minor.parse().ok(),
        _ => None,
    });
    let device = rustix::fs::makedev(CONTROL.0, minor.unwrap_or(CONTROL.1));
    let path = character(folder, "mapper/control", device)?;
    match open(&path, OFlags::RDWR) {
        Ok(fd) => Ok(Control::new(fd)),
        Err(Errno::NODEV | Errno::NXIO | Errno::NOENT) => Err(Error::Unavailable(
            "the kernel has no device-mapper: load the modules dm-mod and dm-thin-pool, or use a kernel with CONFIG_DM_THIN_PROVISIONING"
                .to_owned(),
        )),
        Err(error) => Err(error).at("open", path),
    }
}
