//! From a started process to a monitor with a running container.

use std::ffi::OsString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use berth_backends::AnyBackend;
use berth_backends::Runtime;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use super::log::Log;
use super::network::{Networks, relayed};
use super::own::Own;
use super::streams::{Streams, StreamsId};
use super::{BUFFER, BackOff, Memory, Monitor, Run};
use crate::client::{LOCK, SOCKET};
use crate::config::MonitorConfig;
use crate::files::{self, Lock};
use crate::protocol::{Refusal, RefusalKind, Started};
use crate::spawn::CONNECTIONS_AT_ONCE;
use crate::state::State;

/// Finds a backend by its name, and maybe the program behind it.
type Find = fn(&str, Option<&Runtime>) -> Option<AnyBackend>;

/// The monitor's role of the program. `args` are those after `argv[0]`. Called before anything else is started: no
/// threads, no open descriptors.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    main_with(args, berth_backends::by_name)
}

/// As [`main`], with other backends.
pub fn main_with(args: impl IntoIterator<Item = OsString>, find: Find) -> ExitCode {
    let mut args = args.into_iter();
    let (Some(folder), Some(connections)) = (args.next(), args.next()) else { return usage() };
    let Some(connections) = connections.to_str().and_then(|text| text.parse().ok()) else { return usage() };

    berth_arch::fd::close_inherited();
    let Ok(report) = take_report() else { return ExitCode::FAILURE };
    // A session of its own: the engine's terminal, its job and its end are none of the monitor's business.
    let _ = rustix::process::setsid();
    // What it was executed as is a descriptor's number.
    let _ = rustix::thread::set_name(c"berth-monitor");
    rustix::process::umask(Mode::WGRP | Mode::WOTH);
    remember_panics(Path::new(&folder).join("monitor.log"));

    let born = bear(Path::new(&folder), &report, connections, find);
    let (mut monitor, started) = match born {
        Ok(monitor) => {
            let started = Started::Running { pid: monitor.state.pid, warnings: monitor.state.warnings.clone() };
            (Some(monitor), started)
        }
        Err(refusal) => (None, Started::Refused(refusal)),
    };
    let told = serde_json::to_vec(&started).is_ok_and(|bytes| {
        rustix::io::retry_on_intr(|| rustix::net::send(&report, &bytes, rustix::net::SendFlags::NOSIGNAL)).is_ok()
    });
    drop((started, report));
    match &mut monitor {
        Some(monitor) => {
            monitor.settle_in();
            monitor.serve()
        }
        None => {
            // Nobody is left who would remove it.
            if !told && let Ok(config) = files::read_json::<MonitorConfig>(&Path::new(&folder).join("monitor.json")) {
                super::ending::remove_if_wanted(&config);
            }
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{} is started by the engine, with a container's folder", crate::spawn::ROLE);
    ExitCode::from(2)
}

/// The descriptor for the report is standard output; /dev/null takes its place.
fn take_report() -> io::Result<UnixStream> {
    let report = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stdin())?;
    Ok(report.into())
}

/// Standard error is /dev/null; what a panic says would be lost.
fn remember_panics(path: PathBuf) {
    std::panic::set_hook(Box::new(move |panic| {
        let _ = files::append_line(&path, format!("{panic}\n").as_bytes());
    }));
}

fn refuse(error: impl std::fmt::Display) -> Refusal {
    Refusal { kind: RefusalKind::Failed, message: error.to_string() }
}

fn bear(folder: &Path, report: &UnixStream, connections: usize, find: Find) -> Result<Monitor, Refusal> {
    berth_rootless::enter_again().map_err(refuse)?;
    if let Some(inside) = berth_rootless::inside() {
        berth_network::namespace::set_home(inside.network());
    }
    let config: MonitorConfig = files::read_json(&folder.join("monitor.json")).map_err(refuse)?;
    if let Some(run) = config.events.parent() {
        berth_arch::answers::keep_in(run);
    }
    let backend = find(&config.backend, config.runtime.as_ref())
        .ok_or_else(|| refuse(format!("unknown isolation backend {:?}", config.backend)))?;
    enter(&config.run_folder).map_err(|error| refuse(format!("enter {}: {error}", config.run_folder.display())))?;
    let lock = Lock::take(PathBuf::from(LOCK))
        .map_err(|error| refuse(format!("lock {LOCK} in {}: {error}", config.run_folder.display())))?
        .ok_or_else(|| Refusal {
            kind: RefusalKind::Conflict,
            message: format!("container {} is already running", config.id.short()),
        })?;
    // It had the container's lock. Gone, another one may have found nobody here, and have given away what this one leased;
    // from now on it finds us.
    if has_ended(report) {
        return Err(refuse("the engine that started the container was killed"));
    }
    let listener = listen().map_err(|error| refuse(format!("listen in {}: {error}", config.run_folder.display())))?;
    let signals = signals().map_err(|error| refuse(format!("watch signals: {error}")))?;
    // 3.4; without it, orphans of the container go to the host's init, which is as good.
    let _ = rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1));

    let main_streams = StreamsId(0);
    let streams = vec![Streams::without_ends(main_streams, false, folder)];
    let log = Log::new(&config.log);
    let state = State { restart_count: 0, ..files::read_json(&config.state).unwrap_or_default() };
    let mut monitor = Monitor {
        config,
        backend,
        state,
        sandbox: None,
        run: Run::Fresh,
        main_streams,
        streams,
        next_streams: 1,
        executions: Vec::new(),
        clients: Vec::new(),
        log,
        stop: None,
        shutting_down: false,
        back_off: BackOff::default(),
        idle_terminal_until: None,
        listener: Some(listener),
        listener_rests_until: None,
        lock: Some(lock),
        signals,
        buffer: vec![0; BUFFER],
        own: Own::default(),
        memory: Memory::Unwatched,
        networks: Networks::default(),
    };
    super::volumes::mount_all(&monitor.config).inspect_err(|_| monitor.release())?;
    let count = connections + relayed(&monitor.config.network.ports).count();
    let mut handed = receive(report, count).map_err(|error| refuse(format!("receive connections: {error}")))?;
    monitor.networks.hold(handed.split_off(connections));
    for connection in handed {
        monitor.admit(connection.into());
    }
    match monitor.launch() {
        Ok(()) => Ok(monitor),
        Err(refusal) => {
            monitor.release();
            Err(refusal)
        }
    }
}

/// Whether nobody has the other end any more.
fn has_ended(report: &UnixStream) -> bool {
    let mut fds = [PollFd::new(report, PollFlags::empty())];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

fn enter(folder: &Path) -> io::Result<()> {
    match std::env::set_current_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            std::env::set_current_dir(folder)
        }
        other => other,
    }
}

/// In the working directory: its path may be longer than a socket's address.
fn listen() -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(SOCKET) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            // We hold the lock, so this one is a dead monitor's.
            std::fs::remove_file(SOCKET)?;
            UnixListener::bind(SOCKET)?
        }
        other => other?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn signals() -> nix::Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        mask.add(signal);
    }
    mask.thread_block()?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// Connections and sockets that the engine hands over; see [`crate::spawn_serving`].
fn receive(report: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut handed = Vec::new();
    while handed.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(CONNECTIONS_AT_ONCE))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        let message = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(report, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        if message.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = part {
                handed.extend(fds);
            }
        }
    }
    Ok(handed)
}
