//! How the holder is found: a file in the run folder, which is believed only as far as it is true.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use berth_arch::process::Process;
use serde::{Deserialize, Serialize};

/// The holder and what it holds, by the kernel's numbers (of inodes of nsfs).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) pid: i32,
    pub(crate) start_time: u64,
    pub(crate) user: u64,
    pub(crate) mount: u64,
    pub(crate) network: u64,
    /// See [`crate::Inside::single`].
    pub(crate) single: Option<String>,
}

/// What is entered.
#[derive(Debug)]
pub(crate) struct Namespaces {
    pub(crate) user: OwnedFd,
    pub(crate) mount: OwnedFd,
    pub(crate) network: Option<OwnedFd>,
}

pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join("holder.json")
}

impl Record {
    /// `None` if there is none, or one that somebody was killed over.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path(folder)).ok()?).ok()
    }

    pub(crate) fn write(&self, folder: &Path) -> io::Result<()> {
        // Of one at a time: who starts it has a lock.
        let fresh = folder.join("holder.new");
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        serde_json::to_writer(&file, self)?;
        std::fs::rename(fresh, path(folder))
    }

    /// Of the holder, if it lives and is what it was.
    pub(crate) fn open(&self) -> Option<Namespaces> {
        let holder = Process::open(self.pid, Some(self.start_time)).ok()?;
        let found = self.of(self.pid)?;
        let network = open(self.pid, "net", self.network)?;
        holder.is_alive().then_some(Namespaces { network: Some(network), ..found })
    }

    /// Of somebody else inside, whose network is the host's; it may have the other one open.
    pub(crate) fn of(&self, pid: i32) -> Option<Namespaces> {
        // Of our own making: nobody else's process is followed.
        let owner = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            return None;
        }
        let (user, mount) = (open(pid, "user", self.user)?, open(pid, "mnt", self.mount)?);
        Some(Namespaces { user, mount, network: self.lent(pid) })
    }

    fn lent(&self, pid: i32) -> Option<OwnedFd> {
        let wanted = format!("net:[{}]", self.network);
        let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let of_it = |entry: &std::fs::DirEntry| {
            std::fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        };
        entries.flatten().find(of_it).and_then(|entry| File::open(entry.path()).ok()).map(OwnedFd::from)
    }
}

fn open(pid: i32, kind: &str, number: u64) -> Option<OwnedFd> {
    let file = File::open(format!("/proc/{pid}/ns/{kind}")).ok()?;
    (file.metadata().ok()?.ino() == number).then(|| file.into())
}

/// Processes that hold a flock(2) on `file`, as /proc/locks has them (proc_locks(5)); those that inherited one are not there.
pub(crate) fn lock_holders(file: &File) -> Vec<i32> {
    let Ok(found) = file.metadata() else { return Vec::new() };
    let suffix = format!(":{}", found.ino());
    let table = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let holder = |line: &str| {
        // "1: FLOCK  ADVISORY  READ 1234 fd:00:5678 0 EOF"; a waiting one has "->" before its kind.
        let mut fields = line.split_ascii_whitespace().skip(1);
        (fields.next()? == "FLOCK").then_some(())?;
        let pid = fields.nth(2)?.parse().ok()?;
        fields.next()?.ends_with(&suffix).then_some(pid)
    };
    table.lines().filter_map(holder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_a_lock_is_found() {
        let file = tempfile::tempfile().unwrap();
        assert!(lock_holders(&file).is_empty());
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockShared).unwrap();
        assert_eq!(lock_holders(&file), [std::process::id() as i32]);
    }

    #[test]
    fn a_record_of_other_namespaces_is_not_believed() {
        let number = |kind| std::fs::metadata(format!("/proc/self/ns/{kind}")).unwrap().ino();
        let own = Process::open(std::process::id() as i32, None).unwrap();
        let record = Record {
            pid: own.pid(),
            start_time: own.start_time(),
            user: number("user"),
            mount: number("mnt"),
            network: number("net"),
            single: None,
        };
        assert!(record.open().is_some());
        assert!(Record { network: 1, ..record.clone() }.open().is_none());
        assert!(Record { start_time: 1, ..record.clone() }.open().is_none());
        let folder = tempfile::tempdir().unwrap();
        record.write(folder.path()).unwrap();
        assert_eq!(Record::read(folder.path()).map(|record| record.mount), Some(record.mount));
        std::fs::write(path(folder.path()), "{").unwrap();
        assert!(Record::read(folder.path()).is_none());
    }
}
