//! The thin pool that layers are in: one that somebody else made and the configuration names, or one in two files, which is set
//! up when it is needed and goes when nobody uses it any more.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use super::dm::{Control, Info};
use super::held::Held;
use super::settings::{Settings, Source};
use super::thin::{self, BLOCK, PoolStatus, PoolTable};
use super::{NAME, loops};
use crate::error::At;
use crate::tree::{self, Meta};
use crate::{Error, Result};

pub(super) const DATA: &str = ".data";
pub(super) const METADATA: &str = ".metadata";

/// Bytes that files of a pool pretend to have, unless the file system has less.
const FILES_MAX: u64 = 64 << 30;
const FILES_MIN: u64 = 1 << 30;
/// Bytes of metadata for a block of data: 48 and some for snapshots (thin_metadata_size(8)).
const METADATA_EACH: u64 = 64;
const METADATA_MIN: u64 = 4 << 20;

/// How often something is asked again that is on its way out.
const TRIES: u32 = 400;
const PAUSE: Duration = Duration::from_millis(5);

/// A pool that can be used as long as this value is there.
#[derive(Debug)]
pub(super) struct Pool {
    /// device-mapper's.
    pub(super) name: String,
    pub(super) device: u64,
    /// Bytes.
    pub(super) block: u64,
    /// Keeps one in files from going away.
    _held: Option<Held>,
}

impl Pool {
    pub(super) fn status(&self, control: &Control) -> Result<PoolStatus> {
        let target = control.status(&self.name).at("ask for the status of the thin pool", &self.name)?;
        target.as_ref().and_then(PoolStatus::parse).ok_or_else(|| gone(&self.name))
    }
}

fn gone(name: &str) -> Error {
    Error::Unavailable(format!(
        "there is no active thin pool {name}: activate it (vgchange -ay), or make one (lvcreate --type thin-pool)"
    ))
}

/// With the driver's lock.
pub(super) fn open(folder: &Path, settings: &Settings, control: &Control) -> Result<Pool> {
    match &settings.pool {
        Source::Named { name, uuid } => named(folder, settings, control, name, uuid.as_deref()),
        Source::Files => files(folder, settings, control),
    }
}

fn named(folder: &Path, settings: &Settings, control: &Control, given: &str, known: Option<&str>) -> Result<Pool> {
    // LVM puts a pool that has volumes of its own behind another device.
    for name in [given.to_owned(), format!("{given}-tpool")] {
        let Some((info, table)) = look(control, &name)? else { continue };
        let uuid = info.uuid.trim_end_matches("-tpool").trim_end_matches("-pool").to_owned();
        if !table.zeroes {
            return Err(Error::Unavailable(format!(
                "the thin pool {name} hands out blocks with what others wrote in them: turn zeroing on (lvchange --zero y)"
            )));
        }
        match known {
            Some(known) if known != uuid => {
                return Err(Error::Unavailable(format!(
                    "the thin pool {name} is not the one that the layers are in: its UUID is {uuid} and was {known}"
                )));
            }
            Some(_) => {}
            None => {
                let pool = Source::Named { name: given.to_owned(), uuid: Some(uuid) };
                Settings { pool, ..settings.clone() }.write(folder)?;
            }
        }
        return Ok(Pool { name, device: info.device, block: table.block, _held: None });
    }
    Err(gone(given))
}

/// A pool that is active; an error if the name is something else's.
fn look(control: &Control, name: &str) -> Result<Option<(Info, PoolTable)>> {
    let Some(info) = control.info(name).at("look for the thin pool", name)?.filter(|info| info.is_live) else {
        return Ok(None);
    };
    let target = control.table(name).at("look at the thin pool", name)?;
    Ok(target.as_ref().and_then(PoolTable::parse).map(|table| (info, table)))
}

fn files(folder: &Path, settings: &Settings, control: &Control) -> Result<Pool> {
    let name = format!("berth-{}-pool", settings.tag);
    make_files(folder)?;
    let path = folder.join(DATA);
    let data = Meta::of(File::open(&path).at("open", &path)?).at("look at", &path)?;
    for _ in 0..TRIES {
        let Some((info, table)) = look(control, &name)? else {
            match set_up(folder, &name, data.size, control) {
                // The one before is still writing down what it knows, or a call was interrupted.
                Err(error) if error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                    let _ = control.remove(&name, false);
                    std::thread::sleep(PAUSE);
                }
                other => other.at("set up a thin pool in", folder)?,
            }
            continue;
        };
        let Some(held) = Held::new(folder, control, &name, info.device)? else { continue };
        if !loops::find(folder, table.data).is_some_and(|found| found.is_of(&data)) {
            return Err(Error::Unavailable(format!(
                "the thin pool {name} is in use with other files than those in {}: is that a copy of another state?",
                folder.display()
            )));
        }
        return Ok(Pool { name, device: info.device, block: table.block, _held: Some(held) });
    }
    Err(Errno::BUSY).at("set up a thin pool in", folder)
}

/// The kernel refuses a second pool with the same metadata, and a file is never two loop devices.
fn set_up(folder: &Path, name: &str, bytes: u64, control: &Control) -> io::Result<()> {
    let attach = |file: &str| {
        loops::attach(folder, &folder.join(file)).map_err(|error| match error {
            Error::Io { source, .. } => source,
            other => io::Error::other(other.to_string()),
        })
    };
    let (metadata, data) = (attach(METADATA)?, attach(DATA)?);
    Ok(control.create(name, &thin::pool_target(metadata.device, data.device, bytes))?)
}

/// Metadata has its room from the start: a pool whose metadata cannot be written is lost until it is repaired by hand.
fn make_files(folder: &Path) -> Result<()> {
    let (data, metadata) = (folder.join(DATA), folder.join(METADATA));
    if metadata.exists() {
        return match data.exists() {
            true => Ok(()),
            false => Err(Error::Unavailable(format!("{} is gone, and every layer with it", data.display()))),
        };
    }
    let fd = rustix::fs::open(folder, tree::DIRECTORY, Mode::empty()).at("open", folder)?;
    let room = rustix::fs::fstatvfs(&fd).at("look at", folder)?;
    let bytes = room.f_blocks.saturating_mul(room.f_frsize).clamp(FILES_MIN, FILES_MAX) / BLOCK * BLOCK;
    let needed = (bytes / BLOCK * METADATA_EACH).max(METADATA_MIN);
    let make = |name: &str, fill: &dyn Fn(&File) -> io::Result<()>| -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let new = format!("{name}.new");
        let file = File::from(rustix::fs::openat(&fd, &new, flags, Mode::RUSR | Mode::WUSR)?);
        fill(&file)?;
        file.sync_all()?;
        rustix::fs::renameat(&fd, &new, &fd, name)?;
        Ok(rustix::fs::fsync(&fd)?)
    };
    make(DATA, &|file| file.set_len(bytes)).at("make", &data)?;
    make(METADATA, &|file| allocate(file, needed)).at("make", &metadata).inspect_err(|_| {
        let _ = rustix::fs::unlinkat(&fd, format!("{METADATA}.new"), rustix::fs::AtFlags::empty());
        let _ = rustix::fs::unlinkat(&fd, DATA, rustix::fs::AtFlags::empty());
    })
}

/// Room that reads as zeros.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
            use std::os::unix::fs::FileExt;
            let zeros = vec![0; 1 << 20];
            let mut done = 0;
            while done < bytes {
                let part = zeros.len().min((bytes - done) as usize);
                file.write_all_at(&zeros[..part], done)?;
                done += part as u64;
            }
            Ok(())
        }
        other => Ok(other?),
    }
}

/// Whether a pool's name is taken and nobody uses it: what a kernel that cannot remove it later leaves.
pub(super) fn leave(settings: &Settings, control: &Control) {
    if settings.pool == Source::Files && !control.defers() {
        let _ = control.remove(&format!("berth-{}-pool", settings.tag), false);
    }
}

/// Bytes: free for data, and all that there can be. In files, what the file system has left counts too.
pub(super) fn room(folder: &Path, settings: &Settings, pool: &Pool, status: &PoolStatus) -> Result<(u64, u64)> {
    let (used, all) = (status.data.0 * pool.block, status.data.1 * pool.block);
    let free = all.saturating_sub(used);
    if settings.pool != Source::Files {
        return Ok((free, all));
    }
    let found = rustix::fs::statvfs(folder).at(NAME, folder)?;
    let below = found.f_bavail.saturating_mul(found.f_frsize);
    Ok((free.min(below), all.min(used.saturating_add(below))))
}
