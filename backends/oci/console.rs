//! A program's terminal as a runtime makes it: its controlling side is sent to a socket (runc, docs/terminals.md).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use berth_arch::fd::receive_with;
use rustix::fs::{Mode, OFlags};
use rustix::termios::Winsize;

use crate::Result;
use crate::namespace::setup;

const FILE: &str = "console";

/// The socket, for one terminal. Its file is removed when this is dropped.
pub(super) struct Console {
    listener: UnixListener,
    file: PathBuf,
    /// Through this process's descriptor of the folder: a socket's name has at most 107 bytes.
    name: PathBuf,
    _folder: OwnedFd,
}

impl Console {
    pub(super) fn listen(folder: &Path) -> Result<Self> {
        let step = || format!("make a socket for the terminal in {}", folder.display());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(folder, flags, Mode::empty()).map_err(setup(step()))?;
        let name = PathBuf::from(format!("/proc/{}/fd/{}/{FILE}", std::process::id(), opened.as_raw_fd()));
        let file = folder.join(FILE);
        let _ = std::fs::remove_file(&file);
        let listener = UnixListener::bind(&name).map_err(setup(step()))?;
        listener.set_nonblocking(true).map_err(setup(step()))?;
        Ok(Self { listener, file, name, _folder: opened })
    }

    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// The terminal, after the runtime has said that it is done. Columns and rows are set if they are known.
    pub(super) fn receive(self, size: Option<(u16, u16)>) -> Result<OwnedFd> {
        let terminal = self.take().map_err(setup("receive the terminal from the runtime"))?;
        if let Some((ws_col, ws_row)) = size {
            let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
            rustix::termios::tcsetwinsize(&terminal, size).map_err(setup("set the terminal's size"))?;
        }
        Ok(terminal)
    }

    fn take(&self) -> io::Result<OwnedFd> {
        let missing = || io::Error::other("it sent none");
        let (connection, _) = self.listener.accept().map_err(|_| missing())?;
        let mut name = [0; 4096];
        connection.set_nonblocking(true)?;
        let (_, received) = receive_with(&connection, &mut name)?;
        received.ok_or_else(missing)
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}
