//! The folder of all containers' states, and how this process protects itself from them.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use berth_backends::ContainerId;
use berth_store::Lock;

/// `--root`: a folder a container, named by its ID, and the locks.
#[derive(Debug)]
pub(crate) struct Root {
    folder: PathBuf,
    named: bool,
}

/// No ID begins with a dot.
const LOCKS: &str = ".locks";

impl Root {
    /// /run/berth-oci, or the user's own for who is not the host's root.
    pub(crate) fn new(named: Option<PathBuf>) -> Self {
        let users = || std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()).map(PathBuf::from);
        let usual = || if is_users() { users() } else { None }.unwrap_or_else(|| "/run".into()).join(crate::ROLE);
        Self { named: named.is_some(), folder: named.unwrap_or_else(usual) }
    }

    pub(crate) fn folder(&self, id: &ContainerId) -> PathBuf {
        self.folder.join(id.as_str())
    }

    /// The name of a container's group, if the specification has none: IDs are unique in one root only.
    pub(crate) fn group(&self, id: &ContainerId) -> anyhow::Result<String> {
        if !self.named {
            return Ok(id.to_string());
        }
        let found = std::fs::metadata(&self.folder).with_context(|| format!("look at {}", self.folder.display()))?;
        Ok(format!("{id}-{:x}", found.ino()))
    }

    /// Held by whoever changes what a container is.
    pub(crate) fn lock(&self, id: &ContainerId) -> anyhow::Result<Lock> {
        Ok(Lock::acquire(&self.folder.join(LOCKS), id.as_str())?)
    }

    /// Whether somebody is changing the container just now.
    pub(crate) fn is_locked(&self, id: &ContainerId) -> bool {
        Lock::is_held(&self.folder.join(LOCKS).join(id.as_str()))
    }

    /// In the order of their names.
    pub(crate) fn ids(&self) -> anyhow::Result<Vec<ContainerId>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("read {}", self.folder.display()))?,
        };
        let names = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut ids: Vec<ContainerId> =
            names.filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok())).collect();
        ids.sort();
        Ok(ids)
    }
}

/// As runc decides it: rootless engines call their runtime as root of a user namespace.
fn is_users() -> bool {
    let user = rustix::process::geteuid();
    let root = std::env::var_os("USER").is_none_or(|name| name == OsStr::new("root"));
    !user.is_root() || (!root && berth_arch::host::User::detect().in_user_namespace)
}

/// Becomes a copy of this program that no container can write to (see [`berth_backends::protected_program`]): a process
/// that enters a container, or whose program is /proc/self/exe, shows it the file that it was executed from. On
/// success this does not return, unless it is such a copy already.
pub(crate) fn protect(arguments: &[OsString]) -> anyhow::Result<()> {
    const PROGRAM: &str = "/proc/self/exe";
    let flags = rustix::fs::statvfs(PROGRAM).context("look at this program")?.f_flag;
    let copied =
        std::fs::read_link(PROGRAM).is_ok_and(|path| path.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"));
    if copied || flags.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
        let _ = rustix::thread::set_name(c"berth-oci");
        return Ok(());
    }
    let Some(program) = berth_backends::protected_program().or_else(berth_backends::sealed_program) else {
        return Ok(());
    };
    let (name, rest) = arguments.split_first().context("no arguments")?;
    let path = format!("/proc/self/fd/{}", program.as_raw_fd());
    Err(Command::new(path).arg0(name).args(rest).exec()).context("execute a protected copy of this program")
}
