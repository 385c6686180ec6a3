//! The process beside: it answers what the filter leaves to it, until nobody is under the filter any more.
#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use crate::answers::{Answer, Answers, Call};
use crate::exchange::{self, LISTENER};
use crate::profiles::Profile;

/// The first word of the supervisor's command line.
pub(crate) const WORD: &str = "supervise";

const NOTIF_FD_SYNC_WAKE_UP: u64 = 1;

/// Becomes the supervisor of process `pid`: a program of its own, with nothing of the other's environment, streams or names.
pub(crate) fn become_it(profile: &Profile, pid: u32, socket: &OwnedFd) -> ! {
    // SAFETY: no arguments.
    unsafe { libc::setsid() };
    if exchange::fetch(pid, socket).is_ok() {
        let mut own = Command::new("/proc/self/exe");
        own.args([WORD, profile.name]).env_clear().current_dir("/");
        let error = own.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).exec();
        eprintln!("old-kernel: start the supervisor: {error}");
    }
    std::process::exit(1)
}

fn listener(request: libc::Ioctl, argument: *mut libc::c_void) -> Result<i32, i32> {
    // SAFETY: callers pass the structure that the request is for.
    match unsafe { libc::ioctl(LISTENER, request, argument) } {
        -1 => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)),
        result => Ok(result),
    }
}

pub(crate) fn run(profile: &'static Profile) -> ExitCode {
    // The parent's other descriptors.
    // SAFETY: nothing in this process owns a descriptor above the listener's yet.
    unsafe { libc::syscall(libc::SYS_close_range, LISTENER + 1, u32::MAX, 0) };
    // Faster where there is one processor for both (6.6).
    let flags = NOTIF_FD_SYNC_WAKE_UP as usize as *mut libc::c_void;
    let _ = listener(libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, flags);
    let Some(answers) = Answers::new(profile) else { return ExitCode::FAILURE };
    loop {
        // The end of the last process under the filter is a hangup, of which RECV knows nothing.
        let mut poll = libc::pollfd { fd: LISTENER, events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure.
        if unsafe { libc::poll(&raw mut poll, 1, -1) } < 0 {
            continue;
        }
        if poll.revents & libc::POLLIN == 0 {
            return ExitCode::SUCCESS;
        }
        // SAFETY: the kernel wants all zeros.
        let mut request: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // ENOENT: the caller was killed meanwhile.
        if listener(libc::SECCOMP_IOCTL_NOTIF_RECV, (&raw mut request).cast()).is_err() {
            continue;
        }
        let call = Call { pid: request.pid, number: request.data.nr as u32, arguments: request.data.args };
        respond(request.id, answers.of(&call));
    }
}

fn respond(id: u64, answer: Answer) {
    let mut response = libc::seccomp_notif_resp { id, val: 0, error: 0, flags: 0 };
    match answer {
        Answer::Continue => response.flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
        Answer::Done => {}
        Answer::Error(errno) => response.error = -errno,
        Answer::File(content, cloexec) => match give(id, &content, cloexec) {
            Ok(()) => return,
            Err(errno) => response.error = -errno,
        },
    }
    // ENOENT: as above.
    let _ = listener(libc::SECCOMP_IOCTL_NOTIF_SEND, (&raw mut response).cast());
}

/// Answers an open(2) with a file of this content.
fn give(id: u64, content: &[u8], cloexec: bool) -> Result<(), i32> {
    let file = memory_file(content).map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
    let mut added = libc::seccomp_notif_addfd {
        id,
        flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
        srcfd: file.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: if cloexec { libc::O_CLOEXEC as u32 } else { 0 },
    };
    listener(libc::SECCOMP_IOCTL_NOTIF_ADDFD, (&raw mut added).cast()).map(drop)
}

fn memory_file(content: &[u8]) -> std::io::Result<File> {
    use std::io::{Seek, Write};
    use std::os::fd::FromRawFd;
    // SAFETY: a constant name.
    let made = unsafe { libc::memfd_create(c"old".as_ptr(), libc::MFD_CLOEXEC) };
    if made < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: it was just opened for us.
    let mut file = unsafe { File::from_raw_fd(made) };
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}
