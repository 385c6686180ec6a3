//! A thread with a mount namespace of its own.

#![allow(unsafe_code)]

use rustix::io::Errno;
use rustix::thread::UnshareFlags;

use crate::{Error, Result};

/// Runs `f` in a thread of its own in a new mount namespace, with its own working directory. A panic goes on in
/// the caller. Unavailable where the process may not make mount namespaces.
pub fn in_private_namespace<T: Send>(f: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("mounts".to_owned()).spawn_scoped(scope, || {
            enter()?;
            Ok(f())
        });
        match thread.map(|thread| thread.join()) {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(error) => Err(Error::Unavailable(format!("start a thread for mounts: {error}"))),
        }
    })
}

/// See [`berth_arch::mount::part_with_mounts`].
pub fn part_with_mounts() -> Result<()> {
    berth_arch::mount::part_with_mounts().map_err(refused)
}

fn enter() -> Result<()> {
    // SAFETY: neither flag touches the descriptor table. The thread was just started for this, so that no other
    // code relies on its working directory, root and mounts being those of the process.
    let answer = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS | UnshareFlags::NEWNS) };
    answer.map_err(refused)
}

fn refused(error: Errno) -> Error {
    match error {
        Errno::PERM => Error::Unavailable(
            "make a mount namespace: not permitted; run as root, or let berth enter a user namespace".to_owned(),
        ),
        Errno::INVAL | Errno::NOSYS => {
            Error::Unavailable("make a mount namespace: the kernel has none (CONFIG_NAMESPACES)".to_owned())
        }
        error => Error::Unavailable(format!("make a mount namespace: {error}")),
    }
}
