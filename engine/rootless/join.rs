//! Into the namespaces of a run folder, which are made if they are not there.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use crate::record::{Namespaces, Record, lock_holders};
use crate::{Error, Inside, Result, holder, own};

/// Below the run folder.
const FOLDER: &str = "rootless";

/// Who begins has a lock of it: shared to enter, exclusive to make something to enter.
const START: &str = "start";

/// From outside.
pub(crate) fn enter(run: &Path) -> Result<Inside> {
    let owner = rustix::process::geteuid().as_raw();
    let folder = make_folder(run)?;
    let users = share(&folder)?;
    let found = match follow(&folder)? {
        Some(found) => found,
        None => lead(&folder, &users)?,
    };
    finish(owner, run.to_owned(), users, found)
}

/// Into what is there. Until this process is seen inside, nobody who finds the holder killed makes others.
fn follow(folder: &Path) -> Result<Option<(Record, Namespaces)>> {
    let _beginning = locked(private_file(&folder.join(START)), FlockOperation::LockShared, folder)?;
    let found = look(folder);
    if let Some((_, namespaces)) = &found {
        go(namespaces)?;
    }
    Ok(found)
}

/// Into what somebody else has made meanwhile, what is left of a holder that was killed, or what is new.
fn lead(folder: &Path, users: &File) -> Result<(Record, Namespaces)> {
    let _one = one_at_a_time(folder)?;
    if look(folder).is_none() {
        if let Some((record, found)) = orphaned(folder, users) {
            go(&found)?;
            holder::keep(folder, found.network.as_ref(), record.single.as_deref())?;
            return look(folder).ok_or_else(gone);
        }
        holder::make(folder)?;
    }
    let found = look(folder).ok_or_else(gone)?;
    go(&found.1)?;
    Ok(found)
}

/// From inside, where this process was born.
pub(crate) fn again(owner: u32, run: PathBuf) -> Result<Inside> {
    let folder = make_folder(&run)?;
    let users = share(&folder)?;
    let here = |found: &(Record, Namespaces)| own("user").is_ok_and(|own| own == found.0.user);
    let found = match look(&folder).filter(here) {
        Some(found) => found,
        None => {
            let _one = one_at_a_time(&folder)?;
            match look(&folder).filter(here) {
                Some(found) => found,
                // It was killed.
                None => {
                    let (single, network) = match orphaned(&folder, &users) {
                        Some((record, found)) => (record.single, found.network),
                        None => (Record::read(&folder).and_then(|record| record.single), None),
                    };
                    holder::keep(&folder, network.as_ref(), single.as_deref())?;
                    look(&folder).ok_or_else(gone)?
                }
            }
        }
    };
    finish(owner, run, users, found)
}

fn finish(owner: u32, run: PathBuf, users: File, (record, found): (Record, Namespaces)) -> Result<Inside> {
    let network = found.network.ok_or_else(gone)?;
    Ok(Inside { owner, run, single: record.single, users, network })
}

fn gone() -> Error {
    Error::io("find the keeper of the namespaces")(io::Error::from(io::ErrorKind::NotFound))
}

/// The holder's.
fn look(folder: &Path) -> Option<(Record, Namespaces)> {
    let record = Record::read(folder)?;
    let found = record.open()?;
    Some((record, found))
}

/// Of others that are inside though their holder was killed.
fn orphaned(folder: &Path, users: &File) -> Option<(Record, Namespaces)> {
    let record = Record::read(folder)?;
    let found = lock_holders(users).into_iter().filter_map(|pid| record.of(pid));
    // One that knows the network is the better one.
    let found = found.reduce(|best, other| if best.network.is_some() { best } else { other })?;
    Some((record, found))
}

/// The working directory stays, though every process that enters a mount namespace begins at its root.
fn go(namespaces: &Namespaces) -> Result<()> {
    let path = std::env::current_dir();
    let here: io::Result<OwnedFd> =
        rustix::fs::open(".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(Into::into);
    for (namespace, kind) in
        [(&namespaces.user, CloneFlags::CLONE_NEWUSER), (&namespaces.mount, CloneFlags::CLONE_NEWNS)]
    {
        setns(namespace, kind).map_err(Error::io("enter the namespaces of this run folder's engines"))?;
    }
    // Here this user may.
    berth_arch::kernel::misleading::hide();
    if path.and_then(std::env::set_current_dir).is_err() {
        // One that has no name, or none inside.
        let back = here.and_then(|here| Ok(rustix::process::fchdir(here)?));
        back.map_err(Error::io("go back to the working directory"))?;
    }
    Ok(())
}

fn make_folder(run: &Path) -> Result<PathBuf> {
    let folder = run.join(FOLDER);
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    made.map_err(Error::io(format!("make {}", folder.display())))?;
    // In /tmp anybody may have made it before.
    for path in [run, &folder] {
        let found = std::fs::symlink_metadata(path).map_err(Error::io(format!("look at {}", path.display())))?;
        let own = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0;
        if !own {
            return Err(Error::Unavailable {
                reason: format!("{} belongs to somebody else, or others may write to it", path.display()),
                hint: "remove it, or name another one with --root or XDG_RUNTIME_DIR".into(),
            });
        }
    }
    Ok(folder)
}

/// Of which everybody inside has a shared lock.
pub(crate) fn users_file(folder: &Path) -> io::Result<File> {
    private_file(&folder.join("users"))
}

fn private_file(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Waits for a holder that is just ending, and keeps any other.
fn share(folder: &Path) -> Result<File> {
    locked(users_file(folder), FlockOperation::LockShared, folder)
}

fn one_at_a_time(folder: &Path) -> Result<File> {
    locked(private_file(&folder.join(START)), FlockOperation::LockExclusive, folder)
}

fn locked(file: io::Result<File>, operation: FlockOperation, folder: &Path) -> Result<File> {
    let locked = file.and_then(|file| {
        rustix::io::retry_on_intr(|| flock(&file, operation))?;
        Ok(file)
    });
    locked.map_err(Error::io(format!("lock a file in {}", folder.display())))
}
