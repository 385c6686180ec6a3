//! Who answers the kernel: a thread over one device and its helpers, in a process of their own for a container.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use fuser::{Config, Session, SessionACL};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit};

use super::options::Options;
use super::union::{Served, Union};
use crate::tree;

/// The role's name: `argv[0]` of a server.
pub const ROLE: &str = "berth-fuse";
/// What a server says when the layers are open; everything else is why they are not.
pub(super) const READY: u8 = 0;

pub(super) fn open<'a>(base: &Path, words: impl IntoIterator<Item = &'a str>) -> io::Result<Served> {
    let base = rustix::fs::open(base, tree::DIRECTORY, Mode::empty())?;
    Ok(Served::new(Union::open(&base, &Options::parse(words))?))
}

/// Answers until the last mount is gone.
pub(super) fn serve(served: Served, device: OwnedFd) -> io::Result<()> {
    served.linger_on(rustix::io::fcntl_dupfd_cloexec(&device, 3)?);
    let mut config = Config::default();
    config.acl = SessionACL::All;
    Session::from_fd(served, device, SessionACL::All, config)?.run()
}

/// A device without a mount is in an error, as is one whose mount has gone.
pub(super) fn is_mounted(device: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(device, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok() && !fds[0].revents().contains(PollFlags::ERR)
}

/// The server's role of the program. `args` are those after `argv[0]`: the driver's folder and the words of the mount. Standard
/// input is the device, standard output the line to whoever mounts it.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let Some(base) = args.next() else {
        eprintln!("{ROLE} is started by a monitor, with a folder of layers");
        return ExitCode::from(2);
    };
    let words: Vec<_> = args.filter_map(|word| word.into_string().ok()).collect();
    match run(Path::new(&base), &words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(base: &Path, words: &[String]) -> io::Result<()> {
    super::thread::give_large_memory_back();
    // The terminal's signals and the container's end are none of its business.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"berth-fuse");
    let device = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let report = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?);
    let null = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    // Each open file of the container is one here.
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let served = open(base, words.iter().map(String::as_str)).inspect_err(|error| {
        let _ = write!(&report, "open the layers in {}: {error}", base.display());
    })?;
    std::env::set_current_dir("/")?;
    (&report).write_all(&[READY])?;
    if !wait_for_mount(&device, &report)? {
        return Ok(());
    }
    drop(report);
    serve(served, device)
}

/// The kernel tells nobody of a mount. False if whoever wanted to make it has gone.
fn wait_for_mount(device: &OwnedFd, report: &UnixStream) -> io::Result<bool> {
    const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000 };
    loop {
        if is_mounted(device) {
            return Ok(true);
        }
        let mut fds = [PollFd::from_borrowed_fd(report.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&PAUSE)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(is_mounted(device)),
            Err(error) => return Err(error.into()),
        }
    }
}
