//! One state root, what runs on it, and its end: everything is removed, and what is left over fails the test.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::call::{Background, Outcome, call};
use super::host::Traces;
use super::net::Net;
use super::user::{Given, User};
use super::{eventually, image, program};

/// Long enough for a slow machine that is busy; short enough that a hang is not waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Embedded,
    Daemon,
}

/// Worlds share the machine; a test that measures the whole host has it alone.
static MACHINE: RwLock<()> = RwLock::new(());

#[expect(dead_code, reason = "the guards are only held")]
enum Share {
    Some(RwLockReadGuard<'static, ()>),
    All(RwLockWriteGuard<'static, ()>),
    /// A second world of a test that has its share already.
    Beside,
}

pub(crate) struct World {
    folder: PathBuf,
    mode: Mode,
    daemon: RefCell<Option<Background>>,
    environment: RefCell<Vec<(String, String)>>,
    net: Net,
    user: Option<User>,
    _share: Share,
}

/// A folder on a file system with a disk behind it: overlay's upper directory may not lie on tmpfs everywhere, and
/// what tests find must hold where users have their state.
pub(crate) fn scratch(prefix: &str) -> PathBuf {
    let named = std::env::var_os("BERTH_TEST_DIR").map(PathBuf::from);
    let usual = ["/var/tmp", env!("CARGO_TARGET_TMPDIR")].map(PathBuf::from);
    let real = |folder: &PathBuf| {
        let kind = rustix::fs::statfs(folder).map(|found| found.f_type as u64);
        kind.is_ok_and(|kind| ![0x0102_1994, 0x794c_7630].contains(&kind))
    };
    let parent = named.into_iter().chain(usual).find(real).expect("a folder on a disk; set BERTH_TEST_DIR");
    let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent).expect("a folder for the test");
    folder.keep()
}

impl World {
    /// A root with the image `box` (busybox) in it.
    pub(crate) fn new(mode: Mode) -> Self {
        let world = Self::bare(mode);
        world.import_box();
        world
    }

    /// A root with nothing in it.
    pub(crate) fn bare(mode: Mode) -> Self {
        Self::make(mode, Share::Some(MACHINE.read().unwrap_or_else(PoisonError::into_inner)), Net::new())
    }

    /// As [`World::new`], with no other world on the machine.
    pub(crate) fn alone(mode: Mode) -> Self {
        let world = Self::make(mode, Share::All(MACHINE.write().unwrap_or_else(PoisonError::into_inner)), Net::new());
        world.import_box();
        world
    }

    /// Another root in the same test, on the same network namespace.
    pub(crate) fn beside(&self, mode: Mode) -> Self {
        Self::make(mode, Share::Beside, self.net.clone())
    }

    fn make(mode: Mode, share: Share, net: Net) -> Self {
        let folder = scratch("bt-");
        fs::create_dir(folder.join("home")).unwrap();
        Self::within(folder, mode, share, net, None)
    }

    /// As [`World::new`], of an ordinary user. None, with the reason, where it cannot be tried.
    pub(crate) fn of_user(mode: Mode, given: Given) -> Option<Self> {
        let world = Self::bare_of_user(mode, given)?;
        world.import_box();
        Some(world)
    }

    /// As [`World::bare`], of an ordinary user.
    pub(crate) fn bare_of_user(mode: Mode, given: Given) -> Option<Self> {
        let folder = scratch("bt-");
        let share = Share::Some(MACHINE.read().unwrap_or_else(PoisonError::into_inner));
        let Some(user) = User::new(&folder, given) else {
            let _ = remove(&folder);
            return None;
        };
        Some(Self::within(folder, mode, share, Net::new(), Some(user)))
    }

    /// Of a world of an ordinary user's.
    pub(crate) fn user(&self) -> &User {
        self.user.as_ref().expect("a world of a user's")
    }

    fn within(folder: PathBuf, mode: Mode, share: Share, net: Net, user: Option<User>) -> Self {
        let world = Self {
            folder,
            mode,
            daemon: RefCell::default(),
            environment: RefCell::default(),
            net,
            user,
            _share: share,
        };
        if mode == Mode::Daemon {
            world.start_daemon();
        }
        world
    }

    pub(crate) fn import_box(&self) {
        self.feed(&["import", "-", "box"], image::busybox()).ok();
    }

    /// With an engine that knows what was set before.
    pub(crate) fn into_mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        if mode == Mode::Daemon {
            self.start_daemon();
        }
        self
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// The state root.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root().join("run/berth.sock")
    }

    /// A path for a file of the test.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// As [`World::path`], as text.
    pub(crate) fn at(&self, name: &str) -> String {
        self.path(name).to_str().expect("temporary folders have plain names").to_owned()
    }

    /// Sets a variable for every later call.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.environment.borrow_mut().push((name.to_owned(), value.to_owned()));
    }

    /// The program with this world's root and a plain environment.
    pub(crate) fn command(&self) -> Command {
        let program = self.user.as_ref().map_or(program().as_path(), User::program);
        let mut command = Command::new(program);
        self.surround(&mut command);
        command
    }

    /// Gives any program this world's surroundings.
    pub(crate) fn surround(&self, command: &mut Command) {
        for name in ["BERTH_HOST", "DOCKER_HOST", "DOCKER_CONTEXT", "BERTH_CONFIG", "BERTH_LOG", "XDG_CONFIG_HOME"] {
            command.env_remove(name);
        }
        command.env("BERTH_ROOT", self.root()).env("HOME", self.folder.join("home")).current_dir(&self.folder);
        command.envs(self.environment.borrow().iter().map(|(name, value)| (name, value)));
        self.go_there(command);
    }

    /// Into the world's network namespace, and to its user.
    pub(crate) fn go_there(&self, command: &mut Command) {
        self.net.enter(command);
        if let Some(user) = &self.user {
            user.enter(command);
        }
    }

    /// The network namespace that is this world's host.
    pub(crate) fn net(&self) -> &Net {
        &self.net
    }

    pub(crate) fn berth(&self, arguments: &[&str]) -> Outcome {
        self.feed(arguments, &[])
    }

    /// `berth run ARGUMENTS`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.berth(&[&["run"], arguments].concat())
    }

    /// `berth run --rm FLAGS box sh -c SCRIPT`, which has to succeed. Returns standard output, trimmed.
    #[track_caller]
    pub(crate) fn sh(&self, flags: &[&str], script: &str) -> String {
        self.berth(&[&["run", "--rm"], flags, &["box", "sh", "-c", script]].concat()).ok().text()
    }

    /// Starts a container of `box` in the background and returns its ID.
    #[track_caller]
    pub(crate) fn start(&self, flags: &[&str], script: &str) -> String {
        let id = self.berth(&[&["run", "-d"], flags, &["box", "sh", "-c", script]].concat()).ok().text();
        assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "not an ID: {id:?}");
        id
    }

    pub(crate) fn feed(&self, arguments: &[&str], input: &[u8]) -> Outcome {
        let mut command = self.command();
        command.args(arguments);
        call(command, input, LIMIT)
    }

    pub(crate) fn with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Outcome {
        let mut command = self.command();
        command.args(arguments).envs(variables.iter().copied());
        call(command, &[], LIMIT)
    }

    pub(crate) fn background(&self, arguments: &[&str]) -> Background {
        let mut command = self.command();
        command.args(arguments);
        Background::start(command)
    }

    /// `berth inspect --format TEMPLATE NAME`.
    #[track_caller]
    pub(crate) fn inspect(&self, name: &str, template: &str) -> String {
        self.berth(&["inspect", "--format", template, name]).ok().text()
    }

    #[track_caller]
    pub(crate) fn until_status(&self, name: &str, status: &str) {
        eventually(&format!("container {name} is {status}"), Duration::from_secs(20), || {
            self.inspect(name, "{{.State.Status}}") == status
        });
    }

    /// A shell line outside, with `berth` on the PATH.
    pub(crate) fn shell(&self, line: &str) -> Outcome {
        let mut command = Command::new("bash");
        self.surround(&mut command);
        command.env("PATH", self.path_with_berth()).args(["-c", line]);
        call(command, &[], LIMIT)
    }

    /// A PATH on which the program is `berth`.
    pub(crate) fn path_with_berth(&self) -> OsString {
        let own = self.path("bin");
        if fs::create_dir(&own).is_ok() {
            std::os::unix::fs::symlink(program(), own.join("berth")).expect("link the program");
        }
        let others = std::env::var_os("PATH").unwrap_or_default();
        std::env::join_paths(std::iter::once(own).chain(std::env::split_paths(&others))).expect("a PATH")
    }

    pub(crate) fn start_daemon(&self) {
        let socket = self.socket();
        let daemon = self.background(&["serve"]);
        let mut daemon = Some(daemon);
        eventually("the daemon listens", Duration::from_secs(20), || {
            if !daemon.as_mut().is_some_and(Background::is_running) {
                panic!("the daemon ended\n{}", daemon.take().unwrap().wait(LIMIT));
            }
            UnixStream::connect(&socket).is_ok()
        });
        *self.daemon.borrow_mut() = daemon;
    }

    pub(crate) fn daemon_pid(&self) -> i32 {
        self.daemon.borrow().as_ref().expect("a daemon runs").pid()
    }

    /// Stops it as an init system would.
    #[track_caller]
    pub(crate) fn stop_daemon(&self) {
        if let Some(daemon) = self.daemon.borrow_mut().take() {
            daemon.signal(Signal::SIGTERM);
            daemon.wait(Duration::from_secs(20)).ended(0);
        }
    }

    pub(crate) fn kill_daemon(&self) {
        if let Some(daemon) = self.daemon.borrow_mut().take() {
            daemon.signal(Signal::SIGKILL);
            daemon.wait(LIMIT);
        }
    }

    /// Removes all containers and says what is wrong after that.
    fn end(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        self.environment.borrow_mut().clear();
        let listed = self.berth(&["ps", "-aq", "--no-trunc"]);
        let ids = listed.lines();
        if listed.code != 0 {
            wrong.push(format!("{listed}"));
        }
        let mut traces = Traces::of(&self.root());
        traces.know(ids.iter().cloned());
        if !ids.is_empty() {
            let names: Vec<&str> = ids.iter().map(String::as_str).collect();
            let removed = self.berth(&[&["rm", "-f"], names.as_slice()].concat());
            if removed.code != 0 {
                wrong.push(format!("{removed}"));
            }
        }
        if let Some(daemon) = self.daemon.borrow_mut().take() {
            daemon.signal(Signal::SIGTERM);
            let ended = daemon.wait(Duration::from_secs(20));
            if ended.code != 0 {
                wrong.push(format!("the daemon's end: {ended}"));
            }
        }
        wrong.extend(traces.left(Duration::from_secs(10)));
        wrong
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.end()));
        if let Some(daemon) = self.daemon.get_mut().take() {
            drop(daemon);
        }
        let mut traces = Traces::of(&self.root());
        traces.erase();
        let keep = std::env::var_os("BERTH_TEST_KEEP").is_some() && std::thread::panicking();
        if keep {
            eprintln!("kept: {}", self.folder.display());
        } else if let Err(error) = remove(&self.folder) {
            eprintln!("remove {}: {error}", self.folder.display());
        }
        let wrong = ended.unwrap_or_else(|_| vec!["the end of the world panicked".to_owned()]);
        if wrong.is_empty() {
            return;
        }
        let report = format!("left over:\n{}", wrong.join("\n"));
        if std::thread::panicking() {
            eprintln!("{report}");
        } else {
            panic!("{report}");
        }
    }
}

/// Without crossing into another file system: a mount that was left over keeps what it shows.
fn remove(folder: &Path) -> std::io::Result<()> {
    let status = Command::new("rm").args(["-rf", "--one-file-system", "--"]).arg(folder).status()?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(status.to_string())) }
}
