//! What the process of a program does between fork and exec: system calls only.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::io::Errno;

use super::program::Program;
use super::sys::{self, Words};

/// What it was doing when it was refused; as a byte in its report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    /// No refusal: it waits for its start.
    Ready,
    Session,
    Streams,
    Attach,
    Privileges,
    Limits,
    Directory,
    User,
    Exec,
}

impl Step {
    const ALL: [Self; 9] = [
        Self::Ready,
        Self::Session,
        Self::Streams,
        Self::Attach,
        Self::Privileges,
        Self::Limits,
        Self::Directory,
        Self::User,
        Self::Exec,
    ];

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Ready => "wait for the start",
            Self::Session => "start a session",
            Self::Streams => "set up the streams",
            Self::Attach => "attach to the jail",
            Self::Privileges => "give up getting privileges",
            Self::Limits => "set a limit (--ulimit)",
            Self::Directory => "change to the working directory",
            Self::User => "change to the user",
            Self::Exec => "execute the program",
        }
    }
}

/// A step and, if it was refused, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) step: Step,
    pub(super) errno: Errno,
}

impl Report {
    const LENGTH: usize = 5;

    fn encode(self) -> [u8; Self::LENGTH] {
        let [a, b, c, d] = self.errno.raw_os_error().to_ne_bytes();
        [self.step as u8, a, b, c, d]
    }

    /// Reads one; `None` at the end of the stream, which is the exec's or the process's.
    pub(super) fn read(from: &OwnedFd) -> Result<Option<Self>, Errno> {
        let mut bytes = [0; Self::LENGTH];
        loop {
            // Less than what a pipe takes at once: a report is never torn.
            match rustix::io::read(from, &mut bytes) {
                Ok(0) => return Ok(None),
                Ok(_) => {
                    let step = Step::ALL.get(usize::from(bytes[0])).copied().ok_or(Errno::BADMSG)?;
                    let errno = i32::from_ne_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
                    return Ok(Some(Self { step, errno: Errno::from_raw_os_error(errno) }));
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Everything the child needs, made before the fork.
pub(super) struct Task {
    pub(super) jail: i32,
    pub(super) program: Program,
    arguments: Words,
    environment: Words,
    pub(super) streams: Streams,
    /// What the program has from 3 on; numbers above all that are installed.
    pub(super) preserved: Vec<OwnedFd>,
    /// Of a container's first program: it waits here for a byte.
    pub(super) gate: Option<OwnedFd>,
    pub(super) report: OwnedFd,
}

pub(super) enum Streams {
    Pipes([OwnedFd; 3]),
    /// The program's side.
    Terminal(OwnedFd),
}

impl Task {
    pub(super) fn new(jail: i32, program: Program, streams: Streams, report: OwnedFd) -> Self {
        let (arguments, environment) = (Words::new(&program.arguments), Words::new(&program.environment));
        Self { jail, program, arguments, environment, streams, preserved: Vec::new(), gate: None, report }
    }

    fn tell(&self, step: Step, errno: Errno) {
        let _ = rustix::io::write(&self.report, &Report { step, errno }.encode());
    }

    /// Never returns; a refusal is reported.
    pub(super) fn run(&self) -> ! {
        let (step, errno) = match self.prepare() {
            Err(refused) => refused,
            Ok(()) => (Step::Exec, self.execute()),
        };
        self.tell(step, errno);
        sys::exit(127)
    }

    fn prepare(&self) -> Result<(), (Step, Errno)> {
        let program = &self.program;
        let at = |step| move |errno| (step, errno);
        sys::default_signals();
        // A container ends with whoever made it.
        sys::die_with_parent(libc::SIGKILL).map_err(at(Step::Session))?;
        rustix::process::setsid().map_err(at(Step::Session))?;
        self.install_streams().map_err(at(Step::Streams))?;
        sys::jail_attach(self.jail).map_err(at(Step::Attach))?;
        if let Some(gate) = &self.gate {
            self.tell(Step::Ready, Errno::from_raw_os_error(0));
            let mut byte = [0];
            loop {
                match rustix::io::read(gate, &mut byte) {
                    Ok(1) => break,
                    Err(Errno::INTR) => {}
                    // Nobody is left who could start it.
                    _ => sys::exit(127),
                }
            }
        }
        if program.no_new_privileges {
            sys::no_new_privileges().map_err(at(Step::Privileges))?;
        }
        program.limits.iter().try_for_each(sys::set_limit).map_err(at(Step::Limits))?;
        rustix::process::chdir(program.directory.as_c_str()).map_err(at(Step::Directory))?;
        sys::become_user(program.user, &program.groups, program.umask).map_err(at(Step::User))
    }

    fn install_streams(&self) -> Result<(), Errno> {
        match &self.streams {
            Streams::Pipes(pipes) => {
                for (number, fd) in pipes.iter().enumerate() {
                    sys::install(fd.as_fd(), number as i32)?;
                }
            }
            Streams::Terminal(terminal) => {
                sys::take_terminal(terminal.as_fd())?;
                for number in 0..3 {
                    sys::install(terminal.as_fd(), number)?;
                }
            }
        }
        for (index, fd) in self.preserved.iter().enumerate() {
            sys::install(fd.as_fd(), 3 + index as i32)?;
        }
        sys::cloexec_from(3 + self.preserved.len() as i32);
        Ok(())
    }

    /// As execvp(3): what is not there is passed over, and what may not be executed is told at the end.
    fn execute(&self) -> Errno {
        let mut answer = Errno::NOENT;
        for candidate in &self.program.candidates {
            match sys::execute(candidate, &self.arguments, &self.environment) {
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCESS => answer = Errno::ACCESS,
                errno => return errno,
            }
        }
        answer
    }

    /// The lowest number that a descriptor of ours may have, so that none is in the way of what is installed.
    pub(super) fn first_free(preserved: usize) -> i32 {
        3 + preserved as i32
    }

    /// Moves what has to survive the installing out of its way.
    pub(super) fn move_up(&mut self) -> Result<(), Errno> {
        let first = Self::first_free(self.preserved.len());
        let up = |fd: &mut OwnedFd| -> Result<(), Errno> {
            if fd.as_raw_fd() < first {
                *fd = rustix::io::fcntl_dupfd_cloexec(&*fd, first)?;
            }
            Ok(())
        };
        up(&mut self.report)?;
        self.gate.iter_mut().try_for_each(up)?;
        self.preserved.iter_mut().try_for_each(up)?;
        match &mut self.streams {
            Streams::Pipes(pipes) => pipes.iter_mut().try_for_each(up),
            Streams::Terminal(terminal) => up(terminal),
        }
    }
}
