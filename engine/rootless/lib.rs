//! An engine of somebody who is not root: the namespaces in which it is root with limits.
//!
//! All engines and monitors of one run folder are in one user and one mount namespace, so that they can signal, enter and
//! unmount what each other made. `holder.rs` is a process that does nothing but keep them, and a network namespace for
//! the bridges of containers, for as long as anybody is in; `record.rs` is how others find it, `ids.rs` says who is who
//! inside, `join.rs` goes there. Depends on `arch` alone.

mod holder;
mod ids;
mod join;
mod record;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use berth_arch::host::User;

pub use holder::main;

/// The role's name: `argv[0]` of the process that keeps the namespaces.
pub const ROLE: &str = "berth-rootless";

/// What processes inside are told by those that start them: the owner's number outside, the number of the user
/// namespace that this is true in, and the run folder, separated by colons.
const VARIABLE: &str = "BERTH_ROOTLESS";

const CAP_SYS_ADMIN: u32 = 21;

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This host lets nobody but root do it.
    #[error("run an engine without root (CAP_SYS_ADMIN): {reason}; {hint}")]
    Unavailable { reason: String, hint: String },
    #[error("{action}: {source}")]
    Io { action: String, source: io::Error },
}

impl Error {
    fn io<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { action: action.into(), source: source.into() }
    }
}

/// Where this process is.
#[derive(Debug)]
pub struct Inside {
    owner: u32,
    run: PathBuf,
    /// Why only one user and group are there; `None` if there are others.
    single: Option<String>,
    /// Shared with everybody inside; the holder waits for the last to go.
    users: std::fs::File,
    /// Of the bridges.
    network: OwnedFd,
}

static INSIDE: OnceLock<Inside> = OnceLock::new();

/// The namespaces that this process has entered.
pub fn inside() -> Option<&'static Inside> {
    INSIDE.get()
}

impl Inside {
    /// Where the containers' bridges are: not the host's network namespace, where this process is.
    pub fn network(&self) -> BorrowedFd<'_> {
        self.network.as_fd()
    }

    /// Why containers have one user and one group only; `None` if they have more.
    pub fn single(&self) -> Option<&str> {
        self.single.as_deref()
    }

    /// For the environment of processes that stay inside.
    pub fn told(&self) -> (&'static str, String) {
        (VARIABLE, format!("{}:{}:{}", self.owner, own("user").unwrap_or_default(), self.run.display()))
    }

    /// Keeps the namespaces over an execution of this program, which ends soon.
    pub fn stay(&self) {
        let _ = rustix::io::fcntl_setfd(&self.users, rustix::io::FdFlags::empty());
    }
}

/// `command`, started by fork(2): with a user of its own, which is this one, the standard library does not have the C library
/// start it by clone3, whose answer may mislead (`berth_arch::kernel::misleading`) where this user may set no filter.
fn by_fork(command: &mut Command) -> &mut Command {
    command.uid(rustix::process::geteuid().as_raw())
}

/// The number that whoever runs this program has on the host, where that is not root.
pub fn owner() -> Option<u32> {
    let here = rustix::process::geteuid().as_raw();
    match INSIDE.get().map(|inside| inside.owner).or_else(|| told().map(|(owner, _)| owner)) {
        Some(owner) => (owner != 0).then_some(owner),
        None => (here != 0).then_some(here),
    }
}

/// Enters the namespaces of the run folder `run` unless this process can do without, or is there already. The process
/// has one thread. The working directory and the environment stay.
///
/// # Errors
/// `Unavailable`, with a remedy, where the host does not let users make namespaces.
pub fn enter(run: &Path) -> Result<()> {
    if INSIDE.get().is_some() {
        return Ok(());
    }
    let inside = match told() {
        Some((owner, run)) => join::again(owner, run)?,
        None if User::detect().has_capability(CAP_SYS_ADMIN) => return Ok(()),
        None => join::enter(run)?,
    };
    let _ = INSIDE.set(inside);
    Ok(())
}

/// For a process that was started by one inside and knows no run folder yet.
pub fn enter_again() -> Result<()> {
    match told() {
        Some((_, run)) => enter(&run),
        None => Ok(()),
    }
}

/// What [`VARIABLE`] says, if it is about the namespace that this process is in.
fn told() -> Option<(u32, PathBuf)> {
    let text = std::env::var(VARIABLE).ok()?;
    let mut parts = text.splitn(3, ':');
    let (owner, namespace, run) = (parts.next()?.parse().ok()?, parts.next()?.parse::<u64>().ok()?, parts.next()?);
    (own("user").ok() == Some(namespace)).then(|| (owner, PathBuf::from(run)))
}

/// The number of one of this process's namespaces.
fn own(kind: &str) -> io::Result<u64> {
    Ok(std::fs::metadata(format!("/proc/self/ns/{kind}"))?.ino())
}
