//! The engine's side of a monitor's birth: write `monitor.json`, start the process, hear what became of it.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::config::MonitorConfig;
use crate::error::{Error, Result};
use crate::files;
use crate::protocol::Started;

/// The role's name: `argv[0]` of a monitor.
pub const ROLE: &str = "berth-monitor";

/// Connections that travel in one message; the kernel takes at most 253 (SCM_MAX_FD).
pub(crate) const CONNECTIONS_AT_ONCE: usize = 64;

/// Monitors that this process has started and not yet waited for.
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Starts a monitor and returns when its container runs, or is refused.
pub fn spawn(config: &MonitorConfig) -> Result<Started> {
    spawn_serving(config, &[], &[])
}

/// As [`spawn`]. `connections` are served as if they had connected to the monitor's socket, and before the program
/// runs: an [`Attach`](crate::protocol::Request::Attach) whose line has been written into the other end of the pair
/// misses nothing of the output, and a [`Wait`](crate::protocol::Request::Wait) no exit. On an error or a refusal
/// they just end. `ports` are the sockets that hold the ports of `config.network`, in their order.
pub fn spawn_serving(config: &MonitorConfig, connections: &[UnixStream], ports: &[OwnedFd]) -> Result<Started> {
    reap();
    let path = config.folder.join("monitor.json");
    // Whoever asks what becomes of the container may be reading the one of its last run.
    files::write_json(&path, config)?;

    let start = Error::io("start the monitor of", &config.folder);
    let mut child;
    let mut report;
    // A file that no container can write to, should it get hold of it. Where that is not to be had: nothing of berth is
    // executed inside a container, and what runs is busy (ETXTBSY).
    let protected = berth_backends::protected_program();
    {
        let (ours, theirs) = match UnixStream::pair() {
            Ok(pair) => pair,
            Err(error) => return Err(start(error)),
        };
        report = ours;
        let program = protected.as_ref().map(|file| format!("/proc/self/fd/{}", file.as_raw_fd()));
        // Nothing is set that would need fork: posix_spawn does not copy the engine's page tables. The child
        // becomes a session of its own as its first act.
        let mut command = Command::new(program.as_deref().unwrap_or("/proc/self/exe"));
        if let Some((name, value)) = berth_rootless::inside().map(|inside| inside.told()) {
            command.env(name, value);
        }
        let spawned = command
            .arg0(ROLE)
            .arg(&config.folder)
            .arg(connections.len().to_string())
            .stdin(Stdio::null())
            .stdout(OwnedFd::from(theirs))
            .stderr(Stdio::null())
            .spawn();
        child = match spawned {
            Ok(child) => child,
            Err(error) => return Err(start(error)),
        };
    }
    let mut answer = Vec::new();
    let handed = connections.iter().map(AsFd::as_fd).chain(ports.iter().map(AsFd::as_fd)).collect::<Vec<_>>();
    let heard = hand_over(&report, &handed).and_then(|()| {
        // Taking the mount away lasts longer than making it; meanwhile the monitor is at work.
        drop(protected);
        report.read_to_end(&mut answer)
    });
    let ended = matches!(heard, Ok(0) | Err(_));
    let status = if ended { child.wait().ok() } else { None };
    if status.is_none() {
        CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    }
    match heard {
        Err(error) => Err(start(error)),
        Ok(0) => {
            let how = status.map(|status| status.to_string()).unwrap_or_default();
            Err(start(std::io::Error::other(format!("it ended before the container ran ({how})"))))
        }
        Ok(_) => serde_json::from_slice(&answer).map_err(|error| start(error.into())),
    }
}

fn hand_over(report: &UnixStream, handed: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    for fds in handed.chunks(CONNECTIONS_AT_ONCE) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CONNECTIONS_AT_ONCE))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(fds));
        rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(report, &[IoSlice::new(b"c")], &mut control, SendFlags::NOSIGNAL)
        })?;
    }
    Ok(())
}

/// Collects the exit status of monitors that have ended. Every [`spawn`] does it too, so that a process that goes on
/// starting containers needs nothing else; a daemon calls it when it gets SIGCHLD.
pub fn reap() {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}
