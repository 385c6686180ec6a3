//! `kill`.

use anyhow::{Context as _, bail};
use berth_arch::process::Process;
use berth_arch::signal::{self, SIGKILL};
use berth_backends::ContainerId;
use berth_backends::cgroup::Cgroup;

use crate::Context;
use crate::container::{Container, Status};

#[derive(clap::Args)]
pub(crate) struct Kill {
    /// To every process of the container
    #[arg(short, long)]
    all: bool,
    /// The container's ID
    id: ContainerId,
    /// Number or name
    #[arg(default_value = "TERM")]
    signal: String,
}

impl Kill {
    pub(crate) fn act(self, context: &Context) -> anyhow::Result<u8> {
        let signal = signal::parse(&self.signal).with_context(|| format!("unknown signal {:?}", self.signal))?;
        let container = Container::find(context, &self.id)?;
        let status = container.status(context);
        if self.all {
            return self.to_all(&container, status, signal);
        }
        let sandbox = container.sandbox(None)?;
        sandbox.signal(signal)?;
        // On v1 a paused process takes the signal when it goes on.
        if signal == SIGKILL && status == Status::Paused {
            sandbox.freezer().map_or(Ok(()), |freezer| freezer.thaw())?;
        }
        Ok(0)
    }

    /// Without a process namespace, processes may have outlived the first one.
    fn to_all(&self, container: &Container, status: Status, signal: i32) -> anyhow::Result<u8> {
        let sandbox = if status == Status::Stopped { None } else { Some(container.sandbox(None)?) };
        let groups = container.record.as_ref().map(|record| Cgroup::load(&record.sandbox.cgroups));
        let pids = match (&sandbox, &groups) {
            (Some(sandbox), _) if signal == SIGKILL => return sandbox.kill_all().map(|()| 0).map_err(Into::into),
            (Some(sandbox), _) => sandbox.pids()?,
            (None, Some(groups)) if signal == SIGKILL && !groups.paths().is_empty() => {
                return groups.kill_all().map(|()| 0).map_err(Into::into);
            }
            (None, Some(groups)) => groups.pids()?,
            (None, None) => Vec::new(),
        };
        if pids.is_empty() {
            bail!("container not running: {}", self.id);
        }
        // One that has ended meanwhile needs no signal.
        let processes = pids.into_iter().filter_map(|pid| Process::open(pid, None).ok());
        processes.for_each(|process| drop(process.signal(signal)));
        Ok(0)
    }
}
