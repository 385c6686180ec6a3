//! The process that keeps the namespaces. It is this program once more, with next to no memory of its own, and waits
//! in one system call until nobody is inside any more.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use berth_arch::process::Process;
use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::record::{self, Record};
use crate::{Error, ROLE, Result, by_fork, ids, join, own};

/// The first argument: whether namespaces are to be made, or those of the caller kept.
const MAKE: &str = "make";
const KEEP: &str = "keep";

/// Starts a holder with new namespaces. The caller is outside, and has the lock on starting one.
pub(crate) fn make(folder: &Path) -> Result<()> {
    if berth_arch::pretend::without("userns") {
        return Err(no_namespaces(Errno::NOSYS));
    }
    let mut link = start(MAKE, folder, Stdio::null())?;
    match link.hear()? {
        Some(0) => {}
        answer => return Err(no_namespaces(number(answer))),
    }
    let single = ids::map(link.pid)?;
    link.say(single.as_deref().unwrap_or_default())?;
    link.ready()
}

/// Starts one that keeps the user and mount namespace of this process, and `network` or a new one.
pub(crate) fn keep(folder: &Path, network: Option<&OwnedFd>, single: Option<&str>) -> Result<()> {
    let network = network.map(OwnedFd::try_clone).transpose().map_err(Error::io("copy a descriptor"))?;
    let mut link = start(KEEP, folder, network.map_or_else(Stdio::null, Stdio::from))?;
    link.say(single.unwrap_or_default())?;
    link.ready()
}

/// The one who starts it and the holder.
struct Link {
    stream: UnixStream,
    pid: i32,
}

fn start(what: &str, folder: &Path, network: Stdio) -> Result<Link> {
    let failed = |error: io::Error| Error::Io { action: "start the keeper of the namespaces".into(), source: error };
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0(ROLE).arg(what).arg(folder).env_clear();
    command.stdin(OwnedFd::from(theirs)).stdout(network).stderr(Stdio::null());
    let child = by_fork(&mut command).spawn().map_err(failed)?;
    Ok(Link { stream: ours, pid: child.id() as i32 })
}

impl Link {
    /// An error's number, or 0; `None` if it has ended.
    fn hear(&mut self) -> Result<Option<u8>> {
        let mut byte = [0];
        let count = self.stream.read(&mut byte).map_err(Error::io("hear of the keeper of the namespaces"))?;
        Ok((count > 0).then_some(byte[0]))
    }

    fn say(&mut self, text: &str) -> Result<()> {
        let said =
            self.stream.write_all(text.as_bytes()).and_then(|()| self.stream.shutdown(std::net::Shutdown::Write));
        said.map_err(Error::io("tell the keeper of the namespaces"))
    }

    fn ready(&mut self) -> Result<()> {
        match self.hear()? {
            Some(0) => Ok(()),
            answer => Err(Error::io("keep the namespaces")(number(answer))),
        }
    }
}

fn number(answer: Option<u8>) -> Errno {
    answer.map_or(Errno::CHILD, |number| Errno::from_raw_os_error(number.into()))
}

fn no_namespaces(errno: Errno) -> Error {
    let words = |reason: String, hint: Option<String>| Error::Unavailable {
        reason,
        hint: hint.unwrap_or_else(|| "run berth as root".into()),
    };
    match berth_arch::kernel::userns::probe() {
        berth_arch::Probe::Unavailable { reason, hint } => words(reason, hint),
        berth_arch::Probe::Available { .. } => words(format!("make namespaces: {}", io::Error::from(errno)), None),
    }
}

/// The role. `arguments` are those after `argv[0]`. Standard input leads to who starts it, and standard output may be
/// the network namespace to keep.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // A lock among them, or somebody's pipe, would be held for as long as anybody is inside.
    berth_arch::fd::close_inherited();
    let mut arguments = arguments.into_iter();
    let (Some(what), Some(folder)) = (arguments.next(), arguments.next()) else {
        eprintln!("{ROLE} is started by an engine");
        return ExitCode::from(2);
    };
    let Ok(stdin) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { return ExitCode::FAILURE };
    let mut starter = UnixStream::from(stdin);
    let folder = Path::new(&folder);
    let held = hold(&mut starter, what == MAKE, folder);
    let unnumbered = Errno::IO.raw_os_error();
    let code = held.as_ref().map_or_else(|error| error.raw_os_error().unwrap_or(unnumbered), |_| 0);
    let told = starter.write_all(&[code as u8]);
    drop(starter);
    let (Ok(mut users), Ok(())) = (held, told) else { return ExitCode::FAILURE };
    wait(&mut users, folder);
    ExitCode::SUCCESS
}

/// Takes its place, and returns the file that everybody inside has a shared lock on.
fn hold(starter: &mut UnixStream, make: bool, folder: &Path) -> io::Result<std::fs::File> {
    // The terminal, the job and the folder of who started it are none of its business.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"berth-rootless");
    rustix::process::chdir("/")?;
    if make {
        unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
        starter.write_all(&[0])?;
    } else if setns(rustix::stdio::stdout(), CloneFlags::CLONE_NEWNET).is_err() {
        unshare(CloneFlags::CLONE_NEWNET)?;
    }
    let mut single = String::new();
    starter.read_to_string(&mut single)?;
    // Not mapped: whoever was to do it has ended.
    if rustix::process::geteuid().as_raw() != 0 {
        return Err(Errno::PIPE.into());
    }
    let null = std::fs::File::open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    let users = join::users_file(folder)?;
    let itself = Process::open(std::process::id() as i32, None)?;
    let record = Record {
        pid: itself.pid(),
        start_time: itself.start_time(),
        user: own("user")?,
        mount: own("mnt")?,
        network: own("net")?,
        single: (!single.is_empty()).then_some(single),
    };
    record.write(folder)?;
    Ok(users)
}

/// Until nobody is inside. Whoever comes now waits for this process's end, and finds no record.
fn wait(users: &mut std::fs::File, folder: &Path) {
    let _ = rustix::io::retry_on_intr(|| flock(users.as_fd(), FlockOperation::LockExclusive));
    let _ = std::fs::remove_file(record::path(folder));
}
