//! A container ends with its creator. Nobody but a process itself can have the kernel kill it with its parent, and a
//! runtime's first process does not: so a process waits for the creator's end, to become the runtime that deletes.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::call::Call;
use super::view::View;
use crate::namespace::{clone, setup, sys};
use crate::{Error, Result};

/// The creator's end. Dropped without a word, as the kernel does it, the container is deleted.
#[derive(Debug)]
pub(super) struct Warden(OwnedFd);

impl Warden {
    /// `call` is what it becomes. Makes this process the parent of orphans: the runtime's first process is one.
    pub(super) fn new(call: &Call, lock: OwnedFd) -> Result<Self> {
        let c_string = |text: &[u8]| {
            CString::new(text).map_err(|_| Error::InvalidArgument("runtime: its arguments hold a NUL byte".into()))
        };
        let program = c_string(call.program().as_os_str().as_bytes())?;
        let words = call.arguments().iter().map(|word| c_string(word.as_bytes()));
        let words = std::iter::once(Ok(program.clone())).chain(words).collect::<Result<Vec<_>>>()?;
        let variables =
            std::env::vars_os().map(|(name, value)| c_string(&[name.as_bytes(), b"=", value.as_bytes()].concat()));
        let plan = Plan {
            program,
            words: sys::Strings::new(words),
            environment: sys::Strings::new(variables.collect::<Result<Vec<_>>>()?),
            view: View::new()?,
            lock,
        };
        let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (waits, ours) = pipe.map_err(setup("make a pipe"))?;
        // Not a child: its end is of no interest here. The middle one's end makes it the host's.
        let _ = rustix::process::set_child_subreaper(None);
        let middle = clone::spawn(0, None, |_| {
            let warden = clone::spawn(0, None, |_| plan.main(&waits));
            sys::exit(i32::from(warden.is_err()));
        });
        let ended = middle.map(berth_arch::process::wait);
        let _ = rustix::process::set_child_subreaper(Pid::from_raw(1));
        match ended.map_err(setup("clone a warden"))? {
            Ok(0) => Ok(Self(ours)),
            _ => Err(setup("clone a warden")(Errno::AGAIN)),
        }
    }

    /// There is nothing left to delete.
    pub(super) fn dismiss(self) {
        let _ = rustix::io::write(&self.0, b"x");
    }

    /// The container goes on without whoever held it, as long as this process does.
    pub(super) fn forget(self) {
        std::mem::forget(self);
    }
}

struct Plan {
    program: CString,
    words: sys::Strings,
    environment: sys::Strings,
    view: View,
    /// Held while the runtime deletes, so that nobody removes the folder under it, or finds it made again afterwards.
    lock: OwnedFd,
}

impl Plan {
    /// System calls only.
    fn main(&self, creator: &OwnedFd) {
        const LISTENS: i32 = 3;
        const LOCK: i32 = 4;
        sys::reset_signals();
        let _ = rustix::process::setsid();
        // Nothing of the creator's stays open here: neither its locks nor its pipes.
        let Ok(null) = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) else { return };
        let Ok(creator) = rustix::io::fcntl_dupfd_cloexec(creator, 10) else { return };
        let Ok(lock) = rustix::io::fcntl_dupfd_cloexec(&self.lock, 10) else { return };
        let moved = sys::install(creator.as_fd(), LISTENS).and_then(|()| sys::install(lock.as_fd(), LOCK));
        let nulled = (0..LISTENS).all(|number| sys::install(null.as_fd(), number).is_ok());
        if moved.is_err() || !nulled {
            return;
        }
        let listed = rustix::fs::open(c"/proc/self/fd", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).ok();
        std::mem::forget((creator, null, lock));
        let _ = sys::close_from(LOCK + 1, listed);
        let _ = rustix::process::chdir(c"/");
        if !sys::hears_the_end(LISTENS) {
            sys::exit(0);
        }
        // What the creator was calling is being killed at this moment, too.
        let _ = rustix::event::poll(&mut [], Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 }));
        // The runtime inherits it, and with it the lock.
        if !sys::locks_what_is_there(LOCK) {
            sys::exit(0);
        }
        self.view.enter();
        let _ = sys::execve(&self.program, &self.words, &self.environment);
    }
}
