//! `run`: create and start, and, unless detached, stay until the program has ended.

use berth_backends::ContainerId;

use super::create::{Created, create};
use super::start::poststart;
use crate::Context;
use crate::bundle::Making;
use crate::descriptors::Preserved;
use crate::foreground::{Signals, attend};

#[derive(clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    making: Making,
    /// Do not wait for the program's end
    #[arg(short, long)]
    detach: bool,
    /// Keep the container when its program has ended
    #[arg(long)]
    keep: bool,
    /// The container's ID
    id: ContainerId,
}

impl Run {
    pub(super) fn preserve_fds(&self) -> usize {
        self.making.preserve_fds
    }

    pub(crate) fn act(self, context: &Context, preserved: Preserved) -> anyhow::Result<u8> {
        let signals = if self.detach { None } else { Some(Signals::take()?) };
        let lock = context.root.lock(&self.id)?;
        let Created { container, mut sandbox, terminal } =
            create(context, &self.id, &self.making, preserved, self.detach, None)?;
        let started = sandbox.start().map_err(Into::into).and_then(|()| {
            drop(lock);
            poststart(&container, sandbox.as_ref(), &container.spec()?)
        });
        let created = Created { container, sandbox, terminal };
        stay(context, created, started, signals, self.keep)
    }
}

/// Until the program that was started has ended, unless nobody waits for that.
pub(super) fn stay(
    context: &Context,
    created: Created,
    started: anyhow::Result<()>,
    signals: Option<Signals>,
    keep: bool,
) -> anyhow::Result<u8> {
    let Created { container, mut sandbox, terminal } = created;
    let outcome = match (started, signals) {
        (Ok(()), None) => return Ok(0),
        (Ok(()), Some(signals)) => attend(&mut sandbox, &signals, terminal),
        (Err(error), _) => Err(error),
    };
    if !keep || outcome.is_err() {
        // A child that has ended is not found by its number any more.
        sandbox.delete()?;
        let _lock = context.root.lock(&container.id)?;
        container.delete(context)?;
    }
    outcome
}
