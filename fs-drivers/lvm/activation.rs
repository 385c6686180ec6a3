//! From a mount as the driver says it to one that the kernel can make: a device, there until its last user is gone.

use std::path::Path;

use berth_arch::mount::Mount;
use rustix::io::Errno;

use super::dm::{Control, Target};
use super::held::Held;
use super::pool::Pool;
use super::record::Record;
use super::{Lvm, NAME, thin};
use crate::error::At;
use crate::{Access, Error, Result};

/// The mount's type until it is activated.
pub(super) const TYPE: &str = "lvm.berth";

/// How often a device is waited for that is just going.
const TRIES: u32 = 400;

const READ: &str = "read";
const WRITE: &str = "write";
const THROW_AWAY: &str = "throw-away";

pub(super) fn word(access: Access) -> &'static str {
    match access {
        Access::ReadOnly => READ,
        Access::ReadWrite => WRITE,
        Access::Throwaway => THROW_AWAY,
    }
}

/// `None` for mounts that need nothing of the kind.
pub fn activate(mount: &Mount) -> Result<Option<(Mount, Held)>> {
    if mount.fstype != TYPE {
        return Ok(None);
    }
    let base = mount.base.as_deref().unwrap_or(Path::new("/"));
    let lvm = Lvm::at(base)?;
    let name = mount.source.to_str().unwrap_or_default();
    let word = mount.options.first().map_or("", String::as_str);
    let mut record = lvm.record(name)?;
    if word != READ && record.sealed.is_some() {
        record.sealed = None;
        record.write(base, name)?;
    }
    let kind = record.filesystem;
    let options = match (&record.sealed, word) {
        (Some(_), _) => kind.sealed_options().to_vec(),
        (None, THROW_AWAY) => [kind.options(), kind.careless_options()].concat(),
        (None, _) => kind.options().to_vec(),
    };
    let held = lvm.activate(name)?;
    let mount = Mount {
        fstype: kind.name().to_owned(),
        source: held.path().to_owned(),
        target: mount.target.clone(),
        // After the word: that owners are mapped.
        options: options.into_iter().map(str::to_owned).chain(mount.options.iter().skip(1).cloned()).collect(),
        base: None,
    };
    Ok(Some((mount, held)))
}

impl Lvm {
    /// The driver of the folder `base`.
    fn at(base: &Path) -> Result<Self> {
        match (base.parent(), base.file_name()) {
            (Some(root), Some(name)) if name == NAME && base.is_dir() => Self::open(root),
            _ => Err(Error::NotFound(base.display().to_string())),
        }
    }

    /// Makes the device of the folder `name`, or finds it.
    pub(super) fn activate(&self, name: &str) -> Result<Held> {
        self.with_pool(|control, pool| {
            let record = self.record(name)?;
            self.activate_record(control, pool, &record, name)
        })
    }

    /// With the lock. The device is called by the layer's `name`, wherever the record is from.
    pub(super) fn activate_record(&self, control: &Control, pool: &Pool, record: &Record, name: &str) -> Result<Held> {
        let device = self.device_name(name);
        let target = thin::thin_target(pool.device, record.device, record.bytes);
        for _ in 0..TRIES {
            if let Some(number) = ready(control, &device, &target).at("make the device", &device)?
                && let Some(held) = Held::new(self.path(), control, &device, number)?
            {
                return Ok(held);
            }
        }
        Err(Errno::BUSY).at("make the device", device)
    }
}

/// The number of a device that is what it has to be. What an interrupted call left is finished, or goes.
fn ready(control: &Control, device: &str, target: &Target) -> Result<Option<u64>, Errno> {
    match control.info(device)? {
        None => match control.create(device, target) {
            // Its name is taken until the one before is gone.
            Err(Errno::BUSY) => return Ok(None),
            other => other?,
        },
        Some(info) if info.is_live && control.table(device)?.as_ref() == Some(target) => {
            return match info.is_suspended.then(|| control.resume(device)) {
                // It went meanwhile.
                Some(Err(Errno::NXIO)) => Ok(None),
                Some(Err(error)) => Err(error),
                None | Some(Ok(())) => Ok(Some(info.device)),
            };
        }
        Some(_) => {
            if control.remove(device, false)? == super::dm::Removal::Busy {
                return Err(Errno::BUSY);
            }
            return Ok(None);
        }
    }
    Ok(control.info(device)?.map(|info| info.device))
}
