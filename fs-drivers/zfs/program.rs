//! Calls of the programs `zfs` and `zpool`. What they refuse is told apart by their words, which have no numbers.

use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use berth_arch::program;
use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;

use super::system;

/// For how long a dataset may be busy: the kernel takes a mount off some time after its last user has ended, and
/// writes out what was written before that.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the program prints. `held` is a lock that has to outlive us if we are killed and the program is not.
pub(super) fn zfs(arguments: &[&str], held: Option<&OwnedFd>) -> io::Result<String> {
    call("zfs", arguments, held)
}

pub(super) fn zpool(arguments: &[&str]) -> io::Result<String> {
    call("zpool", arguments, None)
}

fn call(name: &str, arguments: &[&str], held: Option<&OwnedFd>) -> io::Result<String> {
    let path = program::find(name).ok_or_else(|| io::Error::other(format!("the program {name} is not installed")))?;
    let stdin = match held {
        Some(lock) => lock.try_clone()?.into(),
        None => Stdio::null(),
    };
    let output = Command::new(path).args(arguments).env("LC_ALL", "C").stdin(stdin).output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let reason = program::first_line(&output.stderr);
    Err(io::Error::new(kind(&reason), reason))
}

fn kind(reason: &str) -> ErrorKind {
    const KINDS: &[(&str, ErrorKind)] = &[
        ("does not exist", ErrorKind::NotFound),
        ("already exists", ErrorKind::AlreadyExists),
        ("is busy", ErrorKind::ResourceBusy),
        ("ermission denied", ErrorKind::PermissionDenied),
        ("only be mounted by root", ErrorKind::PermissionDenied),
        ("out of space", ErrorKind::StorageFull),
        ("quota exceeded", ErrorKind::QuotaExceeded),
        ("read-only", ErrorKind::ReadOnlyFilesystem),
    ];
    KINDS.iter().find(|(words, _)| reason.contains(words)).map_or(ErrorKind::Other, |(_, kind)| *kind)
}

/// Destroys the dataset and its snapshots, at once to observers. One that is not there is destroyed. Busy: somebody has it mounted,
/// and is named.
pub(super) fn destroy(dataset: &str, held: Option<&OwnedFd>) -> io::Result<()> {
    let (mut waited, mut pause) = (Duration::ZERO, Duration::from_millis(5));
    loop {
        match zfs(&["destroy", "-r", dataset], held) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ResourceBusy => {
                if waited >= PATIENCE {
                    let holder = system::holder(dataset);
                    let holder = holder.map(|holder| format!("; {holder} has it mounted"));
                    return Err(io::Error::new(error.kind(), format!("{error}{}", holder.unwrap_or_default())));
                }
            }
            other => return other.map(drop),
        }
        std::thread::sleep(pause);
        waited += pause;
        pause = (pause * 2).min(Duration::from_millis(500));
    }
}

/// Waits for the lock of a layer's folder: a program whose caller was killed may still work on the layer.
pub(super) fn hold(folder: &OwnedFd) -> io::Result<()> {
    Ok(retry_on_intr(|| flock(folder, FlockOperation::LockExclusive))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart_by_their_words() {
        for (reason, expected) in [
            ("cannot open 'tank/a@sealed': dataset does not exist", ErrorKind::NotFound),
            ("cannot create 'tank/a/b': parent does not exist", ErrorKind::NotFound),
            ("cannot create snapshot 'tank/a@b': dataset already exists", ErrorKind::AlreadyExists),
            ("cannot destroy 'tank/a': dataset is busy", ErrorKind::ResourceBusy),
            ("cannot create 'tank/a': permission denied", ErrorKind::PermissionDenied),
            ("Permission denied the ZFS utilities must be run as root.", ErrorKind::PermissionDenied),
            ("filesystem successfully created, but it may only be mounted by root", ErrorKind::PermissionDenied),
            ("cannot create 'tank/a': out of space", ErrorKind::StorageFull),
            ("cannot destroy 'tank/a': filesystem has dependent clones", ErrorKind::Other),
        ] {
            assert_eq!(kind(reason), expected, "{reason}");
        }
    }
}
