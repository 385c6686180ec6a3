//! `--console-socket`: the controlling side of a program's terminal goes to whoever listens there.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use berth_backends::Stdio;
use oci_spec::runtime::Process;

/// Where a program's streams lead.
pub(crate) enum Console {
    /// To this process's own.
    Streams,
    /// To a terminal whose controlling side is sent away.
    Sent(UnixStream),
    /// To a terminal that this process relays to its own.
    Relayed,
}

impl Console {
    /// What `process` asks for. With `detach`, this process does not stay.
    pub(crate) fn new(process: &Process, socket: Option<&PathBuf>, detach: bool) -> anyhow::Result<Self> {
        match (process.terminal().unwrap_or(false), socket) {
            (false, None) => Ok(Self::Streams),
            (false, Some(_)) => bail!("--console-socket: the process asks for no terminal (process.terminal)"),
            (true, Some(path)) => {
                ensure!(detach, "--console-socket: it is for programs that run detached; use --detach");
                let socket = UnixStream::connect(path).with_context(|| format!("connect to {}", path.display()))?;
                Ok(Self::Sent(socket))
            }
            (true, None) => {
                ensure!(
                    !detach,
                    "process.terminal: a program that runs detached needs --console-socket for its terminal"
                );
                Ok(Self::Relayed)
            }
        }
    }

    pub(crate) fn stdio(&self, process: &Process) -> anyhow::Result<Stdio> {
        let cells = |cells: u64| u16::try_from(cells).unwrap_or(u16::MAX);
        let asked = process.console_size().map(|size| (cells(size.width()), cells(size.height())));
        match self {
            Self::Streams => crate::descriptors::streams(),
            Self::Sent(_) => Ok(Stdio::Terminal { size: asked }),
            Self::Relayed => Ok(Stdio::Terminal { size: asked.or_else(berth_arch::terminal::size) }),
        }
    }

    /// Gives `terminal` to whom it belongs; what is left is to be relayed.
    pub(crate) fn pass(&self, terminal: Option<OwnedFd>) -> anyhow::Result<Option<OwnedFd>> {
        match (self, terminal) {
            (Self::Streams, _) => Ok(None),
            (Self::Relayed, terminal) => Ok(terminal),
            (Self::Sent(socket), terminal) => {
                send(socket, &terminal.context("the backend made no terminal")?).context("send the terminal")?;
                Ok(None)
            }
        }
    }
}

/// As runc does it: one message of the file's name with the descriptor.
fn send(socket: &UnixStream, terminal: &OwnedFd) -> rustix::io::Result<()> {
    let name = Path::new("/dev/ptmx").as_os_str().as_encoded_bytes();
    berth_arch::fd::send_with(socket, name, terminal).map(drop)
}
