//! The user's terminal: its size, and raw mode for as long as a container owns it.

use std::io::{self, IsTerminal};
use std::os::fd::AsFd;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Columns and rows of the terminal behind standard output, or else standard input.
pub fn size() -> Option<(u16, u16)> {
    let (stdout, stdin) = (io::stdout(), io::stdin());
    [stdout.as_fd(), stdin.as_fd()]
        .into_iter()
        .find_map(|fd| tcgetwinsize(fd).ok())
        .map(|size| (size.ws_col, size.ws_row))
        .filter(|(columns, rows)| *columns > 0 && *rows > 0)
}

/// Raw mode of standard input; the former mode comes back when this is dropped.
#[derive(Debug)]
pub struct RawMode {
    former: Termios,
}

impl RawMode {
    /// `None` when standard input is not a terminal.
    pub fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let former = tcgetattr(&stdin)?;
        let mut raw = former.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Drain, &raw)?;
        Ok(Some(Self { former }))
    }
}

impl RawMode {
    /// Gives the former mode back before the end.
    pub fn leave(&self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.former);
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        self.leave();
    }
}
