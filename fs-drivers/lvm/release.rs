//! Thin devices that go.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use berth_arch::mount;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::dm::Removal;
use super::pool::{self, Pool};
use super::record::Record;
use super::settings::Source;
use super::{Lvm, control, dm, node, thin};
use crate::error::At;
use crate::{Error, Result, tree};

/// A container's mounts go a moment after its last process.
const TRIES: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// Removes the device that the record in the folder `place` names, which is or was the layer `name`'s. Without a record there
/// is none. EBUSY, with who uses it, if it is mounted somewhere.
pub(super) fn device(lvm: &Lvm, place: &str, name: &str) -> Result<()> {
    let record = match lvm.record(place) {
        Err(Error::NotFound(_)) => return Ok(()),
        other => other?,
    };
    let device = lvm.device_name(name);
    if lvm.settings.pool == Source::Files {
        lvm.with_pool(|control, pool| give_back(lvm, control, pool, &record, name))?;
    }
    for _ in 0..TRIES {
        let gone = lvm.with_pool(|control, pool| match control.remove(&device, false).at("remove", &device)? {
            Removal::Gone => match thin::delete(control, &pool.name, record.device) {
                Err(Errno::BUSY) => Ok(false),
                other => other.at("delete the thin device of", lvm.path().join(place)).map(|()| true),
            },
            Removal::Busy | Removal::Deferred => Ok(false),
        })?;
        if gone {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    let number = node::control(lvm.path())?.info(&device).at("look for", &device)?.map(|info| info.device);
    let number = number.map(|device| (rustix::fs::major(device), rustix::fs::minor(device)));
    let user = mount::holder(|mount| Some(mount.device) == number).unwrap_or_else(|| "another program".to_owned());
    let busy = format!("device or resource busy: {user} has it mounted");
    Err(io::Error::new(io::ErrorKind::ResourceBusy, busy)).at("remove", lvm.path().join(name))
}

/// Lets the files of a pool forget what only this device has. A pool keeps what a removed device had for the next.
fn give_back(lvm: &Lvm, dm: &dm::Control, pool: &Pool, record: &Record, name: &str) -> Result<()> {
    let Ok(held) = lvm.activate_record(dm, pool, record, name) else { return Ok(()) };
    // Nobody's who has it mounted.
    if let Ok(device) = node::open(held.path(), OFlags::RDWR | OFlags::EXCL) {
        let _ = control::discard(device, record.bytes);
    }
    Ok(())
}

/// Deletes what interrupted removals left. What is still in use is left to the next.
pub(super) fn sweep(lvm: &Lvm) -> Result<()> {
    lvm.folder.sweep_after(&|aside, name| match device(lvm, aside, name) {
        Err(error) if error.io_kind() == Some(io::ErrorKind::ResourceBusy) => Ok(false),
        other => other.map(|()| true),
    })?;
    let layers = lvm.list_names()?;
    let Ok(control) = node::control(lvm.path()) else { return Ok(()) };
    let _lock = super::lock(lvm.path())?;
    for name in layers {
        let device = lvm.device_name(&name);
        match control.info(&device).at("look for", &device)? {
            // By one that was killed while it made a snapshot.
            Some(info) if info.is_suspended => match control.resume(&device) {
                Err(Errno::NXIO) => {}
                other => other.at("resume", &device)?,
            },
            Some(info) if !info.is_open => drop(control.remove(&device, false).at("remove", &device)?),
            _ => {}
        }
    }
    pool::leave(&lvm.settings, &control);
    Ok(())
}

impl Lvm {
    fn list_names(&self) -> Result<Vec<String>> {
        let names = tree::names(self.folder.fd().as_fd()).at("list", self.path())?;
        Ok(names.iter().filter_map(|name| name.to_str().ok().map(str::to_owned)).collect())
    }
}
