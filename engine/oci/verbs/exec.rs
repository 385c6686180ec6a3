//! `exec`.

use std::path::PathBuf;

use anyhow::bail;
use berth_backends::ContainerId;

use super::write_pid;
use crate::Context;
use crate::console::Console;
use crate::container::{Container, Status};
use crate::descriptors::Preserved;
use crate::foreground::{Signals, attend};
use crate::process::Wanted;

#[derive(clap::Args)]
pub(crate) struct Exec {
    /// Do not wait for the program's end
    #[arg(short, long)]
    detach: bool,
    /// Write the program's process number to a file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Socket to which the terminal's controlling side is sent
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Pass on so many descriptors from 3 on
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    preserve_fds: usize,
    /// Let the program wait in a paused container until that is resumed
    #[arg(long)]
    ignore_paused: bool,
    /// The container's ID
    id: ContainerId,
    #[command(flatten)]
    wanted: Wanted,
}

impl Exec {
    pub(super) fn preserve_fds(&self) -> usize {
        self.preserve_fds
    }

    pub(crate) fn act(self, context: &Context, preserved: Preserved) -> anyhow::Result<u8> {
        let container = Container::find(context, &self.id)?;
        match container.status(context) {
            Status::Stopped => bail!("cannot exec in a stopped container: container not running: {}", self.id),
            Status::Creating => bail!("cannot exec in container {}: it is being created", self.id),
            Status::Paused if !self.ignore_paused => {
                bail!("cannot exec in a paused container (use --ignore-paused to override): {}", self.id)
            }
            _ => {}
        }
        let spec = container.spec()?;
        let process = self.wanted.build(&spec)?;
        let console = Console::new(&process, self.console_socket.as_ref(), self.detach)?;
        let io = console.stdio(&process)?;
        let signals = if self.detach { None } else { Some(Signals::take()?) };
        let mut child = container.sandbox(Some(&spec))?.exec(&process, io, preserved.files)?;
        let ready = console.pass(child.take_terminal()).and_then(|terminal| {
            if let Some(path) = &self.pid_file {
                write_pid(path, child.pid())?;
            }
            Ok(terminal)
        });
        match (ready, signals) {
            (Ok(terminal), Some(signals)) => attend(&mut child, &signals, terminal),
            (Ok(_), None) => Ok(0),
            (Err(error), _) => {
                let _ = child.signal(libc::SIGKILL);
                Err(error)
            }
        }
    }
}
