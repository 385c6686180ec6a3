//! `restore`: a container that goes on where a checkpoint has it.

use anyhow::Context as _;
use berth_backends::ContainerId;

use super::checkpoint::Images;
use super::create::create;
use super::run::stay;
use super::start::poststart;
use crate::Context;
use crate::bundle::Making;
use crate::descriptors::Preserved;
use crate::foreground::Signals;

#[derive(clap::Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    making: Making,
    #[command(flatten)]
    images: Images,
    /// Do not wait for the program's end
    #[arg(short, long)]
    detach: bool,
    /// Accepted for runc's callers: nothing of this process stays beside a detached container
    #[arg(long)]
    no_subreaper: bool,
    /// The container's ID
    id: ContainerId,
}

impl Restore {
    pub(crate) fn act(self, context: &Context, preserved: Preserved) -> anyhow::Result<u8> {
        let from = self.images.checkpoint(context)?;
        anyhow::ensure!(from.images.is_dir(), "there is no checkpoint in {}", from.images.display());
        let signals = if self.detach { None } else { Some(Signals::take()?) };
        let lock = context.root.lock(&self.id)?;
        let created = create(context, &self.id, &self.making, preserved, self.detach, Some(&from))
            .with_context(|| format!("restore container {}", self.id))?;
        drop(lock);
        let started = poststart(&created.container, created.sandbox.as_ref(), &created.container.spec()?);
        stay(context, created, started, signals, false)
    }
}
