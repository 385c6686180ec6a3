//! A backend that isolates nothing: plain processes, for tests of the monitor alone.
#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};

use berth_backends::Runtime;
use berth_backends::{
    AnyBackend, Backend, Bundle, ContainerId, Error, ExecChild, ExitStatus, Freezer, Isolation, Limiter, Result,
    Sandbox, SavedSandbox, Stats, Stdio,
};
use oci_spec::runtime::{Process, Spec};

pub(crate) fn find(name: &str, runtime: Option<&Runtime>) -> Option<AnyBackend> {
    if name == "fake" { Some(Box::new(Fake)) } else { berth_backends::by_name(name, runtime) }
}

struct Fake;

impl Backend for Fake {
    fn name(&self) -> &str {
        "fake"
    }

    fn probe(&self, _: &berth_arch::Host) -> berth_arch::Probe<Isolation> {
        berth_arch::Probe::Available { detail: Isolation::default() }
    }

    fn create(&self, _: &ContainerId, bundle: &Bundle, io: Stdio) -> Result<Box<dyn Sandbox>> {
        let process = bundle.spec.process().clone().expect("a process");
        let (command, terminal) = command(&process, io);
        // It runs at once: there is nothing to set up for it.
        let mut plain = Plain { command: Some(command), child: None, terminal, ended: None };
        plain.run()?;
        Ok(Box::new(plain))
    }

    fn load(&self, _: &ContainerId, _: &SavedSandbox, _: Option<&Spec>) -> Result<Box<dyn Sandbox>> {
        Err(Error::NotFound("nothing is kept".to_owned()))
    }

    fn clear(&self, _: &ContainerId, _: &SavedSandbox) -> Result<()> {
        Ok(())
    }
}

fn command(process: &Process, io: Stdio) -> (Command, Option<OwnedFd>) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let args = process.args().clone().expect("arguments");
    let mut command = Command::new(&args[0]);
    command.args(&args[1..]);
    let mut controlling = None;
    match io {
        Stdio::Pipes { stdin, stdout, stderr } => {
            command.stdin(stdin).stdout(stdout).stderr(stderr);
        }
        Stdio::Terminal { size } => {
            let main = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
            grantpt(&main).unwrap();
            unlockpt(&main).unwrap();
            let path = ptsname(&main, Vec::new()).unwrap();
            let (columns, rows) = size.unwrap_or((80, 24));
            let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            rustix::termios::tcsetwinsize(&main, size).unwrap();
            let open = || {
                use rustix::fs::{Mode, OFlags};
                rustix::fs::open(&path, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap()
            };
            command.stdin(open()).stdout(open()).stderr(open());
            controlling = Some(main);
        }
    }
    let terminal = controlling.is_some();
    // SAFETY: system calls only.
    unsafe {
        command.pre_exec(move || {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::setsid();
            if terminal {
                libc::ioctl(0, libc::TIOCSCTTY, 0);
            }
            Ok(())
        });
    }
    (command, controlling)
}

struct Plain {
    command: Option<Command>,
    child: Option<Child>,
    terminal: Option<OwnedFd>,
    ended: Option<ExitStatus>,
}

impl Plain {
    fn run(&mut self) -> Result<()> {
        let mut command = self.command.take().expect("started once");
        let program = command.get_program().to_string_lossy().into_owned();
        self.child = Some(command.spawn().map_err(|source| Error::Exec { program, source })?);
        Ok(())
    }

    fn wait(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(self.ended) };
        let Ok(Some(status)) = child.try_wait() else { return Ok(self.ended) };
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        self.ended = Some(ExitStatus { code, signal: status.signal() });
        Ok(self.ended)
    }

    fn number(&self) -> i32 {
        self.child.as_ref().map_or(0, |child| child.id() as i32)
    }

    fn kill(&self, signal: i32) -> Result<()> {
        if self.ended.is_some() || self.number() == 0 {
            return Err(Error::NotFound("ended".to_owned()));
        }
        // SAFETY: integers only; the child is not yet waited for.
        unsafe { libc::kill(self.number(), signal) };
        Ok(())
    }
}

impl Sandbox for Plain {
    fn start(&mut self) -> Result<()> {
        Ok(())
    }

    fn leave(&mut self) -> Result<()> {
        Ok(())
    }

    fn exec(&mut self, process: &Process, io: Stdio, _: Vec<OwnedFd>) -> Result<Box<dyn ExecChild>> {
        let (command, terminal) = command(process, io);
        let mut child = Plain { command: Some(command), child: None, terminal, ended: None };
        child.run()?;
        Ok(Box::new(child))
    }

    fn pid(&self) -> i32 {
        self.number()
    }

    fn saved(&self) -> SavedSandbox {
        SavedSandbox {
            chroot: None,
            backend: "fake".to_owned(),
            runtime: None,
            pid: 0,
            start_time: 0,
            cgroups: Vec::new(),
            devices_enforced: false,
            folder: None,
            gate: None,
            bundle: None,
            keep_keyring: false,
        }
    }

    fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.wait()
    }

    fn signal(&self, signal: i32) -> Result<()> {
        self.kill(signal)
    }

    fn kill_all(&self) -> Result<()> {
        let _ = self.kill(libc::SIGKILL);
        Ok(())
    }

    fn pids(&self) -> Result<Vec<i32>> {
        Ok(vec![self.number()])
    }

    fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    fn delete(&mut self) -> Result<()> {
        self.kill_all()
    }

    fn warnings(&self) -> &[String] {
        &[]
    }

    fn freezer(&self) -> Option<&dyn Freezer> {
        None
    }

    fn stats(&self) -> Option<&dyn Stats> {
        None
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        None
    }
}

impl ExecChild for Plain {
    fn pid(&self) -> i32 {
        self.number()
    }

    fn exit_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        self.wait()
    }

    fn signal(&self, signal: i32) -> Result<()> {
        self.kill(signal)
    }

    fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }
}
