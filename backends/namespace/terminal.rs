//! The pseudo-terminal, opened on the container's own devpts: system calls only.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::resolve::{FdPath, Links, Missing, Root, file_system, write_decimal};
use super::sys;

/// DEVPTS_SUPER_MAGIC of linux/magic.h.
const DEVPTS_MAGIC: u32 = 0x1cd1;
const READ_WRITE: OFlags = OFlags::RDWR.union(OFlags::NOCTTY).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

pub(super) struct Terminal {
    pub(super) controlling: OwnedFd,
    pub(super) program: OwnedFd,
}

/// Where to find the terminal's files.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// Below a root that is not yet the process's own.
    Root(Root<'a>),
    /// The container is running and this process is inside: what is opened is checked afterwards.
    Here,
}

impl Place<'_> {
    fn open(&self, path: &CStr) -> Result<OwnedFd> {
        let file = match self {
            Self::Root(root) => {
                let found = root.open(path, Links::Refuse, Missing::Refuse)?;
                rustix::fs::open(FdPath::new(found.as_fd()).as_c_str(), READ_WRITE, Mode::empty())?
            }
            Self::Here => rustix::fs::open(path, READ_WRITE | OFlags::NOFOLLOW, Mode::empty())?,
        };
        if file_system(&rustix::fs::fstatfs(&file)?) != DEVPTS_MAGIC {
            return Err(Errno::NODEV);
        }
        Ok(file)
    }
}

pub(super) fn open(place: Place<'_>, size: Option<(u16, u16)>) -> Result<Terminal> {
    let controlling = place.open(c"/dev/pts/ptmx")?;
    rustix::pty::unlockpt(&controlling)?;
    let program = program_side(place, &controlling)?;
    if let Some((columns, rows)) = size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&controlling, size)?;
    }
    // Opened without blocking, for the case that it was no terminal; the creator expects the usual kind.
    blocking(controlling.as_fd())?;
    blocking(program.as_fd())?;
    Ok(Terminal { controlling, program })
}

fn blocking(file: BorrowedFd<'_>) -> Result<()> {
    let flags = rustix::fs::fcntl_getfl(file)?;
    rustix::fs::fcntl_setfl(file, flags - OFlags::NONBLOCK)
}

/// TIOCGPTPEER (4.13), else by number.
fn program_side(place: Place<'_>, controlling: &OwnedFd) -> Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    if let Ok(peer) = rustix::pty::ioctl_tiocgptpeer(controlling, flags) {
        return Ok(peer);
    }
    let mut path = [0_u8; 32];
    let prefix = b"/dev/pts/";
    path[..prefix.len()].copy_from_slice(prefix);
    write_decimal(&mut path[prefix.len()..], sys::terminal_number(controlling.as_fd())?);
    place.open(CStr::from_bytes_until_nul(&path).map_err(|_| Errno::INVAL)?)
}

/// /dev/console is the terminal, if there is one.
pub(super) fn bind_console(root: &Root<'_>, terminal: &Terminal) -> Result<()> {
    let target = root.open(c"/dev/console", Links::Refuse, Missing::MakeFile)?;
    let (source, target) = (FdPath::new(terminal.program.as_fd()), FdPath::new(target.as_fd()));
    sys::mount(Some(source.as_c_str()), target.as_c_str(), None, libc::MS_BIND, None)
}
