//! One program's streams, the container's or an execution's.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use berth_backends::Stdio;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;
use rustix::termios::Winsize;

use super::input::Input;
use super::output::Output;

/// Names one [`Streams`] for as long as the monitor lives: clients outlast programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamsId(pub(crate) u64);

#[derive(Debug)]
pub(crate) struct Streams {
    pub(crate) id: StreamsId,
    pub(crate) terminal: Option<Rc<OwnedFd>>,
    /// Standard output (or the terminal) and standard error, until they end.
    pub(crate) sources: [Option<Rc<OwnedFd>>; 2],
    pub(crate) input: Input,
    pub(crate) output: Output,
    /// Input ends when a client that sends it has gone. Not so for a terminal.
    pub(crate) once: bool,
}

/// Which of a program's streams are connected; the others are /dev/null.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connected {
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
}

impl Streams {
    /// `spool`: where to put what lagging clients have still to get.
    pub(crate) fn without_ends(id: StreamsId, once: bool, spool: &Path) -> Self {
        let output = Output::new(spool);
        Self { id, terminal: None, sources: [None, None], input: Input::default(), output, once }
    }

    /// Makes pipes, and gives the program's ends of them.
    pub(crate) fn connect_pipes(&mut self, connected: Connected) -> io::Result<Stdio> {
        let null = if connected.stdin && connected.stdout && connected.stderr {
            None
        } else {
            Some(rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
        };
        let nothing = || match &null {
            Some(null) => null.try_clone(),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        let stdin = if connected.stdin {
            let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            rustix::fs::fcntl_setfl(&write, OFlags::WRONLY | OFlags::NONBLOCK)?;
            self.input = Input::new(Rc::new(write));
            read
        } else {
            nothing()?
        };
        let mut ends = [None, None];
        for (index, wanted) in [connected.stdout, connected.stderr].into_iter().enumerate() {
            ends[index] = Some(if wanted {
                let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                rustix::fs::fcntl_setfl(&read, OFlags::RDONLY | OFlags::NONBLOCK)?;
                self.sources[index] = Some(Rc::new(read));
                write
            } else {
                nothing()?
            });
        }
        match ends {
            [Some(stdout), Some(stderr)] => Ok(Stdio::Pipes { stdin, stdout, stderr }),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    pub(crate) fn connect_terminal(&mut self, terminal: OwnedFd, stdin: bool) -> io::Result<()> {
        let flags = rustix::fs::fcntl_getfl(&terminal)?;
        rustix::fs::fcntl_setfl(&terminal, flags | OFlags::NONBLOCK)?;
        let terminal = Rc::new(terminal);
        if stdin {
            self.input = Input::new(Rc::clone(&terminal));
        }
        self.sources = [Some(Rc::clone(&terminal)), None];
        self.terminal = Some(terminal);
        Ok(())
    }

    /// The program has ended: nobody reads its input.
    pub(crate) fn end(&mut self) {
        self.input = Input::default();
        self.sources = [None, None];
        self.terminal = None;
    }

    pub(crate) fn have_ended(&self) -> bool {
        self.sources.iter().all(Option::is_none)
    }

    /// A client that sends input has no more of it.
    pub(crate) fn end_of_input(&mut self) {
        if self.once && self.terminal.is_none() {
            self.input.close();
        }
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let Some(terminal) = &self.terminal else { return Err(io::ErrorKind::NotFound.into()) };
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(terminal, size)?)
    }
}
