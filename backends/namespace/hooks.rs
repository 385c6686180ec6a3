//! Hooks: programs of whoever wrote the specification, which are told the container's state on standard input (OCI
//! runtime specification, "POSIX-platform Hooks"). Those of the container's namespaces are run by its first process,
//! so running one takes system calls only.
//!
//! What a hook prints goes to /dev/null: where the creator's output goes is the container's own.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use berth_arch::process;
use oci_spec::runtime::{ContainerState, Hook, Spec, State};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::time::{ClockId, clock_gettime};

use super::actions::c_string;
use super::clone;
use super::process::{c_strings, setup};
use super::report::{Done, Failure, Step, above_stdio};
use super::resolve::write_decimal;
use super::sandbox::exit_status;
use super::sys::{self, Strings};
use crate::{ContainerId, Error, Result, Standalone};

/// Hooks of one kind, ready to be run.
struct Prepared {
    /// As the specification calls the kind.
    kind: &'static str,
    hooks: Vec<Program>,
    told: Told,
}

struct Program {
    path: CString,
    arguments: Strings,
    environment: Strings,
    timeout: Option<Duration>,
}

/// The state as JSON, around the process number, which each namespace has its own of.
struct Told {
    before: Vec<u8>,
    after: Vec<u8>,
}

/// The hooks of a container that is being made.
pub(super) struct Hooks {
    /// In the runtime's namespaces, by the creator: prestart, then createRuntime.
    outside: [Prepared; 2],
    create_container: Prepared,
    start_container: Prepared,
    null: OwnedFd,
}

/// Why a hook has not done what it should.
enum Trouble {
    Refused(Errno),
    /// Its exit code, or 128 + signal.
    Ended(i32),
}

/// Exit codes travel in a [`Failure`] above every error number.
const ENDED: i32 = 1000;

impl From<Errno> for Trouble {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

impl Trouble {
    fn errno(&self) -> Errno {
        match self {
            Self::Refused(errno) => *errno,
            Self::Ended(code) => Errno::from_raw_os_error(ENDED + code),
        }
    }
}

fn explained(kind: &str, path: &str, errno: Errno) -> Error {
    let source = match errno.raw_os_error() {
        code if code > ENDED => std::io::Error::other(format!("it ended with code {}", code - ENDED)),
        libc::ETIMEDOUT => std::io::Error::new(std::io::ErrorKind::TimedOut, "it took longer than its timeout"),
        _ => errno.into(),
    };
    Error::Setup { step: format!("run the {kind} hook {path}"), source }
}

impl Prepared {
    fn new(kind: &'static str, hooks: Option<&Vec<Hook>>, told: Told) -> Result<Self> {
        let hooks = hooks.into_iter().flatten().map(|hook| Program::new(kind, hook)).collect::<Result<_>>()?;
        Ok(Self { kind, hooks, told })
    }

    /// Runs them in order, up to the first that fails.
    fn run(&self, pid: i32, null: BorrowedFd<'_>) -> std::result::Result<(), (usize, Trouble)> {
        for (index, hook) in self.hooks.iter().enumerate() {
            hook.run(&self.told, pid, null).map_err(|trouble| (index, trouble))?;
        }
        Ok(())
    }

    fn explain(&self, index: usize, errno: Errno) -> Error {
        let path = self.hooks.get(index).map(|hook| hook.path.to_string_lossy().into_owned());
        explained(self.kind, &path.unwrap_or_default(), errno)
    }

    /// In the container's namespaces, by its first process.
    fn run_inside(&self, step: Step, null: &OwnedFd) -> Done {
        if self.hooks.is_empty() {
            return Ok(());
        }
        // A hook need not read what it is told.
        sys::ignore_broken_pipes();
        let pid = rustix::process::getpid().as_raw_pid();
        let ran = self.run(pid, null.as_fd());
        sys::reset_signals();
        ran.map_err(|(index, trouble)| Failure { step, index: index as u16, errno: trouble.errno() })
    }
}

impl Program {
    fn new(kind: &str, hook: &Hook) -> Result<Self> {
        let path = hook.path();
        if !path.is_absolute() {
            return Err(Error::InvalidArgument(format!("{kind} hook {}: its path has to be absolute", path.display())));
        }
        let timeout = match hook.timeout() {
            None => None,
            Some(seconds) => match u64::try_from(seconds) {
                Ok(seconds) if seconds > 0 => Some(Duration::from_secs(seconds)),
                _ => {
                    let path = path.display();
                    return Err(Error::InvalidArgument(format!("timeout {seconds} of the {kind} hook {path}")));
                }
            },
        };
        let arguments = hook.args().clone().filter(|arguments| !arguments.is_empty());
        let arguments = arguments.unwrap_or_else(|| vec![path.to_string_lossy().into_owned()]);
        Ok(Self {
            path: c_string(path)?,
            arguments: Strings::new(c_strings(arguments, "argument of a hook")?),
            environment: Strings::new(c_strings(hook.env().clone().unwrap_or_default(), "variable of a hook")?),
            timeout,
        })
    }

    /// System calls only.
    fn run(&self, told: &Told, pid: i32, null: BorrowedFd<'_>) -> std::result::Result<(), Trouble> {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let (read, write) = (above_stdio(read)?, above_stdio(write)?);
        rustix::fs::fcntl_setfl(&read, OFlags::empty())?;
        let child = clone::spawn(0, None, |_| self.become_hook(read.as_fd(), null))?;
        drop(read);
        let answer = self.attend(child, told, pid, write);
        if answer.is_err() {
            clone::end(child);
        }
        match exit_status(answer?).code {
            0 => Ok(()),
            code => Err(Trouble::Ended(code)),
        }
    }

    fn become_hook(&self, read: BorrowedFd<'_>, null: BorrowedFd<'_>) {
        for (number, file) in (0..).zip([read, null, null]) {
            if sys::install(file, number).is_err() {
                return;
            }
        }
        let _ = berth_arch::fd::cloexec_from(3);
        sys::reset_signals();
        let missing = sys::execve(&self.path, &self.arguments, &self.environment) == Errno::NOENT;
        // As a shell has it.
        sys::exit(if missing { 127 } else { 126 });
    }

    /// Tells a hook the state while it waits for its end; the status is wait(2)'s.
    fn attend(&self, child: i32, told: &Told, pid: i32, write: OwnedFd) -> std::result::Result<i32, Errno> {
        let mut digits = [0; 10];
        let length = write_decimal(&mut digits, pid.unsigned_abs());
        let parts = [&told.before[..], &digits[..length], &told.after[..]];
        let mut at = (0, 0);
        let mut write = Some(write);
        let (since, mut pause) = (now(), Duration::from_micros(100));
        loop {
            if write.as_ref().is_some_and(|write| !feed(write, &parts, &mut at)) {
                write = None;
            }
            match process::try_wait(child) {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => {}
                Err(error) => return Err(Errno::from_io_error(&error).unwrap_or(Errno::CHILD)),
            }
            if self.timeout.is_some_and(|timeout| now().saturating_sub(since) >= timeout) {
                return Err(Errno::TIMEDOUT);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }
}

/// Writes as much as the pipe takes. False when there is nothing more to be said, or nobody to hear it.
fn feed(pipe: &OwnedFd, parts: &[&[u8]; 3], at: &mut (usize, usize)) -> bool {
    while let Some(part) = parts.get(at.0) {
        if at.1 == part.len() {
            *at = (at.0 + 1, 0);
            continue;
        }
        match rustix::io::write(pipe, &part[at.1..]) {
            Ok(count) => at.1 += count,
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Err(_) => return false,
        }
    }
    false
}

fn now() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

impl Told {
    fn new(state: &State) -> Result<Self> {
        let invalid = |error: serde_json::Error| Error::InvalidArgument(format!("state for hooks: {error}"));
        let mut value = serde_json::to_value(state).map_err(invalid)?;
        value.as_object_mut().and_then(|fields| fields.remove("pid"));
        let mut after = serde_json::to_vec(&value).map_err(invalid)?;
        // The opening brace stands before the number.
        after[0] = b',';
        Ok(Self { before: b"{\"pid\":".to_vec(), after })
    }
}

impl Hooks {
    /// `None` without any that are run before the program is.
    pub(super) fn new(id: &ContainerId, spec: &Spec, standalone: &Standalone) -> Result<Option<Self>> {
        let Some(hooks) = spec.hooks() else { return Ok(None) };
        let told = |status| {
            let mut state = State::default();
            state.set_version(spec.version().clone()).set_id(id.to_string()).set_status(status);
            state.set_bundle(standalone.folder.clone()).set_annotations(spec.annotations().clone());
            Told::new(&state)
        };
        let creating = |kind, hooks| Prepared::new(kind, hooks, told(ContainerState::Creating)?);
        let prepared = Self {
            outside: [
                creating("prestart", hooks.prestart().as_ref())?,
                creating("createRuntime", hooks.create_runtime().as_ref())?,
            ],
            create_container: creating("createContainer", hooks.create_container().as_ref())?,
            start_container: Prepared::new(
                "startContainer",
                hooks.start_container().as_ref(),
                told(ContainerState::Created)?,
            )?,
            null: null()?,
        };
        let [prestart, create_runtime] = &prepared.outside;
        let all = [prestart, create_runtime, &prepared.create_container, &prepared.start_container];
        Ok(all.iter().any(|prepared| !prepared.hooks.is_empty()).then_some(prepared))
    }

    /// Whether the first process has to stop before its root changes.
    pub(super) fn before_pivot(&self) -> bool {
        self.outside.iter().any(|prepared| !prepared.hooks.is_empty())
    }

    /// Those of the runtime's namespaces, for the container whose first process is `pid`.
    pub(super) fn run_outside(&self, pid: i32) -> Result<()> {
        for prepared in &self.outside {
            let ran = prepared.run(pid, self.null.as_fd());
            ran.map_err(|(index, trouble)| prepared.explain(index, trouble.errno()))?;
        }
        Ok(())
    }

    pub(super) fn create_container(&self) -> Done {
        self.create_container.run_inside(Step::CreateContainerHook, &self.null)
    }

    /// `null` is what has become of [`Hooks::null`].
    pub(super) fn start_container(&self, null: &OwnedFd) -> Done {
        self.start_container.run_inside(Step::StartContainerHook, null)
    }

    /// /dev/null, which the first process has to keep when all else is closed.
    pub(super) fn null(&self) -> &OwnedFd {
        &self.null
    }
}

/// What a hook inside did wrong.
pub(super) fn explain(spec: &Spec, failure: Failure) -> Error {
    let hooks = spec.hooks().as_ref();
    let (kind, listed) = match failure.step {
        Step::CreateContainerHook => ("createContainer", hooks.and_then(|hooks| hooks.create_container().as_ref())),
        _ => ("startContainer", hooks.and_then(|hooks| hooks.start_container().as_ref())),
    };
    let path = listed.and_then(|listed| listed.get(usize::from(failure.index))).map(|hook| hook.path().as_path());
    explained(kind, &path.unwrap_or(Path::new("")).display().to_string(), failure.errno)
}

fn null() -> Result<OwnedFd> {
    let opened = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    opened.and_then(above_stdio).map_err(setup("open /dev/null"))
}

/// Runs hooks of the kinds that belong to the runtime and not to the making of a container: `poststart` and
/// `poststop`. Up to the first that fails; [`Error::Setup`] names it.
pub fn run_hooks(kind: &'static str, hooks: Option<&Vec<Hook>>, state: &State) -> Result<()> {
    if hooks.is_none_or(Vec::is_empty) {
        return Ok(());
    }
    let prepared = Prepared::new(kind, hooks, Told::new(state)?)?;
    let ran = prepared.run(state.pid().unwrap_or(0), null()?.as_fd());
    ran.map_err(|(index, trouble)| prepared.explain(index, trouble.errno()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<i64>) -> Vec<Hook> {
        let mut hook = Hook::default();
        hook.set_path("/bin/sh".into())
            .set_args(Some(vec!["sh".into(), "-c".into(), script.into()]))
            .set_timeout(timeout);
        vec![hook]
    }

    #[test]
    fn a_hook_is_told_the_whole_state_however_long_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told");
        let mut state = State::default();
        let long = "x".repeat(300_000);
        state.set_id("one".into()).set_pid(Some(77));
        state.set_annotations(Some([("long".to_owned(), long.clone())].into()));
        run_hooks("poststart", Some(&hook(&format!("cat > {}", file.display()), None)), &state).unwrap();
        let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!((told["id"].as_str(), told["pid"].as_i64()), (Some("one"), Some(77)));
        assert_eq!(told["annotations"]["long"].as_str(), Some(long.as_str()));
        // One that does not listen.
        run_hooks("poststart", Some(&hook("exec <&-; exit 0", None)), &state).unwrap();
    }

    #[test]
    fn a_hook_that_fails_or_takes_too_long_is_named() {
        let said = |script, timeout| {
            run_hooks("poststop", Some(&hook(script, timeout)), &State::default()).unwrap_err().to_string()
        };
        assert_eq!(said("exit 7", None), "run the poststop hook /bin/sh: it ended with code 7");
        assert_eq!(said("kill -9 $$", None), "run the poststop hook /bin/sh: it ended with code 137");
        assert_eq!(said("sleep 60", Some(1)), "run the poststop hook /bin/sh: it took longer than its timeout");
        assert_eq!(said("", Some(0)), "invalid timeout 0 of the poststop hook /bin/sh");
        let mut relative = hook("", None);
        relative[0].set_path("sh".into());
        assert!(run_hooks("poststop", Some(&relative), &State::default()).is_err());
    }
}
