//! Checkpoint and restore by criu: what of a container is its own, and what is made anew.
//!
//! A restore first makes the container as for a start. Its first process waits at the gate meanwhile: it holds the network
//! namespace that the creator connects. Then criu puts the processes into namespaces of its own making, that network
//! namespace and the container's groups, as children of the creator, and the one that waited is gone.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use berth_arch::kernel_file;
use berth_arch::process::{self, Process};
use oci_spec::runtime::{LinuxNamespaceType, RootBuilder, Spec};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::externals::{self, External, Staged};
use super::process::{Streams, has_own_users, setup};
use super::restrictions::{self, Restrictions, loosened};
use super::sandbox::Container;
use super::{Namespace, actions, clone, make};
use crate::assemble::Assembled;
use crate::criu::{Dump, Restore};
use crate::{Bundle, Checkpoint, Checkpointer, ContainerId, Error, RESTORE_MOUNTS, Restorer, Result, Sandbox, Stdio};

/// In the folder of the images.
const FILE: &str = "berth.json";
const VERSION: u32 = 1;
/// What the images call the container's network namespace.
const NETWORK: &str = "berth-network";

/// What a restore has to know beside the images.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u32,
    /// criu's words for what standard input, output and error lead to; `None` for what is the container's own.
    streams: [Option<String>; 3],
    externals: Vec<External>,
    restrictions: Restrictions,
    /// What the images were made with, and need again.
    tcp_established: bool,
    file_locks: bool,
    external_sockets: bool,
    shell_job: bool,
}

/// A restore that waits for its start.
pub(super) struct Waiting {
    from: Checkpoint,
    written: Written,
    root: Assembled,
    streams: Streams,
}

impl Checkpointer for Container {
    fn checkpoint(&self, to: &Checkpoint, complete: &mut dyn FnMut() -> io::Result<()>) -> Result<()> {
        let Some(spec) = &self.spec else {
            return Err(Error::Unavailable(format!(
                "checkpoint of container {}: only a process that has its specification can make one",
                self.name
            )));
        };
        refuse(spec)?;
        if self.creator.as_ref().is_some_and(|creator| creator.doorman.is_some()) {
            return Err(Error::Unavailable(format!(
                "checkpoint of container {}: a process of berth's runs in it, for nobody can enter containers on this kernel; \
                 it takes Linux 3.8",
                self.name
            )));
        }
        self.refuse_strangers()?;
        let pid = self.init.pid();
        let found = externals::find(pid, &actions::list(spec, &self.cgroup)?)?;
        let mut words: Vec<String> =
            found.iter().enumerate().map(|(index, external)| externals::written(index, external)).collect();
        if let Some(inode) = own_network(pid)? {
            words.push(format!("net[{inode}]:{NETWORK}"));
        }
        let streams = [0, 1, 2].map(|number| stream(pid, number));
        for word in streams.iter().flatten().filter(|word| word.starts_with("file[")) {
            if !words.contains(word) {
                words.push(word.clone());
            }
        }
        let written = Written {
            version: VERSION,
            streams,
            externals: found,
            restrictions: restrictions::of(pid).map_err(setup("read the mounts of the container"))?,
            tcp_established: to.tcp_established,
            file_locks: to.file_locks,
            external_sockets: to.external_sockets,
            shell_job: to.shell_job,
        };
        let path = to.images.join(FILE);
        let text = serde_json::to_vec(&written).map_err(io::Error::from);
        text.and_then(|text| std::fs::write(&path, text)).map_err(setup(format!("write {}", path.display())))?;
        let dump = Dump { pid, freezer: self.cgroup.freezer_directory(), externals: words };
        dump.write(to, complete).inspect_err(|_| {
            // A criu that was killed has not done it.
            if let Some(freezer) = self.cgroup.freezer() {
                let _ = freezer.thaw();
            }
        })
    }
}

impl Container {
    /// What `exec` has started is no descendant of the first process, and would be lost.
    fn refuse_strangers(&self) -> Result<()> {
        let init = self.init.pid();
        let strangers = self.cgroup.pids()?.into_iter().filter(|&pid| !descends(pid, init));
        let strangers: Vec<String> = strangers.map(|pid| pid.to_string()).collect();
        if strangers.is_empty() {
            return Ok(());
        }
        Err(Error::InvalidArgument(format!(
            "checkpoint of container {}: programs that exec has started run in it (processes {}); end them first",
            self.name,
            strangers.join(", ")
        )))
    }

    /// The container is made and connected: the processes of the checkpoint take the place of the one that waits.
    pub(super) fn go_on(&mut self, waiting: Waiting) -> Result<()> {
        let Waiting { from, written, root, streams } = waiting;
        let spec = self.spec.as_ref().ok_or_else(|| Error::InvalidArgument("restore: no specification".into()))?;
        let husk = self.init.pid();
        let network = match own_network(husk)? {
            Some(_) => Some(File::open(format!("/proc/{husk}/ns/net")).map_err(setup("open the network namespace"))?),
            None => None,
        };
        let groups = groups_of(husk)?;
        let scratch = from.work.as_deref().unwrap_or(&from.images).join(RESTORE_MOUNTS);
        let staged = Staged::new(scratch, &actions::list(spec, &self.cgroup)?, &written.externals)?;
        if let Some(gate) = &self.gate {
            let _ = std::fs::remove_file(gate);
        }
        // Its numbers are free, and what it has is let go of, before others come.
        self.init.signal(libc::SIGKILL).map_err(setup("end the process that waited"))?;
        process::wait(husk).map_err(setup("wait for the process that waited"))?;
        let mut inherited: Vec<(String, BorrowedFd<'_>)> = Vec::new();
        if let Some(network) = &network {
            inherited.push((NETWORK.to_owned(), network.as_fd()));
        }
        if let Streams::Pipes(ends) = &streams {
            for (word, end) in written.streams.iter().zip(ends) {
                let Some(word) = word else { continue };
                if !inherited.iter().any(|(known, _)| known == word) {
                    inherited.push((word.clone(), end.as_fd()));
                }
            }
        }
        let restore = Restore { root: root.path(), externals: staged.externals(), inherited, groups };
        let check = |pid| {
            let found = loosened(&written.restrictions, &restrictions::of(pid)?);
            found.map_or(Ok(()), |found| Err(io::Error::other(found)))
        };
        let (pid, terminal) = restore.read(&from, &check)?;
        self.init = Process::open(pid, None).map_err(setup("open the restored process")).inspect_err(|_| {
            clone::end(pid);
        })?;
        self.terminal = terminal;
        Ok(())
    }
}

impl Restorer for Namespace {
    fn restore(&self, id: &ContainerId, bundle: &Bundle, io: Stdio, from: &Checkpoint) -> Result<Box<dyn Sandbox>> {
        refuse(&bundle.spec)?;
        let written = read(from)?;
        let from = Checkpoint {
            tcp_established: from.tcp_established || written.tcp_established,
            file_locks: from.file_locks || written.file_locks,
            external_sockets: from.external_sockets || written.external_sockets,
            shell_job: from.shell_job || written.shell_job,
            ..from.clone()
        };
        // criu wants a mount, and here is where both find the same one.
        let root = Assembled::mounted(bundle)?;
        let mut husk = Bundle { rootfs: Vec::new(), ..bundle.clone() };
        let whole = RootBuilder::default()
            .path(root.path())
            .readonly(bundle.spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false))
            .build();
        husk.spec.set_root(Some(whole.map_err(|error| Error::InvalidArgument(format!("root: {error}")))?));
        let mut container = make(id, &husk, nothing()?, true)?;
        container.spec = Some(bundle.spec.clone());
        let waiting = Waiting { from, written, root, streams: Streams::new(io)? };
        if let Some(creator) = &mut container.creator {
            if let Some(husk) = &mut creator.waiting {
                husk.restore = Some(waiting);
            }
            // Of the process that waits, with which it ends.
            creator.doorman = None;
        }
        Ok(Box::new(container))
    }
}

fn read(from: &Checkpoint) -> Result<Written> {
    let path = from.images.join(FILE);
    let bytes = std::fs::read(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::NotFound(format!("checkpoint {}: it is none of berth's ({FILE} is missing)", from.images.display()))
        }
        _ => setup(format!("read {}", path.display()))(error),
    })?;
    let written: Written = serde_json::from_slice(&bytes)
        .map_err(|error| Error::InvalidArgument(format!("{}: {error}", path.display())))?;
    if written.version != VERSION {
        let version = written.version;
        return Err(Error::InvalidArgument(format!("checkpoint {}: its version is {version}", from.images.display())));
    }
    Ok(written)
}

/// What cannot be put back where it was.
fn refuse(spec: &Spec) -> Result<()> {
    let unable = |what: &str| {
        Err(Error::Unavailable(format!("checkpoint and restore: {what}; make the container without that")))
    };
    if has_own_users(spec) {
        return unable("the container has a user namespace of its own");
    }
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let find = |kind| listed.into_iter().flatten().find(|namespace| namespace.typ() == kind);
    if find(LinuxNamespaceType::Pid).is_none() {
        return unable(
            "the container's processes have numbers of the host, which others may have by then (--pid host)",
        );
    }
    let kinds = [
        (LinuxNamespaceType::Pid, "processes (--pid container:...)"),
        (LinuxNamespaceType::Ipc, "IPC (--ipc container:...)"),
        (LinuxNamespaceType::Uts, "host name (--uts container:...)"),
    ];
    match kinds.into_iter().find(|(kind, _)| find(*kind).is_some_and(|namespace| namespace.path().is_some())) {
        Some((_, name)) => unable(&format!("the container shares another one's {name}")),
        None => Ok(()),
    }
}

/// Whether `pid` comes from `init`, or has ended by now. From below, for a list of descendants would lack those that are made
/// meanwhile.
fn descends(mut pid: i32, init: i32) -> bool {
    while pid != init {
        match process::Stat::read(pid) {
            Ok(stat) if stat.has_ended() => return true,
            Ok(stat) if stat.parent > 1 => pid = stat.parent,
            Ok(_) => return false,
            Err(_) => return true,
        }
    }
    true
}

/// The inode of the network namespace of `pid`, unless it is ours.
fn own_network(pid: i32) -> Result<Option<u64>> {
    let inode = |pid: &str| std::fs::metadata(format!("/proc/{pid}/ns/net")).map(|found| found.ino());
    let failed = || setup(format!("look at the network namespace of process {pid}"));
    let (theirs, ours) = (inode(&pid.to_string()).map_err(failed())?, inode("self").map_err(failed())?);
    Ok((theirs != ours).then_some(theirs))
}

/// criu's word for what a standard stream leads to outside of the container: a pipe, or a file of the host's.
fn stream(pid: i32, number: i32) -> Option<String> {
    let path = format!("/proc/{pid}/fd/{number}");
    let link = std::fs::read_link(&path).ok()?;
    let text = link.to_str()?;
    if text.starts_with("pipe:[") {
        return Some(text.to_owned());
    }
    // Mounts of the container itself are known to criu.
    let id = externals::mount_id(&pid.to_string(), number).ok()?;
    let table = std::fs::read(format!("/proc/{pid}/mountinfo")).ok()?;
    if berth_arch::mount::parse_mounts(&table).any(|mount| mount.id == id) || !text.starts_with('/') {
        return None;
    }
    let inode = std::fs::metadata(&path).ok()?.ino();
    Some(format!("file[{id:x}:{inode:x}]"))
}

/// As /proc/PID/cgroup has them: controllers and path.
fn groups_of(pid: i32) -> Result<Vec<(String, PathBuf)>> {
    let path = format!("/proc/{pid}/cgroup");
    let text = match kernel_file::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(setup(format!("read {path}")))?,
    };
    let line = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        Some((controllers.to_owned(), Path::new(path).to_owned()))
    };
    Ok(text.lines().filter_map(line).collect())
}

/// For a process that says and hears nothing.
fn nothing() -> Result<Stdio> {
    let null = || -> Result<OwnedFd> {
        let opened = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        opened.map_err(setup("open /dev/null"))
    };
    Ok(Stdio::Pipes { stdin: null()?, stdout: null()?, stderr: null()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_descends_from_its_parent_and_not_from_its_child() {
        let own = std::process::id() as i32;
        let parent = process::Stat::read(own).unwrap().parent;
        assert!(descends(own, own) && descends(own, parent));
        assert!(!descends(parent, own));
    }
}
