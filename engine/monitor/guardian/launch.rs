//! Starting the container, the first time and again.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

use berth_arch::mount::{Mount, umount_detach};
use berth_backends::{Bundle, Error as BackendError, Lent, Stdio};
use berth_fs_drivers::fuse::{Activation, Waiting};
use berth_fs_drivers::lvm::{self, Held};
use berth_fs_drivers::mount::{part_with_mounts, perform};
use oci_spec::runtime::Spec;

use super::streams::Connected;
use super::{Memory, Monitor, Run, now};
use crate::files;
use crate::protocol::{Refusal, RefusalKind};
use crate::state::{State, Status, boot_id};

/// Docker's exit code for a container that could not be started.
const EXIT_UNKNOWN: i32 = 128;

impl Monitor {
    /// Creates the sandbox from the bundle on disk and lets its program run. On a refusal nothing is left of it but
    /// the state file.
    pub(super) fn launch(&mut self) -> Result<(), Refusal> {
        let before = self.state.clone();
        let restores = self.config.restore.is_some();
        let mut devices = Vec::new();
        let launched = self.try_launch(&mut devices);
        if restores {
            self.forget_restore();
        }
        match launched {
            Ok(()) => {
                self.networks_event("connect");
                self.event("start", &[]);
                Ok(())
            }
            Err(refusal) => {
                if let Some(mut sandbox) = self.sandbox.take() {
                    let _ = sandbox.delete();
                }
                if matches!(self.run, Run::Fresh) {
                    self.leave_networks();
                }
                self.record_failure(before, &refusal);
                Err(refusal)
            }
        }
    }

    /// `devices`: what has to be there until the caller is done with the sandbox.
    fn try_launch(&mut self, devices: &mut Vec<Placed>) -> Result<(), Refusal> {
        let failed = |what: &str, error: &dyn std::fmt::Display| Refusal {
            kind: RefusalKind::Failed,
            message: format!("{what}: {error}"),
        };
        let path = self.folder().join("config.json");
        let mut spec: Spec = files::read_json(&path).map_err(|error| failed("read the bundle", &error))?;
        if let Some(process) = spec.process_mut().as_mut() {
            self.own.give_back(process);
        }
        let (open_stdin, terminal, size) = (self.config.open_stdin, self.config.terminal, self.config.size);
        let once = self.config.stdin_once;
        let main = self.main_streams;
        let io = {
            let streams = self.streams(main).ok_or_else(|| failed("connect streams", &"they are gone"))?;
            streams.once = once;
            if terminal {
                Stdio::Terminal { size }
            } else {
                let all = Connected { stdin: open_stdin, stdout: true, stderr: true };
                streams.connect_pipes(all).map_err(|error| failed("make pipes", &error))?
            }
        };
        let limits = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let limit = limits.and_then(|limits| limits.memory().as_ref()).and_then(|memory| memory.limit());
        self.memory = if limit.is_some_and(|limit| limit > 0) { Memory::ToBeWatched } else { Memory::Unwatched };
        let active = activate(&self.config.rootfs, &self.config.mount_point)?;
        let (mounts, lent, servers) = (active.mounts, active.lent, active.servers);
        *devices = active.devices;
        let bundle = Bundle {
            mount_point: self.config.mount_point.clone(),
            rootfs: mounts,
            lent: Lent::new(lent),
            spec,
            standalone: None,
        };
        let restores = self.config.restore.is_some();
        let created = self.create(&bundle, io)?;
        drop(bundle);
        // The container's are the only mounts from now on: the servers end with them, and the devices go. But a restore has
        // its root in the monitor's mounts until it is done, above theirs.
        drop(servers);
        if !restores {
            devices.clear();
        }
        let sandbox = self.sandbox.insert(created);

        self.state = State {
            status: Status::Running,
            pid: sandbox.pid(),
            monitor_pid: rustix::process::getpid().as_raw_pid(),
            sandbox: Some(sandbox.saved()),
            started_at: now(),
            finished_at: self.state.finished_at,
            restart_count: self.state.restart_count,
            warnings: sandbox.warnings().to_vec(),
            boot: boot_id(),
            ..State::default()
        };
        // Before the program runs: from here on, whoever finds this file and a free lock knows what to clear away.
        self.save_state();
        self.connect_networks()?;
        let since = Instant::now();
        let Some(sandbox) = &mut self.sandbox else { return Err(failed("start", &"the sandbox is gone")) };
        sandbox.start().map_err(|error| refusal(&error))?;
        if sandbox.pid() != self.state.pid {
            // Restored: another process has taken the place of the one that waited.
            self.state.pid = sandbox.pid();
            self.state.sandbox = Some(sandbox.saved());
            self.save_state();
        }
        let Some(sandbox) = &mut self.sandbox else { return Err(failed("start", &"the sandbox is gone")) };
        if terminal {
            let end = sandbox.take_terminal().ok_or_else(|| failed("open a terminal", &"the backend gave none"))?;
            let streams = self.streams(main).ok_or_else(|| failed("connect streams", &"they are gone"))?;
            streams.connect_terminal(end, open_stdin).map_err(|error| failed("open a terminal", &error))?;
        }
        self.run = Run::Running { since };
        Ok(())
    }

    /// As Docker: a container that has never run stays `created`.
    fn record_failure(&mut self, before: State, refusal: &Refusal) {
        self.state = State {
            status: if before.started_at == 0 { Status::Created } else { Status::Exited },
            pid: 0,
            monitor_pid: 0,
            sandbox: None,
            exit_code: exit_code(refusal.kind),
            error: refusal.message.clone(),
            ..before
        };
        self.save_state();
        self.run = Run::Over;
    }
}

/// What the kernel can mount, and what has to be there until it has.
#[derive(Default)]
struct Active {
    mounts: Vec<Mount>,
    lent: Vec<OwnedFd>,
    servers: Vec<Waiting>,
    devices: Vec<Placed>,
}

/// A device's file system at a place in the monitor's own mounts, where a container binds it from: its control group does not let it open
/// devices, and mount(2) does.
struct Placed {
    place: PathBuf,
    _device: Held,
}

impl Placed {
    fn new(mount: &Mount, device: Held, place: &Path) -> berth_fs_drivers::Result<Self> {
        part_with_mounts()?;
        perform(mount, place)?;
        Ok(Self { place: place.to_owned(), _device: device })
    }

    fn bind(&self) -> Mount {
        Mount {
            fstype: "bind".to_owned(),
            source: self.place.clone(),
            target: "/".into(),
            options: Vec::new(),
            base: None,
        }
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        let _ = umount_detach(&self.place);
    }
}

/// Starts the servers of mounts that need one, each of which is a process of its own: an engine's or a monitor's end is none of
/// theirs. What is left of them is collected like any other child. Makes the devices of mounts that need one.
fn activate(rootfs: &[Mount], place: &Path) -> Result<Active, Refusal> {
    let failed = |error: berth_fs_drivers::Error| Refusal { kind: RefusalKind::Failed, message: error.to_string() };
    let mut active = Active::default();
    for mount in rootfs {
        if let Some(activation) = Activation::of(mount).map_err(failed)? {
            let (mount, starting, _) = activation.in_process(Path::new("/proc/self/exe")).map_err(failed)?;
            let (device, waiting) = starting.lend();
            active.mounts.push(mount);
            active.lent.push(device);
            active.servers.push(waiting);
        } else if let Some((mount, device)) = lvm::activate(mount).map_err(failed)? {
            let placed = Placed::new(&mount, device, place).map_err(failed)?;
            active.mounts.push(placed.bind());
            active.devices.push(placed);
        } else {
            active.mounts.push(mount.clone());
        }
    }
    Ok(active)
}

fn exit_code(kind: RefusalKind) -> i32 {
    match kind {
        RefusalKind::ProgramNotFound => 127,
        RefusalKind::CannotExecute => 126,
        _ => EXIT_UNKNOWN,
    }
}

/// A backend's error in Docker's words.
pub(super) fn refusal(error: &BackendError) -> Refusal {
    let (kind, message) = match error {
        BackendError::NotFound(_) => (RefusalKind::NotFound, error.to_string()),
        BackendError::InvalidArgument(_) => (RefusalKind::InvalidArgument, error.to_string()),
        BackendError::Exec { program, source } => {
            let kind = match source.kind() {
                std::io::ErrorKind::NotFound => RefusalKind::ProgramNotFound,
                _ => RefusalKind::CannotExecute,
            };
            (kind, exec_message(program, source))
        }
        BackendError::Unavailable(_) | BackendError::Setup { .. } => (RefusalKind::Failed, error.to_string()),
    };
    Refusal { kind, message }
}

fn exec_message(program: &str, error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) if program.contains('/') => {
            format!("exec: {program:?}: stat {program}: no such file or directory")
        }
        Some(libc::ENOENT) => format!("exec: {program:?}: executable file not found in $PATH"),
        Some(libc::EACCES) => format!("exec: {program:?}: permission denied"),
        Some(libc::ENOEXEC) => format!("exec: {program:?}: exec format error"),
        Some(libc::EISDIR) => format!("exec: {program:?}: is a directory"),
        _ => format!("exec: {program:?}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_said_as_docker_says_it() {
        let missing = |program: &str| {
            let source = std::io::Error::from_raw_os_error(libc::ENOENT);
            refusal(&BackendError::Exec { program: program.to_owned(), source })
        };
        assert_eq!(missing("foo").message, "exec: \"foo\": executable file not found in $PATH");
        assert_eq!(missing("/foo").message, "exec: \"/foo\": stat /foo: no such file or directory");
        assert_eq!(exit_code(missing("foo").kind), 127);
    }
}
